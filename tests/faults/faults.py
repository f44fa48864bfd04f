"""What can be done to a process: a SIGKILL at any step that it takes, or an error in the step's place.

Only a process that was forked for it has these, never the product itself.
"""

import os
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}

Kind = Literal["none", "step", "torn write", "request", "reply", "lost reply", "error reply"]


@dataclass(frozen=True)
class Fault:
    """What happens, and at which step or request, counted from 1."""

    kind: Kind = "none"
    at: int = 0
    size: int = 0  # of a torn write: bytes that reach the file


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
        if self.fault.kind == "torn write":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it and gets an error instead.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if "aiobotocore" in sys.modules:
            from aiobotocore.httpsession import AIOHTTPSession
            from botocore.exceptions import ReadTimeoutError

            send = AIOHTTPSession.send

            async def counted(session: Any, request: Any) -> Any:
                self.requests += 1
                hit = self.requests == self.fault.at
                if hit and self.fault.kind == "request":
                    kill()
                response = await send(session, request)
                if hit and self.fault.kind == "reply":
                    kill()
                if hit and self.fault.kind == "lost reply":
                    raise ReadTimeoutError(endpoint_url=request.url)  # It was done, and the client asks again.
                if hit and self.fault.kind == "error reply":
                    response.status_code = 503
                return response

            AIOHTTPSession.send = counted

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            self.step(f"open {name_of(args[0])}", opens=True)
        elif event in CHANGES:
            self.step(f"{event} {name_of(args[0])}")

    def step(self, name: str, *, opens: bool = False) -> None:
        """Count a step that is about to be taken."""
        with self.lock:
            self.names.append(name)
            if len(self.names) != self.fault.at:
                return
            if self.fault.kind == "step":
                kill()
            if self.fault.kind == "torn write" and opens:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault.size, resource.RLIM_INFINITY))


def name_of(path: Any) -> str:
    """Return the last part of a path; there is none where a file is known by its number."""
    return Path(os.fsdecode(path)).name if isinstance(path, str | bytes | os.PathLike) else ""


def kill() -> None:
    """End this process as nothing can catch."""
    os.kill(os.getpid(), signal.SIGKILL)
