"""How whole processes are timed here: interleaved, after a warm-up, with the operating system's own accounting."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Series:
    """The counted runs of one command."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds of all its processes, where they are known
    peak: float = 0.0  # MB, of the largest single process

    @property
    def median(self) -> float:
        """The middle run, in seconds."""
        return statistics.median(self.seconds)

    def row(self, name: str, base: float) -> str:
        """A line of the table: median, spread, CPU seconds, peak and the ratio to `base` seconds."""
        spread = f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"
        cpu = f"{statistics.median(self.cpu):.2f}" if self.cpu else ""
        return f"| {name} | {self.median:.2f} | {spread} | {cpu} | {self.peak:.0f} | {self.median / base:.2f} |"


HEAD = "| way | median s | spread | CPU s | peak MB | ratio |\n|---|---|---|---|---|---|"


def run_once(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MB of one process with its children.

    Raises:
        RuntimeError: it failed; what it said is in the message.
    """
    # An environment that forbids bytecode would make every start compile what it imports, ours and theirs alike.
    clean = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    with subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said.decode()}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def interleave(ways: Mapping[str, Callable[[], tuple[float, float, float]]], rounds: int) -> dict[str, Series]:
    """Runs each way once to warm up, and then all of them in turn, so that a slow moment hits every one."""
    for way in ways.values():
        way()
    found = {name: Series() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds, cpu, peak = way()
            found[name].seconds.append(seconds)
            found[name].cpu.append(cpu)
            found[name].peak = max(found[name].peak, peak)
    return found
