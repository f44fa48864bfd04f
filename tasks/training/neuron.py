"""The Keras neuron: built, trained in one graph an epoch, saved, and checked. Keras is imported here alone."""

import math
import os
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Other kernels round differently, and announce themselves.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras  # TensorFlow reads the two settings once, when it is first imported.
import tensorflow as tf

from linear_neuron.tasks.dataset.rows import Floats, Recall, Rows, Split
from linear_neuron.tasks.dataset.split import recall_split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.parameters.base import read_sign
from linear_neuron.tasks.training.basis import Basis, copy_rows, describe_end, find_basis
from linear_neuron.tasks.training.results import OnEpoch, TrainingResult, Watch

Tensors = tuple[tf.Tensor, tf.Tensor]  # features of shape (n, features), targets of shape (n, 1)

ENOUGH = 1e-6  # share of the loss that a converged one may be above the least there is
PERFECT = 1e-7  # loss, as a share of the targets' variance, below which less is lost in the rounding of float32
STALLED = 0.999  # share of what is left to gain above which an epoch has gained nothing


def build_neuron(features: int, training: Training) -> keras.Sequential:
    """Build the tutorial's network, one Dense unit, compiled with its loss and optimizer under the recipe's seed."""
    keras.utils.set_random_seed(training.seed)
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1, name="line")], name="neuron")
    optimizer = keras.optimizers.SGD if training.recipe == "converged" else keras.optimizers.RMSprop
    model.compile(optimizer=optimizer(learning_rate=training.learning_rate), loss="mse")
    return model


class _WholeEpochs(keras.Model):  # type: ignore[misc]
    """Drives `fit` with one step an epoch, each step running all minibatches of the epoch inside one graph.

    Nearly all the time of a plain `fit` on few rows is spent between the minibatches. The neuron, its loss and its
    optimizer are Keras's own objects, and callbacks and history work as they do in a plain `fit`.
    """

    def __init__(self, neuron: keras.Sequential, train: Tensors, validation: Tensors, batch_size: int) -> None:
        super().__init__()
        self.neuron = neuron
        self._x, self._y = train
        self._validation = validation
        self._batch = min(batch_size, len(self._y))
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
        """Take one gradient step; return the sum of the squared errors before it."""
        loss, gradients = self._differentiate(x, y)
        self.optimizer.apply(gradients, self.neuron.trainable_variables)
        return loss * float(x.shape[0])

    def _differentiate(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self.neuron(x, training=True))
        return loss, tape.gradient(loss, self.neuron.trainable_variables)


class _ToTheOptimum(_WholeEpochs):
    """Knows how far it is from the optimum, for rows in a basis where they are centered, uncorrelated and of one size.

    There the loss is its least value plus the squared distance of the weights from the best ones, and its gradient is
    twice that distance. So what is left to gain is a quarter of the squared gradient, whatever the data are.
    """

    def __init__(self, neuron: keras.Sequential, train: Tensors, validation: Tensors, batch_size: int) -> None:
        """Lower a learning rate that could diverge: the loss of a minibatch may curve as much as its longest row."""
        super().__init__(neuron, train, validation, batch_size)
        x, _ = train
        whole = self._batch == len(x)
        steepest = 2.0 if whole else 1 + float(tf.reduce_max(tf.reduce_sum(x**2, axis=1)))
        neuron.optimizer.learning_rate = min(float(neuron.optimizer.learning_rate), 1 / steepest)

    def train_step(self, _: tf.Tensor) -> dict[str, tf.Tensor]:
        """Run an epoch; return the loss at its end, and the `excess` of that over the least loss there is."""
        losses = super().train_step(_)
        loss, gradients = self._differentiate(self._x, self._y)
        excess = tf.add_n([tf.reduce_sum(gradient**2) for gradient in gradients]) / 4
        return losses | {"loss": loss, "excess": excess}


def _shuffled(rows: int) -> NDArray[np.int64]:
    """Draw the order in which `fit(shuffle=True)` takes the rows.

    Keras builds its input pipeline again each epoch, and under a fixed seed the same operation in a new pipeline draws
    the same permutation. So one draw serves every epoch, and the weights are those of a plain `fit` bit for bit.
    """

    # Converted, it would be written to the temporary folder, and stay there when this process is ended early.
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def permutation(_: tf.Tensor) -> tf.Tensor:
        return tf.random.shuffle(tf.range(rows, dtype=tf.int64))

    return np.asarray(next(iter(tf.data.Dataset.range(1).map(permutation))))


def _tensors(rows: Rows, order: NDArray[np.int64] | None, basis: Basis | None) -> Tensors:
    x, y = copy_rows(rows, order, basis)
    return tf.constant(x), tf.constant(y)


class _Schedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Halves the learning rate when an epoch gains nothing, and stops at the optimum.

    Small minibatches pull the weights about by as much as the rate allows, so only a falling rate ends at the optimum.
    """

    left = math.inf  # to gain, as a share of the loss
    _excess = math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        losses = logs or {}
        before, self._excess = self._excess, losses["excess"]
        self.left = self._excess / max(losses["loss"], PERFECT)
        if self.left <= ENOUGH:
            self.model.stop_training = True
        elif self._excess > before * STALLED:
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2


def train_neuron(
    train: Rows,
    validation: Rows,
    training: Training,
    on_epoch: OnEpoch = lambda *_: None,
    signs: Floats | float = 0.0,
) -> tuple[keras.Sequential, TrainingResult]:
    """Train on the train rows, watching the validation rows. The same arguments give the same bits.

    Args:
        train: rows to fit, x of shape (n, features).
        validation: rows to watch; may be none.
        training: the recipe. The converged one trains in a basis of its own, which is folded into the weights.
        on_epoch: called after each epoch.
        signs: shape (n,), 1 or -1 where a weight must have that sign or be 0; the rows must have that optimum.

    Raises:
        UserError: the loss became NaN or infinite, or the time limit passed.
    """
    model = build_neuron(train.x.shape[1], training)
    basis = find_basis(train) if training.recipe == "converged" else None
    shuffled = training.shuffle and (not basis or training.batch_size < len(train))  # One minibatch needs no order.
    order = _shuffled(len(train)) if shuffled else None
    fitted, watched = _tensors(train, order, basis), _tensors(validation, None, basis)
    driver = (_ToTheOptimum if basis else _WholeEpochs)(model, fitted, watched, training.batch_size)
    watch, schedule = Watch(on_epoch, training.time_limit, basis.spread**2 if basis else 1.0), _Schedule()
    driver.fit(
        tf.data.Dataset.range(1).repeat(),
        epochs=training.epochs,
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=watch.see), *([schedule] if basis else [])],
    )
    line = _fold_in(model, basis, signs)
    remarks = describe_end(line, train, basis, schedule.left) if basis else ()
    lines: list[str] = []
    model.summary(line_length=60, print_fn=lines.append)
    return model, TrainingResult(training, line, tuple(watch.loss), tuple(watch.val_loss), "\n".join(lines), remarks)


def _fold_in(model: keras.Sequential, basis: Basis | None, signs: Floats | float) -> LinearModel:
    """Have the model take raw features and return raw targets; return it as plain numbers."""
    weights, bias = model.get_weights()
    if not basis:
        return LinearModel(tuple(weights[:, 0].tolist()), float(bias[0]))
    line = basis.leave(weights[:, 0], float(bias[0]), signs)
    model.set_weights([np.array(line.weights, np.float32)[:, None], np.array([line.bias], np.float32)])
    return line


def check_parity(path: Path, line: LinearModel, x: Floats) -> None:
    """Make sure that the saved Keras model and its plain numbers are one model.

    Both predict the rows `x`, shape (n, features). The sums differ in order, so a few float32 roundings are allowed;
    beside float64 arithmetic, those of Keras: of each weight, value, product and sum.

    Raises:
        RuntimeError: they differ by more.
    """
    model = keras.saving.load_model(path, safe_mode=True)
    saved = keras.ops.convert_to_numpy(model(x.astype(np.float32)))[:, 0]
    plain = line.predict(x)
    sizes = np.abs(x) @ np.abs(line.weights) + abs(line.bias)  # What rounding errors are relative to.
    roundings = 4 + len(line.weights) if line.centers else 4
    if not np.all(np.abs(saved - plain) <= roundings * np.finfo(np.float32).eps * sizes):
        raise RuntimeError(f"{path.name} and its plain numbers disagree by up to {np.abs(saved - plain).max()}")


def serve(descriptor: int) -> None:
    """Train in a child process: take requests from the connection, answer each epoch and then the result.

    Without another request, or when the parent has died, it ends.
    """
    with Connection(descriptor) as link, suppress(EOFError, BrokenPipeError):
        while True:
            split, training, path = link.recv()
            try:
                link.send(_train_split(split, training, path, lambda *message: link.send(message)))
            except (UserError, RuntimeError, ValueError, OSError) as error:
                link.send(error)


def _train_split(split: Split | Recall, training: Training, path: Path | None, on_epoch: OnEpoch) -> TrainingResult:
    """Train on the rows of a split, or of its recipe; save the model at the path, and check what is saved."""
    split = recall_split(split) if isinstance(split, Recall) else split
    signs = dict(map(read_sign, training.signs))
    signed = np.array([float(signs.get(name, 0)) for name in split.names])
    model, result = train_neuron(split.train, split.validation, training, on_epoch, signed)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(path.parent)  # Keras makes a folder to save, which `clean` finds only there.
        model.save(path)
        check_parity(path, result.linear_model, split.test.x)
    return result
