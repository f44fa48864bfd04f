"""What can be done to a process: a SIGKILL at any step that it takes, or an error in the step's place.

Only a process that was forked for it has these, never the product itself.
"""

import asyncio
import errno
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal

DATABASE = "sales.db"  # in the folder for temporary files
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}

GROWTH = {"os.mkdir", "os.link", "os.symlink", "fsync"}  # what needs space, besides opening a file to write it

Kind = Literal[
    "none",
    "step",  # a SIGKILL before it
    "torn write",  # a SIGKILL in the midst of it
    "request",  # a SIGKILL before it
    "reply",  # a SIGKILL after it
    "lost reply",
    "error reply",
    "store gone",  # from this request on
    "store erring",  # from this request on
    "disk full",  # from this step on
    "disk full at a size",  # every file
    "read-only",  # from this step on
    "bad sector",  # this step alone
    "few open files",  # as many as now, and a few more
    "clock set back",  # by days
]
LASTING: set[Kind] = {"store gone", "store erring"}
# What a command may refuse to work with. All other faults but kills it has to do its work in spite of.
REFUSABLE: set[Kind] = LASTING | {"disk full", "disk full at a size", "read-only", "bad sector", "few open files"}


@dataclass(frozen=True)
class Fault:
    """What happens, and at which step or request, counted from 1."""

    kind: Kind = "none"
    at: int = 0
    size: int = 0  # bytes that reach a file, open files that are allowed, or days


class Counter:
    """Counts the steps and requests of this process, and strikes when the one of the fault comes."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.names = fault, [""][:0]
        self.requests = 0
        self.lock = threading.RLock()

    def install(self) -> None:
        """Watch the files, and the requests to an object store if its client is there."""
        sys.addaudithook(self.on_event)
        sync = os.fsync

        def count_and_sync(handle: Any) -> None:
            self.step("fsync")
            sync(handle)

        vars(os)["fsync"] = count_and_sync
        self.limit()
        if self.fault.kind == "torn write":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it and gets an error instead.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if "aiobotocore" in sys.modules:
            self.watch_requests()

    def watch_requests(self) -> None:
        """Count the requests to an object store, and strike when the one of the fault comes."""
        from aiobotocore.httpsession import AIOHTTPSession
        from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

        send = AIOHTTPSession.send

        async def counted(session: Any, request: Any) -> Any:
            self.requests += 1
            lasts = self.fault.kind in LASTING
            hit = self.requests >= self.fault.at > 0 if lasts else self.requests == self.fault.at
            kind = self.fault.kind if hit else "none"
            if kind == "request":
                kill()
            if kind == "store gone":
                raise EndpointConnectionError(endpoint_url=request.url, error="refused")
            response = await send(session, request)
            if kind == "reply":
                kill()
            if kind == "lost reply":
                raise ReadTimeoutError(endpoint_url=request.url)  # It was done, and the client asks again.
            if kind in ("error reply", "store erring"):
                response.status_code, response._content = 503, b"<Error><Code>SlowDown</Code></Error>"
                for name in [name for name in response.headers if "checksum" in name.lower()]:
                    del response.headers[name]  # An error has none.
            return response

        AIOHTTPSession.send = counted

    def limit(self) -> None:
        """Set the limits and the clock that hold from the start."""
        if self.fault.kind == "disk full at a size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault.size, resource.RLIM_INFINITY))
        if self.fault.kind == "few open files":
            allowed = len(os.listdir("/proc/self/fd")) + self.fault.size  # noqa: PTH208, a Path would import more
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        if self.fault.kind == "clock set back":
            set_clock(-self.fault.size)
        if self.fault.kind in LASTING | {"error reply", "lost reply"}:
            skip_waits()

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and self.fault.kind == "torn write":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # for one file
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            self.step(f"open {name_of(args[0])}", opens=True)
        elif event in CHANGES:
            self.step(f"{event} {name_of(args[0])}")

    def step(self, name: str, *, opens: bool = False) -> None:
        """Count a step that is about to be taken, and fail in its place if it is to fail.

        Raises:
            OSError: what the kernel would say.
        """
        with self.lock:
            self.names.append(name)
            now, later = len(self.names) == self.fault.at, len(self.names) >= self.fault.at
            if now and self.fault.kind == "step":
                kill()
            if now and self.fault.kind == "torn write" and opens:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault.size, resource.RLIM_INFINITY))
        if later and self.fault.kind == "disk full" and (opens or name.partition(" ")[0] in GROWTH):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        if later and self.fault.kind == "read-only" and name != "fsync":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        if now and self.fault.kind == "bad sector":
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)


def set_clock(days: int) -> None:
    """Have all of the project's modules take it for this many days later."""

    class AnyTime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Shifted(datetime, metaclass=AnyTime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Shifted":
            return super().now(tz) + timedelta(days=days)

    for name, module in list(sys.modules.items()):
        if (
            name.startswith(("linear_neuron.tasks.", "linear_neuron.flows."))
            and vars(module).get("datetime") is datetime
        ):
            vars(module)["datetime"] = Shifted


def skip_waits() -> None:
    """Try again at once, and not after a pause."""
    sleep = asyncio.sleep
    vars(asyncio)["sleep"] = lambda _, *result: sleep(0, *result)
    vars(time)["sleep"] = lambda _: None


def name_of(path: Any) -> str:
    """Return the last part of a path; there is none where a file is known by its number."""
    return Path(os.fsdecode(path)).name if isinstance(path, str | bytes | os.PathLike) else ""


def kill() -> None:
    """End this process as nothing can catch."""
    os.kill(os.getpid(), signal.SIGKILL)
