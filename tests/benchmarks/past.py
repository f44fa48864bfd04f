"""What `--training.past auto` costs and gains on six kinds of change: `python -m tests.benchmarks.past [SEEDS]`.

Each month a model is fitted by the product's own rules to the rows of the months before, and predicts the month. The
noise alone has a mean squared error of 400. The last two columns are the coverage of the interval of 90% that the
retrain gives the model: of all rows, and of the month with the least, as a mean over the rounds.
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from linear_neuron.tasks.dataset.moments import measure_moments
from linear_neuron.tasks.dataset.rows import TRAIN_SHARE, Column, Floats, Origin, Rows, Snapshot
from linear_neuron.tasks.dataset.split import split_rows
from linear_neuron.tasks.model import IntervalBins, LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.training.calibration import calibrate
from linear_neuron.tasks.training.fit_data import prepare_fit
from linear_neuron.tasks.training.interval import bound
from linear_neuron.tasks.training.past import ALL, DAY, Past, read_past

NOISE = 20.0
FIRST_MONTH = np.datetime64("2020-01")
FIXED = {
    "oldest 56%": "",
    "all rows": "all",
    "last 91 days": "91d",
    "half-life of 30 days": "half-life:30d",
    "auto": "auto",
}
ROUNDS = 10


@dataclass(frozen=True)
class Kind:
    """A kind of change, and how large the error with `auto` may be: at most, and as a share of that of all rows."""

    name: str
    months: int = 48
    first: int = 12  # month that is predicted first
    most: float = np.inf
    share: float = np.inf


KINDS = [
    Kind("sales", 18, 6, most=650),
    Kind("drift", most=440),
    Kind("inflation", most=430),
    Kind("random walk", most=440),
    Kind("no drift", share=1.005),
    Kind("season", share=1.02),
]


def make_months(kind: Kind, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
    """Make the rows of each month: features, shape (n, features), and targets, shape (n,)."""
    walk, weights = np.cumsum(rng.normal(0, 0.04, kind.months)), 10 * rng.normal(size=8)
    for month in range(kind.months):
        if kind.name == "no drift":
            x = rng.normal(size=(40, 8))
            yield x, 50 + x @ weights + rng.normal(0, NOISE, 40)
            continue
        rows, slope, intercept = 200, 2.0, 50.0
        if kind.name == "sales":
            rows, slope = int(20 * 1.3**month), 2 + float(np.clip(month - 5, 0, 6)) / 6
        elif kind.name == "drift":
            slope = 2 * (1 + 0.01 * month)
        elif kind.name == "inflation":
            intercept = 50 + 250 * (1.005**month - 1)
        elif kind.name == "random walk":
            slope = 2 + walk[month]
        else:
            intercept = 50 + 10 * np.sin(2 * np.pi * month / 12)
        x = rng.uniform(40, 160, (rows, 1))
        yield x, intercept + slope * x[:, 0] + rng.normal(0, NOISE, rows)


def make_rows(kind: Kind, rng: np.random.Generator) -> tuple[Rows, list[int]]:
    """Make all rows in the order of their times, and say how many there are before each month."""
    x, y, time = [], [], []
    for month, (features, targets) in enumerate(make_months(kind, rng)):
        start, end = ((FIRST_MONTH + ahead).astype("datetime64[us]").astype(np.int64) for ahead in (month, month + 1))
        x.append(features)
        y.append(targets)
        time.append(np.sort(rng.integers(start // DAY, end // DAY, len(targets))) * DAY)
    counts = [0, *np.cumsum([len(targets) for targets in y]).tolist()]
    return Rows(np.vstack(x), np.concatenate(y), np.arange(counts[-1]), np.concatenate(time)), counts


def cut(rows: Rows, start: int, stop: int) -> Rows:
    assert rows.time is not None
    return Rows(rows.x[start:stop], rows.y[start:stop], rows.number[start:stop], rows.time[start:stop])


def fit(rows: Rows, past: Past) -> LinearModel:
    """Fit the rows of a past."""
    names = [*map(str, range(rows.x.shape[1])), "y"]
    chosen = past.select(rows)
    return measure_moments(names, chosen.x, chosen.y, past.weigh(chosen)).solve()


@dataclass(frozen=True)
class Month:
    """A month that was predicted."""

    rows: int
    errors: dict[str, float]  # way -> mean squared error
    chosen: str  # what `auto` chose
    coverage: float  # of the interval of 90% of the model that `auto` serves


def retrain(known: Rows) -> tuple[LinearModel, Past, IntervalBins]:
    """Fit and calibrate what a retrain with the defaults would serve; least squares is where the neuron ends."""
    columns = tuple(Column(f"x{index}", f"x{index}") for index in range(known.x.shape[1]))
    target = Column("y", "y")
    origin, values = Origin("", "made up", details={"time": "t"}), np.column_stack([known.x, known.y])
    snapshot = Snapshot("made up", origin, (*columns, target), values, None, TRAIN_SHARE, known.time)
    training = Training().resolve(own_table=True)
    split = split_rows(snapshot, "y", [column.name for column in columns], training.validation_split)
    data = prepare_fit.fn(split, training)
    candidate = data.parts["train"].solve()
    predicted = {part: candidate.predict(data.split.parts[part].x) for part in ("validation", "test")}
    assert data.served_moments is not None
    return data.served_moments.solve(), data.past, calibrate(data, predicted)[1]["bins"]


def measure(kind: Kind, seed: int) -> list[Month]:
    """Measure how each way predicts each month."""
    rows, counts = make_rows(kind, np.random.default_rng(seed))
    months = []
    for month in range(kind.first, kind.months):
        known, following = cut(rows, 0, counts[month]), cut(rows, counts[month], counts[month + 1])
        assert known.time is not None
        fitted = int(np.searchsorted(known.time, known.time[int(len(known) * 0.7 * TRAIN_SHARE)]))
        served, past, bins = retrain(known)
        models = {name: fit(known, read_past(wanted)) for name, wanted in FIXED.items() if wanted not in ("", "auto")}
        models |= {"oldest 56%": fit(cut(known, 0, fitted), ALL), "auto": served}
        errors = {
            name: float(np.mean((following.y - following.x @ models[name].weights - models[name].bias) ** 2))
            for name in FIXED
        }
        low, high = bound(bins, served.compute(following.x), 90)
        coverage = float(np.mean((following.y >= low) & (following.y <= high)))
        months.append(Month(len(following), errors, str(past), coverage))
    return months


def main(rounds: int) -> int:
    """Print the table; return how many targets were missed."""
    logging.disable(logging.INFO)
    head = ["next month's MSE", *FIXED, "target", "chosen", "coverage", "in the worst month"]
    print("|", " | ".join(head), "|")  # noqa: T201
    print("|---" * len(head) + "|")  # noqa: T201
    missed = 0
    for kind in KINDS:
        lives = [measure(kind, seed) for seed in range(rounds)]
        months = [month for life in lives for month in life]
        weights = [month.rows for month in months]
        means = {name: float(np.average([month.errors[name] for month in months], weights=weights)) for name in FIXED}
        most = min(kind.most, kind.share * means["all rows"])
        pasts = [month.chosen for month in months]
        usual = max(set(pasts), key=pasts.count)
        missed += means["auto"] > most
        verdict = f"<= {most:.1f}{'' if means['auto'] <= most else ' MISSED'}"
        covered = np.average([month.coverage for month in months], weights=weights)
        worst = min(np.mean([month.coverage for month in same]) for same in zip(*lives, strict=True))
        line = [kind.name, *(f"{mean:.1f}" for mean in means.values()), verdict]
        line += [f"{usual} in {pasts.count(usual) / len(pasts):.0%}", f"{covered:.1%}", f"{worst:.1%}"]
        print("|", " | ".join(line), "|", flush=True)  # noqa: T201
    return missed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
