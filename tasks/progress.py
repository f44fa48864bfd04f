"""Progress as people see it: a bar in the terminal, and an artifact in the UI."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

OnRead = Callable[[int], None]  # bytes of a file that were just read


@contextmanager
def show_progress(message: str, total: int) -> Iterator[OnRead]:
    """A bar in the terminal, and in the UI an artifact for what takes more than two seconds."""
    done, shown = 0, time.monotonic() + 1
    artifact: UUID | None = None
    terminal = Console(stderr=True)
    columns = (TextColumn(message), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as bar:
        line = bar.add_task("", total=total)

        def on_read(count: int) -> None:
            nonlocal done, artifact, shown
            done += count
            bar.update(line, completed=done)
            if time.monotonic() - shown > 1:  # An update is a request; more than one a second shows nobody more.
                shown = time.monotonic()
                share = min(100.0, 100 * done / max(1, total))
                if artifact is None:
                    artifact = cast(UUID, create_progress_artifact(share, description=f"Scoring {message}"))
                else:
                    update_progress_artifact(artifact, share)

        yield on_read
        if artifact is not None:
            update_progress_artifact(artifact, 100.0)
