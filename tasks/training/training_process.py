"""A process that trains: it imports Keras while this one does all else, and frees the memory when it ends."""

import atexit
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, cast

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.process import collect_rarely, start_linked, watch_parent

if TYPE_CHECKING:  # Nothing heavy may be imported before the process is started, be it Pydantic.
    from linear_neuron.tasks.dataset.rows import Split
    from linear_neuron.tasks.parameters import Training
    from linear_neuron.tasks.training.results import OnEpoch, TrainingResult

DECISIVE = {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "0"}  # Other oneDNN kernels round differently.
SETTINGS = DECISIVE | {"KERAS_HOME": os.devnull, "TF_CPP_MIN_LOG_LEVEL": "2"}  # There is no keras.json in that.
MOST = 100  # trainings of a process that is used again
IGNORED: tuple[str, ...] = ("KERAS_", "TF_", "XLA_")  # begin the names of what would change the training


def make_environment() -> dict[str, str]:
    """Make the environment of the training process: the user's, without what Keras and TensorFlow read in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(IGNORED)} | SETTINGS


class Trainer:
    """A process that trains neurons; it starts to import Keras as soon as it is made."""

    def __init__(self) -> None:
        module = "linear_neuron.tasks.training.training_process"
        self._process, self._link = start_linked(module, environment=make_environment())
        self._parent = os.getpid()
        self.trainings = 0
        atexit.register(self._end)  # It takes a while to end, and only our own end waits for that.

    def train(
        self, split: "Split", training: "Training", path: Path | None, on_epoch: "OnEpoch", *, last: bool = True
    ) -> "TrainingResult":
        """Train, and save the Keras model at `path`, if there is one. After the last training the process ends.

        Raises:
            UserError: the loss became NaN or infinite, or the time limit passed.
            RuntimeError: the process ended without an answer.
        """
        self.trainings += 1
        try:
            self._link.send((split.recall or split, training, path))
            while isinstance(message := self._link.recv(), tuple):
                on_epoch(*message)
        except BaseException as error:
            self.close()
            if isinstance(error, EOFError | ConnectionError):
                reason = f"with status {self._process.wait()}" if self._is_ours() else "without an answer"
                raise RuntimeError(f"The training process ended {reason}.") from error
            raise
        if last or isinstance(message, Exception):
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

    @property
    def ended(self) -> bool:
        """Whether the process has ended. A process that its parent forked can't ask, and takes it for alive."""
        return self._is_ours() and self._process.poll() is not None

    def _is_ours(self) -> bool:
        return self._parent == os.getpid()

    def _end(self) -> None:
        self.close()
        self._process.wait()


_waiting: list[Trainer] = []
_kept = False  # whether the process waits for the next training, whatever this one says


def keep_warm() -> None:
    """Have this process keep one training process for all its runs, so that Keras is imported once."""
    global _kept
    _kept = True


def warm_up() -> None:
    """Start the process that the next training will use, while there is other work to do."""
    if _waiting and _waiting[0].ended:
        _waiting.pop().close()
    if not _waiting:
        _waiting.append(Trainer())


def cool_down() -> None:
    """End the process that was warmed up, since nothing will be trained."""
    if _waiting and not _kept:
        _waiting.pop().kill()


def let_go() -> None:
    """Leave the process that was warmed up to another one, which was forked from this one or is its parent."""
    for trainer in _waiting:
        atexit.unregister(trainer._end)
        trainer.close()
    _waiting.clear()


def take_trainer() -> Trainer:
    """Take the process that was warmed up, or start one."""
    return _waiting.pop() if _waiting else Trainer()


def is_kept(keep: bool) -> bool:
    """Whether the process is to wait for the next training: as the caller has it, or always after `keep_warm`."""
    return keep or _kept


def put_back(trainer: Trainer) -> None:
    """Let a process that has trained wait for the next training; Keras keeps 1.3 MB of each, so not for ever."""
    if trainer.trainings < MOST:
        _waiting.append(trainer)
    else:
        trainer.close()


def refuse(descriptor: int, error: OSError) -> None:
    """Answer the request of the parent with what keeps this process from training."""
    with Connection(descriptor) as link, suppress(EOFError, BrokenPipeError):
        link.recv()
        link.send(UserError(f"The training process can't start: {error}. Free disk space, or check permissions."))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our standard input.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # A fork server ignores it.
    watch_parent(partial(os._exit, 1))
    collect_rarely()
    # Keras imports these where it can: the first two take a quarter of its start, the last one a sixth.
    for unused in ("matplotlib", "pandas", "sklearn"):
        sys.modules[unused] = None  # type: ignore[assignment]
    try:
        from linear_neuron.tasks.training.neuron import serve
    except OSError as refusal:  # Keras is not imported where no temporary file can be written, as on a full disk.
        refuse(int(sys.argv[1]), refusal)
    else:
        serve(int(sys.argv[1]))
