"""After a change of the world a challenger is promoted by what it would have served, on rows that neither knows."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Floats, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import split_rows
from linear_neuron.tasks.model import Candidate, Learned, ModelVersion
from linear_neuron.tasks.parameters import Promotion, Training
from linear_neuron.tasks.registry.paired_errors import RolledErrors, compare_served
from linear_neuron.tasks.registry.promotion import decide
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.training.calibration import roll_errors
from linear_neuron.tasks.training.fit_data import FitData, prepare_fit
from tests.helpers import make_version

CONVERGED = Training().resolve(own_table=True)
FIRST, CHANGE, LAST = 16, 18, 28  # months: of the first training, from which the world is another one, and the last
ROWS = 60  # a month


class Life(NamedTuple):
    """What became of a model that is retrained each month."""

    promoted: dict[int, str]  # month in which the champion changed -> why
    errors: Floats  # squared error of the champion in each month, without noise


@pytest.fixture
def base(store: Store) -> ModelVersion:
    return make_version(store, "base", features=["area"], target="price")


def make_table(seed: int, slope: float) -> tuple[Floats, Floats, np.ndarray]:
    """Make LAST months of rows whose slope is 2 and from CHANGE on another; noise of variance 1."""
    rng = np.random.default_rng(seed)
    month = np.repeat(np.arange(LAST), ROWS)
    start = (np.datetime64("2024-01") + month).astype("datetime64[us]").astype(np.int64)
    times = start + np.tile(np.sort(rng.integers(0, 28 * 24 * 3600, ROWS)) * 1_000_000, LAST)
    x = rng.normal(size=len(month))
    return x, 10 + np.where(month < CHANGE, 2, slope) * x + rng.normal(size=len(month)), times


def split_known(x: Floats, y: Floats, times: np.ndarray) -> Split:
    origin = Origin("0" * 64, "sales.csv", details={"time": "sold_on"})
    columns = (Column("area", "area"), Column("price", "price"))
    return split_rows(
        Snapshot("sales", origin, columns, np.column_stack([x, y]), None, 0.8, times), "price", ["area"], 0.3
    )


def describe(base: ModelVersion, data: FitData, split: Split, version: str) -> ModelVersion:
    """Describe what a retrain publishes, with least squares in the place of the neuron, which reaches it."""
    line, own = (data.served_moments.solve(), data.parts["train"].solve())  # type: ignore[union-attr]
    newest = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(split.whole.time[-1]))  # type: ignore
    return base.model_copy(
        update={
            "version": version,
            "weights": list(line.weights),
            "bias": line.bias,
            "candidate": Candidate(weights=list(own.weights), bias=own.bias, rows=data.parts["train"].rows),
            "learned": Learned(rows=len(split.whole), newest=newest),  # type: ignore[arg-type]
            "dataset": {"rule": split.rule, "until": int(split.test.time[0])},  # type: ignore[index]
        }
    )


def live(base: ModelVersion, seed: int, slope: float, *, rolls: bool) -> Life:
    """Retrain each month, and follow who serves."""
    x, y, times = make_table(seed, slope)
    champion, promoted, errors = None, dict[int, str](), []
    for month in range(FIRST, LAST):
        known = slice(0, month * ROWS)
        split = split_known(x[known], y[known], times[known])
        data = prepare_fit.fn(split, CONVERGED)
        challenger = describe(base, data, split, f"month-{month}")
        predicted = challenger.candidate_model.predict(split.test.x)
        rolled = roll_errors(data) if rolls else None
        found = decide(challenger, predicted, champion, split, Promotion(), rolled=rolled)
        if found.promote:
            champion = challenger
            promoted[month] = found.reason
        assert champion is not None
        actual = slope if month >= CHANGE else 2
        errors.append((champion.weights[0] - actual) ** 2 + (champion.bias - 10) ** 2)
    return Life(promoted, np.array(errors))


@pytest.mark.slow
def test_a_change_of_the_world_is_learned_within_months(base: ModelVersion) -> None:
    """The slope falls from 2 to -1 in month 18 of 28, with 60 rows a month.

    By the candidates alone no challenger is promoted in the ten months after.
    """
    stuck, free = (live(base, 0, -1, rolls=rolls) for rolls in (False, True))
    assert not [month for month in stuck.promoted if month > CHANGE + 1]
    first = min(month for month in free.promoted if month > CHANGE + 1)
    assert first <= CHANGE + 3
    assert "newer than all that the served model of month-" in free.promoted[first]
    assert "Its candidate, which had learned from older rows alone, was refused: " in free.promoted[first]
    assert free.errors[-1] < 0.1 < 8 < stuck.errors[-1]


def test_rolled_errors_that_are_no_better_promote_nothing(base: ModelVersion) -> None:
    x, y, times = make_table(0, 2)
    half = slice(0, FIRST * ROWS)
    split = split_known(x[half], y[half], times[half])
    champion = describe(base, prepare_fit.fn(split, CONVERGED), split, "known")
    split = split_known(x, y, times)
    challenger = champion.model_copy(
        update={"version": "worse", "candidate": champion.candidate.model_copy(update={"bias": 10.5})}  # type: ignore
    )
    data = prepare_fit.fn(split, CONVERGED)
    predicted, rolled = challenger.candidate_model.predict(split.test.x), roll_errors(data)
    found = decide(challenger, predicted, champion, split, Promotion(), rolled=rolled)
    assert not found.promote
    assert found.figures["served_rows"] == 8 * ROWS
    assert found.figures["served_certainty"] < 0.99  # type: ignore[operator]
    for mode in ("manual", "try"):
        found = decide(challenger, predicted, champion, split, Promotion(mode=mode), rolled=rolled)
        assert (found.promote, "served_rows" in found.figures) == (False, False)
    other = champion.model_copy(update={"target": "rent"})
    assert "served_rows" not in decide(challenger, predicted, other, split, Promotion(), rolled=rolled).figures


def test_rows_that_the_champion_may_know_are_not_compared(base: ModelVersion) -> None:
    split = split_known(*make_table(0, 2))
    data = prepare_fit.fn(split, CONVERGED)
    rolled, champion = roll_errors(data), describe(base, data, split, "all")
    assert isinstance(rolled, RolledErrors)
    assert compare_served(rolled, champion, split, 0) is None, "it has learned from all rows"
    assert compare_served(rolled, champion.model_copy(update={"learned": None}), split, 0) is None
    old = champion.model_copy(update={"learned": Learned(rows=9, newest=datetime(2025, 1, 1, tzinfo=UTC))})
    assert compare_served(rolled, old, split, 0) is not None
    ruled = old.model_copy(update={"dataset": {"rule": "time in paid_on"}})
    assert compare_served(rolled, ruled, split, 0) is None, "another column may say other times"


def test_a_higher_certainty_that_was_asked_for_counts(base: ModelVersion) -> None:
    split = split_known(*make_table(0, 2))
    data = prepare_fit.fn(split, CONVERGED)
    rolled = roll_errors(data)
    assert rolled is not None
    learned = Learned(rows=9, newest=datetime(2025, 1, 1, tzinfo=UTC))
    champion = describe(base, data, split, "off").model_copy(update={"learned": learned, "bias": 10.4})
    certain = compare_served(rolled, champion, split, 0)
    assert certain is not None
    assert 0.99 <= certain.figures["served_certainty"] < 1  # type: ignore[operator]
    assert (certain.promote, compare_served(rolled, champion, split, 1).promote) == (True, False)  # type: ignore
