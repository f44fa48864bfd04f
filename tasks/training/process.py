"""A process that trains: it imports Keras while this one does all else, and frees the memory when it ends."""

import atexit
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.garbage import collect_rarely

if TYPE_CHECKING:  # Nothing heavy may be imported before the process is started.
    from tasks.dataset.rows import Split
    from tasks.parameters import Training
    from tasks.training.results import OnEpoch, TrainingResult


class Trainer:
    """A process that trains one neuron; it starts to import Keras as soon as it is made."""

    def __init__(self) -> None:
        self._link, other_end = Pipe()
        command = [sys.executable, "-P", "-m", "tasks.training.process", str(other_end.fileno())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[other_end.fileno()])
        other_end.close()
        atexit.register(self._end)  # It takes a while to end, and only our own end waits for that.

    def train(self, split: "Split", training: "Training", path: Path, on_epoch: "OnEpoch") -> "TrainingResult":
        """Train, and save the Keras model at `path`. The process is for one training, and ends with it.

        Raises:
            UserError: the loss became NaN or infinite, or the time limit passed.
            RuntimeError: the process ended without an answer.
        """
        try:
            self._link.send((split.recall or split, training, path))
            while isinstance(message := self._link.recv(), tuple):
                on_epoch(*message)
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"The training process ended with status {self._process.wait()}.") from error
        finally:
            self.close()
        if isinstance(message, Exception):
            raise message
        return cast("TrainingResult", message)

    def close(self) -> None:
        """Have the process end at once, whatever it is doing."""
        self._link.close()
        if self._process.stdin:
            self._process.stdin.close()

    def kill(self) -> None:
        """End a process that has no work yet, even in the middle of a long import."""
        self._process.kill()
        self.close()

    def _end(self) -> None:
        self.close()
        self._process.wait()


_waiting: list[Trainer] = []


def warm_up() -> None:
    """Start the process that the next training will use, while there is other work to do."""
    if not _waiting:
        _waiting.append(Trainer())


def cool_down() -> None:
    """End the process that was warmed up, since nothing will be trained."""
    if _waiting:
        _waiting.pop().kill()


def take_trainer() -> Trainer:
    """Take the process that was warmed up, or start one."""
    return _waiting.pop() if _waiting else Trainer()


def _end_with_parent() -> None:
    """End this process when nobody holds the other end of its standard input: it was closed, or its holder died."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our standard input.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    collect_rarely()
    for unused in ("matplotlib", "pandas"):  # Keras imports both where it can, which takes a quarter of its start.
        sys.modules[unused] = None  # type: ignore[assignment]
    from tasks.training.neuron import serve

    serve(int(sys.argv[1]))
