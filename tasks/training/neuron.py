"""The Keras neuron: built, trained in one graph an epoch, saved, and checked. Keras is imported here alone."""

import math
import os
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Other kernels round differently, and announce themselves.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras  # TensorFlow reads the two settings once, when it is first imported.
import tensorflow as tf

from tasks.dataset.rows import Floats, Rows
from tasks.errors import UserError, WorkError
from tasks.model import LinearModel
from tasks.parameters import Training
from tasks.training.results import OnEpoch, TrainingResult


def build_neuron(features: int, training: Training) -> keras.Sequential:
    """Build the tutorial's network, one Dense unit, compiled with its loss and optimizer under the recipe's seed."""
    keras.utils.set_random_seed(training.seed)
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1, name="line")], name="neuron")
    model.compile(optimizer=keras.optimizers.RMSprop(learning_rate=training.learning_rate), loss="mse")
    return model


class _WholeEpochs(keras.Model):  # type: ignore[misc]
    """Drives `fit` with one step an epoch, each step running all minibatches of the epoch inside one graph.

    Nearly all the time of a plain `fit` on few rows is spent between the minibatches. The neuron, its loss and its
    optimizer are Keras's own objects, and callbacks and history work as they do in a plain `fit`.
    """

    def __init__(self, neuron: keras.Sequential, train: Rows, validation: Rows, training: Training) -> None:
        super().__init__()
        self.neuron = neuron
        order = _shuffled(len(train)) if training.shuffle else np.arange(len(train))
        self._x, self._y = _tensors(train, order)
        self._validation = _tensors(validation, np.arange(len(validation)))
        self._batch = min(training.batch_size, len(train))
        self.compile(optimizer=neuron.optimizer, loss=neuron.loss)

    @property
    def metrics(self) -> list[keras.Metric]:
        """Return none: `fit` would put the values of Keras's own, which nobody updates, in the place of ours."""
        return []

    def train_step(self, _: tf.Tensor) -> dict[str, tf.Tensor]:
        """Run an epoch; return the mean loss of its rows, each before its step, and that of the validation rows."""
        rows, features = self._x.shape
        batches, rest = divmod(rows, self._batch)
        cut = batches * self._batch
        xs = tf.reshape(self._x[:cut], (batches, self._batch, features))
        ys = tf.reshape(self._y[:cut], (batches, self._batch, 1))
        self.optimizer.build(self.neuron.trainable_variables)
        _, total = tf.while_loop(
            lambda batch, _: batch < batches,
            lambda batch, total: (batch + 1, total + self._learn(xs[batch], ys[batch])),
            (0, 0.0),
            parallel_iterations=1,
        )
        if rest:
            total += self._learn(self._x[cut:], self._y[cut:])
        losses = {"loss": total / rows}
        x, y = self._validation
        if len(y):
            losses["val_loss"] = self.compute_loss(y=y, y_pred=self.neuron(x))
        return losses

    def _learn(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """One gradient step; returns the sum of the squared errors before it."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self.neuron(x, training=True))
        variables = self.neuron.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss * float(x.shape[0])


def _shuffled(rows: int) -> tf.Tensor:
    """Draw the order in which `fit(shuffle=True)` takes the rows.

    Keras makes its input pipeline anew each epoch, and under a fixed seed the same operation in a new pipeline draws
    the same permutation. So one draw serves every epoch, and the weights are those of a plain `fit` to the bit.
    """

    def permutation(_: tf.Tensor) -> tf.Tensor:
        return tf.random.shuffle(tf.range(rows, dtype=tf.int64))

    return next(iter(tf.data.Dataset.range(1).map(permutation)))


def _tensors(rows: Rows, order: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Make features of shape (n, features) and targets of shape (n, 1), in float32."""
    x, y = rows.x.astype(np.float32), rows.y.astype(np.float32)[:, None]
    return tf.gather(tf.constant(x), order), tf.gather(tf.constant(y), order)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports each epoch, and stops a training that has failed or takes too long."""

    def __init__(self, on_epoch: OnEpoch, time_limit: int) -> None:
        super().__init__()
        self._on_epoch = on_epoch
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        losses = logs or {}
        loss, val_loss = losses["loss"], losses.get("val_loss")
        if not math.isfinite(loss) or (val_loss is not None and not math.isfinite(val_loss)):
            raise WorkError(
                f"The loss became {loss} (validation {val_loss}) at epoch {epoch + 1}, so nothing is published. "
                "Lower the learning rate, or look for extreme values in the features."
            )
        if time.monotonic() > self._deadline:
            raise WorkError(
                f"Training passed its limit of {self._time_limit} s at epoch {epoch + 1}, so nothing is published. "
                "Raise --training.time-limit or lower the epochs."
            )
        self._on_epoch(epoch + 1, loss, val_loss)


def train_neuron(
    train: Rows, validation: Rows, training: Training, on_epoch: OnEpoch = lambda *_: None
) -> tuple[keras.Sequential, TrainingResult]:
    """Trains on the train rows, watching the validation rows. The same arguments give the same bits.

    Args:
        train: rows to fit, x of shape (n, features).
        validation: rows to watch; may be none.
        training: the recipe.
        on_epoch: called after each epoch.

    Raises:
        UserError: the loss became NaN or infinite, or the time limit passed.
    """
    model = build_neuron(train.x.shape[1], training)
    driver = _WholeEpochs(model, train, validation, training)
    history = driver.fit(
        tf.data.Dataset.range(1).repeat(),
        epochs=training.epochs,
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
        callbacks=[_Watch(on_epoch, training.time_limit)],
    ).history
    weights, bias = model.get_weights()
    lines: list[str] = []
    model.summary(line_length=60, print_fn=lines.append)
    return model, TrainingResult(
        training=training,
        linear_model=LinearModel(tuple(weights[:, 0].tolist()), float(bias[0])),
        loss=tuple(history["loss"]),
        val_loss=tuple(history.get("val_loss", ())),
        summary="\n".join(lines),
    )


def check_parity(path: Path, line: LinearModel, x: Floats) -> None:
    """Make sure that the saved Keras model and its plain numbers are one model.

    Both predict the rows `x`, shape (n, features); the sums differ in order, so a few float32 roundings are allowed.

    Raises:
        RuntimeError: they differ by more.
    """
    model = keras.saving.load_model(path, safe_mode=True)
    saved = keras.ops.convert_to_numpy(model(x.astype(np.float32)))[:, 0]
    plain = line.predict(x)
    sizes = np.abs(x) @ np.abs(line.weights) + abs(line.bias)  # What rounding errors are relative to.
    if not np.all(np.abs(saved - plain) <= 4 * np.finfo(np.float32).eps * sizes):
        raise RuntimeError(f"{path.name} and its plain numbers disagree by up to {np.abs(saved - plain).max()}")


def serve(descriptor: int) -> None:
    """Train in a child process: take one request from the connection, answer each epoch and then the result.

    Without a request, or when whoever asked has died, it just ends.
    """
    with Connection(descriptor) as link, suppress(EOFError, BrokenPipeError):
        split, training, path = link.recv()
        try:
            model, result = train_neuron(split.train, split.validation, training, lambda *message: link.send(message))
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
            check_parity(path, result.linear_model, split.test.x)
            link.send(result)
        except (UserError, RuntimeError, ValueError, OSError) as error:
            link.send(error)
