"""Progress as people see it: a bar in the terminal, and an artifact in the Prefect UI."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from linear_neuron.tasks.steps import get_logger, is_recorded
from linear_neuron.tasks.text import as_text

PAUSE = 1  # seconds between updates, each of which is a request
BACKOFF = 20  # the pause after a failed update, as a multiple of its duration, since the work waits meanwhile


class Advance(Protocol):
    """What `progress` hands to the work that it shows."""

    def __call__(self, count: int, text: str = "") -> None:
        """Count more units as done, and show a text beside the bar."""


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """Show how much of `total` is done, in whatever unit: as a bar on stderr and, in a recorded run, as an artifact.

    Without a total, only that something is being done.
    """
    terminal = Console(stderr=True)  # Standard output is for results.
    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}", markup=False)
    bar = Progress(
        TextColumn("{task.description}", markup=False), *columns, console=terminal, disable=not terminal.is_terminal
    )
    line = bar.add_task(title, total=total, text="")
    artifact: UUID | None = None
    shown, pause = time.monotonic(), float(PAUSE)

    def show(percent: float) -> None:
        nonlocal artifact, shown, pause
        if not is_recorded():
            return
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        asked = time.monotonic()
        try:
            if artifact is None:
                artifact = cast(UUID, create_progress_artifact(percent, description=as_text(title)))
            else:
                update_progress_artifact(artifact, percent)
            pause = PAUSE
        except Exception as error:  # noqa: BLE001, a server that can't be reached must not end the work
            get_logger().debug("The progress can't be shown: %s", error)
            pause = max(PAUSE, BACKOFF * (time.monotonic() - asked))
        shown = time.monotonic()

    def advance(count: int, text: str = "") -> None:
        bar.update(line, advance=count, text=text)
        if time.monotonic() - shown > pause:
            show(bar.tasks[line].percentage)

    with bar:
        yield advance
        if pause <= BACKOFF * PAUSE:  # The last update succeeded, or failed within a second.
            show(100.0)
