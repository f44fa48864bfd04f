"""Training in a process of its own: it answers, it fails with a reason, and it never outlives who asked."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset.rows import Column, Rows, Split
from tasks.errors import UserError
from tasks.parameters import Training
from tasks.training.process import Trainer, take_trainer, warm_up

X = np.arange(8.0)[:, None]
ROWS = Rows(X, 2 * X[:, 0], np.arange(8))
SPLIT = Split((Column("x", ""),), Column("y", ""), ROWS, ROWS, ROWS)


def test_a_warmed_up_process_trains_once_and_reports_each_epoch(tmp_path: Path) -> None:
    warm_up()
    warm_up()
    trainer, other = take_trainer(), take_trainer()
    assert trainer is not other
    other.close()
    seen: list[tuple[int, float, float | None]] = []
    path = tmp_path / "model.keras"
    trained = trainer.train(SPLIT, Training(epochs=3), path, lambda *message: seen.append(message))
    assert seen == list(zip((1, 2, 3), trained.loss, trained.val_loss, strict=True))
    assert path.stat().st_size > 1000


def test_a_users_mistake_comes_back_as_such(tmp_path: Path) -> None:
    rows = Rows(np.array([[1e25]]), np.array([1.0]), np.arange(1))
    split = Split((Column("x", ""),), Column("y", ""), rows, rows, rows)
    with pytest.raises(UserError, match="at epoch 1, so nothing is published"):
        Trainer().train(split, Training(), tmp_path / "model.keras", lambda *_: None)


def test_a_process_that_is_killed_is_told_by_its_status(tmp_path: Path) -> None:
    trainer = Trainer()
    os.kill(trainer._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"training process ended with status -9"):
        trainer.train(SPLIT, Training(), tmp_path / "model.keras", lambda *_: None)


def test_a_process_that_nobody_used_keeps_nobody_from_ending() -> None:
    code = "from tasks.training.process import warm_up; warm_up()"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_process_ends_when_whoever_asked_was_killed() -> None:
    imports = "import time; from tasks.training.process import Trainer"
    code = f"{imports}; print(Trainer()._process.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        trainer = int(asker.stdout.readline())
        asker.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{trainer}").exists() and "zombie" not in Path(f"/proc/{trainer}/status").read_text():
        assert time.monotonic() < deadline, "the training process outlives who asked for it"
        time.sleep(0.1)


def test_the_process_uses_the_kernels_that_round_alike_everywhere() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", "import tasks.training.neuron"], env=clean, capture_output=True, text=True, check=True
    )
    assert "oneDNN" not in done.stderr
