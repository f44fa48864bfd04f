"""Training in a process of its own: it answers, it fails with a reason, and it never outlives who asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Rows
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.training import training_process as process
from linear_neuron.tasks.training.results import TrainingResult
from linear_neuron.tasks.training.training_process import Trainer, cool_down, put_back, take_trainer, warm_up
from tests.helpers import make_split

X = np.arange(8.0)[:, None]
ROWS = Rows(X, 2 * X[:, 0], np.arange(8))
SPLIT = make_split((Column("x", ""),), Column("y", ""), ROWS)


@pytest.fixture(autouse=True)
def as_in_a_run_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave alone the process that the other tests share."""
    monkeypatch.setattr(process, "_kept", False)
    monkeypatch.setattr(process, "_waiting", [])


@pytest.mark.slow
def test_a_warmed_up_process_answers_each_training(tmp_path: Path) -> None:
    warm_up()
    warm_up()
    trainer, other = take_trainer(), take_trainer()
    other.kill()
    assert trainer is not other
    seen: list[tuple[int, float, float | None]] = []
    path = tmp_path / "model.keras"
    trained = trainer.train(SPLIT, Training(epochs=3), path, lambda *message: seen.append(message), last=False)
    assert seen == list(zip((1, 2, 3), trained.loss, trained.val_loss, strict=True)), "it reports each epoch"
    assert path.stat().st_size > 1000
    rows = Rows(np.array([[1e25]]), np.array([1.0]), np.arange(1))
    split = make_split((Column("x", ""),), Column("y", ""), rows)
    with pytest.raises(UserError, match="at epoch 1, so nothing is published"):
        trainer.train(split, Training(), tmp_path / "other.keras", lambda *_: None)
    wait_for_end(trainer._process.pid)


HOSTILE = {
    "KERAS_MAX_EPOCHS": "2",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_BACKEND": "jax",
    "KERAS_NNX_ENABLED": "true",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "XLA_FLAGS": "--no_such_flag=1",
    "TF_DETERMINISTIC_OPS": "1",
}
CONFIGURED = {"floatx": "float16", "epsilon": 0.5, "backend": "torch", "image_data_format": "channels_first"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A training where nothing is in the way, by the process that the other tests share."""
    trainer, path = take_trainer(), tmp_path_factory.mktemp("plain") / "m.keras"
    trained = trainer.train(SPLIT, Training(epochs=4), path, lambda *_: None, last=False)
    put_back(trainer)
    assert len(trained.loss) == 4
    return trained


@pytest.mark.slow
def test_environment_does_not_change_the_training(
    plain: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do files of Keras in a home, or modules in the current folder; and no temporary file is made."""
    (tmp_path / "home" / ".keras").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "home" / ".keras"):
        (folder / "keras.json").write_text(json.dumps(CONFIGURED))
    for name, value in (HOSTILE | {"KERAS_HOME": str(tmp_path), "HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    for name in ("scratch", "current"):
        (tmp_path / name).mkdir()
    for name in ("linear_neuron", "polars", "numpy"):
        (tmp_path / "current" / f"{name}.py").write_text(f"open('{name}.imported', 'w').close()")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "current")
    seen: list[Path] = []
    hostile = Trainer().train(
        SPLIT,
        Training(epochs=4),
        tmp_path / "hostile.keras",
        lambda *_: seen.extend((tmp_path / "scratch").iterdir()),
    )
    assert (hostile.linear_model, hostile.loss, hostile.val_loss) == (plain.linear_model, plain.loss, plain.val_loss)
    assert (tmp_path / "hostile.keras").exists()
    assert seen == []
    (file,) = (path for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert json.loads(file.read_text()) == CONFIGURED
    assert list(tmp_path.rglob("*.imported")) == []


def test_killed_process_fails_with_its_status(tmp_path: Path) -> None:
    trainer = Trainer()
    os.kill(trainer._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"training process ended with status -9"):
        trainer.train(SPLIT, Training(), tmp_path / "model.keras", lambda *_: None)


def test_killed_process_of_the_parent_gives_no_status() -> None:
    code = """if True:
        import os, signal
        from types import SimpleNamespace
        from linear_neuron.tasks.training.training_process import Trainer
        trainer = Trainer()
        os.kill(trainer._process.pid, signal.SIGKILL)
        if child := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        trainer.train(SimpleNamespace(recall=1), None, None, print)
    """
    forked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert forked.stderr.endswith("RuntimeError: The training process ended without an answer.\n")
    assert forked.returncode == 1


def test_a_process_is_started_before_anything_heavy_is_imported() -> None:
    code = "import sys, linear_neuron.tasks.training.training_process; "
    code += "print({'pydantic', 'prefect', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "set()\n"


def test_a_process_that_nobody_used_keeps_nobody_from_ending() -> None:
    code = "from linear_neuron.tasks.training.training_process import warm_up; warm_up()"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_unneeded_process_ends_at_once() -> None:
    cool_down()
    warm_up()
    warmed = take_trainer()
    process._waiting.append(warmed)
    cool_down()
    wait_for_end(warmed._process.pid)
    other = take_trainer()
    assert other is not warmed
    other.kill()


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "the training process outlives who asked for it"
        time.sleep(0.1)


def test_an_idle_process_ends_when_whoever_asked_is_stopped() -> None:
    imports = "import time; from linear_neuron.tasks.training.training_process import Trainer"
    code = f"{imports}; print(Trainer()._process.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        trainer = int(asker.stdout.readline())
        asker.terminate()
    wait_for_end(trainer)


@pytest.mark.slow
def test_a_busy_process_ends_when_whoever_asked_is_killed(tmp_path: Path) -> None:
    code = f"""if True:
        import numpy as np
        from pathlib import Path
        from linear_neuron.tasks.parameters import Training
        from linear_neuron.tasks.training.training_process import Trainer
        from tests.tasks.training.test_training_process import SPLIT, Rows, make_split
        x = np.ones((2_000_000, 1))
        rows = Rows(x, x[:, 0], np.arange(len(x)))
        trainer = Trainer()
        print(trainer._process.pid, flush=True)
        link = trainer._link
        split = make_split(SPLIT.features, SPLIT.target, rows)
        link.send((split, Training(epochs=1, batch_size=1), Path("{tmp_path}/v/m.keras")))
        print("sent", flush=True)  # More than a pipe holds, so Keras is imported and has read it.
        link.recv()
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        trainer = int(asker.stdout.readline())
        assert asker.stdout.readline() == "sent\n"
        asker.kill()
    wait_for_end(trainer)
    assert list(tmp_path.iterdir()) == [], "a folder of a version that was stopped"
