"""Training in one graph an epoch is Keras's own training, only without the waiting."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from linear_neuron.tasks.dataset.boston import FILE, read_snapshot
from linear_neuron.tasks.dataset.rows import Origin, Rows, Split
from linear_neuron.tasks.dataset.split import split_rows
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.training.results import TrainingResult

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.xdist_group("references")

DATA = (resources.files("linear_neuron.tasks.dataset") / "data" / FILE.name).read_bytes()
SNAPSHOT = read_snapshot(DATA, Origin(FILE.sha256, "package"))


def split_for(*features: str) -> Split:
    return split_rows(SNAPSHOT, "MEDV", features, 0.3)


def train(*arguments: Any) -> "tuple[keras.Sequential, TrainingResult]":
    from linear_neuron.tasks.training.neuron import train_neuron

    return train_neuron(*arguments)


def train_on(training: Training, *features: str) -> TrainingResult:
    split = split_for(*features or ["RM"])
    return train(split.train, split.validation, training)[1]


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 47, "seed": 7}, {"batch_size": 1000, "shuffle": False}],
    ids=str,
)
def test_weights_and_history_equal_those_of_a_plain_fit(change: dict[str, Any]) -> None:
    from linear_neuron.tasks.training.neuron import build_neuron

    training = Training(epochs=6).model_copy(update=change)
    split = split_for("RM", "LSTAT")
    ours = train(split.train, split.validation, training)[1]

    plain = build_neuron(2, training)
    rows = np.concatenate([split.train.x, split.validation.x]), np.concatenate([split.train.y, split.validation.y])
    history = plain.fit(
        *rows, batch_size=training.batch_size, epochs=6, validation_split=0.3, shuffle=training.shuffle, verbose=0
    ).history
    weights, bias = plain.get_weights()

    np.testing.assert_allclose(ours.linear_model.weights, weights[:, 0], rtol=1e-5)
    np.testing.assert_allclose(ours.linear_model.bias, bias[0], rtol=1e-5)
    np.testing.assert_allclose(ours.loss, history["loss"], rtol=1e-5)
    np.testing.assert_allclose(ours.val_loss, history["val_loss"], rtol=1e-5)


def test_a_repeat_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = (train_on(Training(epochs=3, seed=seed)) for seed in (42, 42, 43))
    assert first == again
    assert first.linear_model != other.linear_model


def test_default_recipe_ends_where_keras_ends() -> None:
    trained = train_on(Training())
    assert trained.loss[-1] == pytest.approx(54.4371, rel=1e-4)
    assert trained.val_loss[-1] == pytest.approx(74.9653, rel=1e-4)
    assert len(trained.loss) == 101
    assert "Trainable params: 2" in trained.summary


@pytest.mark.parametrize("feature", ["CHAS", "TAX"])
def test_every_column_can_be_the_feature(feature: str) -> None:
    """Tried with a column of two values, mostly 0, and the one with the largest numbers."""
    trained = train_on(Training(epochs=2), feature)
    assert np.isfinite([*trained.linear_model.weights, trained.linear_model.bias, *trained.loss]).all()


def test_training_without_validation_rows_has_no_validation_loss() -> None:
    none = Rows(np.empty((0, 1)), np.empty(0), np.empty(0, np.int64))
    split = split_for("RM")
    trained = train(split.train, none, Training(epochs=2))[1]
    watched = train(split.train, split.validation, Training(epochs=2))[1]
    assert trained.val_loss == ()
    assert trained.loss == watched.loss


def test_each_epoch_is_reported_as_it_ends() -> None:
    split = split_for("RM")
    seen: list[tuple[int, float, float | None]] = []
    trained = train(split.train, split.validation, Training(epochs=3), lambda *message: seen.append(message))[1]
    assert seen == list(zip((1, 2, 3), trained.loss, trained.val_loss, strict=True))


def test_a_loss_that_overflows_names_the_epoch() -> None:
    rows = Rows(np.array([[1e25], [2e25]]), np.array([1.0, 2.0]), np.arange(2))
    with pytest.raises(UserError, match=r"loss became inf .* at epoch 1, so nothing is published"):
        train(rows, rows, Training(epochs=3))


def test_a_validation_loss_that_overflows_publishes_nothing() -> None:
    rows = split_for("RM").train
    far = Rows(np.array([[1e25]]), np.array([1.0]), np.arange(1))
    with pytest.raises(UserError, match=r"\(validation inf\) at epoch 1, so nothing is published"):
        train(rows, far, Training(epochs=3))


def test_training_past_its_time_limit_is_given_up() -> None:
    split = split_for("RM")
    with pytest.raises(UserError, match=r"limit of 1 s at epoch \d+, so nothing is published"):
        train(split.train, split.validation, Training(epochs=100_000, time_limit=1))


def test_parity_check_fails_for_other_numbers(tmp_path: Path) -> None:
    import keras

    from linear_neuron.tasks.training.neuron import check_parity

    split = split_for("RM")
    model, trained = train(split.train, split.validation, Training(epochs=1))
    model.save(tmp_path / "model.keras")
    check_parity(tmp_path / "model.keras", trained.linear_model, split.test.x)
    other = LinearModel(trained.linear_model.weights, trained.linear_model.bias + 1e-4)
    with pytest.raises(RuntimeError, match="disagree"):
        check_parity(tmp_path / "model.keras", other, split.test.x)
    assert isinstance(keras.saving.load_model(tmp_path / "model.keras"), keras.Sequential)
