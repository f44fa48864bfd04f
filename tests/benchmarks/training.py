"""Training alone against a plain `model.fit`, at four sizes: `python -m tests.benchmarks.training [rounds]`.

Each run is a process of its own; the seconds are those of the training, tracing included and imports left out. The
epochs after the first, which traces, are also timed alone, which shows how they grow with the rows.
"""

import os
import statistics
import subprocess
import sys
import time
from importlib import resources

import numpy as np

from linear_neuron.tasks.dataset.boston import FILE
from linear_neuron.tasks.dataset.rows import Rows
from linear_neuron.tasks.parameters import Training
from tests.benchmarks.measure import HEAD, Series

SIZES = {404: (16, 101), 10_000: (1024, 20), 100_000: (1024, 20), 1_000_000: (1024, 20)}  # rows -> batch, epochs


def make_rows(count: int) -> Rows:
    """Return the training rows of the tutorial for 404, made-up ones otherwise."""
    if count == 404:
        with np.load(str(resources.files("linear_neuron.tasks.dataset") / "data" / FILE.name)) as arrays:
            return Rows(arrays["x"][:404, [5]], arrays["y"][:404], np.arange(404))
    rng = np.random.default_rng(0)
    x = rng.normal(6, 1, (count, 1))
    return Rows(x, 9 * x[:, 0] - 34 + rng.normal(0, 6, count), np.arange(count))


def train_once(way: str, count: int) -> None:
    """Train here, and print the seconds, those of an epoch after the first, and the peak MB before and after."""
    import resource

    import keras

    from linear_neuron.tasks.training.neuron import build_neuron, train_neuron

    batch, epochs = SIZES[count]
    training, rows = Training(epochs=epochs, batch_size=batch), make_rows(count)
    fitted = count - int(count * 0.3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    ends: list[float] = []
    start = time.perf_counter()
    if way == "ours":
        train, validation = (
            Rows(rows.x[part], rows.y[part], rows.number[part]) for part in (slice(fitted), slice(fitted, None))
        )
        train_neuron(train, validation, training, lambda *_: ends.append(time.perf_counter()))
    else:
        model = build_neuron(1, training)
        clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
        model.fit(rows.x, rows.y, batch_size=batch, epochs=epochs, validation_split=0.3, verbose=0, callbacks=[clock])
    seconds = time.perf_counter() - start
    epoch = (ends[-1] - ends[0]) / (epochs - 1)
    sys.stdout.write(f"{seconds} {epoch} {before} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}\n")


def main(rounds: int) -> None:
    """Print a table, the two ways in turn at each size."""
    sys.stdout.write(f"{HEAD}\n")
    for count, (batch, epochs) in SIZES.items():
        found = {"model.fit": Series(), "ours": Series()}
        grown = 0.0
        epochs_after: dict[str, list[float]] = {way: [] for way in found}
        for number in range(rounds + 1):  # the first is the warm-up
            for way, series in found.items():
                code = f"from tests.benchmarks.training import train_once; train_once({way!r}, {count})"
                clean = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
                done = subprocess.run(
                    [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
                )
                seconds, epoch, before, after = map(float, done.stdout.split()[-4:])
                if number:
                    series.seconds.append(seconds)
                    epochs_after[way].append(epoch)
                    series.peak = max(series.peak, after)
                    grown = after - before if way == "ours" else grown
        base = found["model.fit"].median
        for way, series in found.items():
            speed = count * 0.7 * epochs / series.median
            name = f"{way}, {count:,} rows, batch {batch}, {epochs} epochs: {speed:,.0f} rows/s"
            sys.stdout.write(series.row(name, base) + "\n")
        message = " and ".join(f"{way} {1000 * statistics.median(times):.2f} ms" for way, times in epochs_after.items())
        sys.stdout.write(f"  (an epoch after the first: {message})\n")
        sys.stdout.write(f"  (ours grew by {grown:.0f} MB over rows of {count * 16 / 1e6:.1f} MB)\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
