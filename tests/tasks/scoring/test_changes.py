"""Why the mean prediction changed, in parts that sum to the whole."""

import math
from pathlib import Path

import numpy as np
import pytest

from flows.predict import predict
from tasks.dataset.rows import Column, Rows, Split
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.reporting.changes import write_challenge, write_changes
from tasks.reporting.predict import write_summary
from tasks.scoring.batch import read_manifest, start_batch
from tasks.scoring.changes import Change, find_means, round_to_sum, split_change
from tasks.scoring.manifest import Counts
from tasks.storage.store import Store
from tests.helpers import make_version

OLD, NEW = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


def make(store: Store, version: str, weights: dict[str, float], bias: float, **changes: object) -> ModelVersion:
    ranges = dict.fromkeys(weights, (0.0, 10.0))
    numbers = {"features": list(weights), "weights": list(weights.values()), "bias": bias, "ranges": ranges}
    return make_version(store, version, **numbers, **changes)


def test_a_change_is_split_into_inputs_and_weights(store: Store) -> None:
    old = make(store, OLD, {"RM": 2.0, "AGE": -1.0}, 1.0)
    new = make(store, NEW, {"RM": 3.0, "TAX": 0.5}, 4.0)
    changes = split_change(old, new, {"RM": 5.0, "AGE": 2.0}, {"RM": 6.0, "TAX": 8.0})
    assert changes == [
        Change("RM", 2.0, 6.0),
        Change("TAX", 0.0, 4.0),
        Change("AGE", 0.0, 2.0),
        Change("bias", 0.0, 3.0),
    ]
    assert sum(change.inputs + change.weights for change in changes) == (3 * 6 + 0.5 * 8 + 4) - (2 * 5 - 2 + 1)


@pytest.mark.parametrize(
    ("parts", "digits", "rounded"),
    [
        ([1 / 3, 1 / 3, 1 / 3], 2, [0.34, 0.33, 0.33]),
        ([0.6, 0.6, 0.6], 0, [1, 1, 0]),
        ([-0.5, -0.25, 2.0], 1, [-0.5, -0.3, 2.0]),
        ([0.0, 0.0], 0, [0, 0]),
    ],
)
def test_rounded_parts_sum_to_the_rounded_whole(parts: list[float], digits: int, rounded: list[float]) -> None:
    assert round_to_sum(parts, digits) == rounded


def test_shown_digits_sum_to_the_shown_total(store: Store) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        changes = [Change("x", *(rng.normal(size=2) * 10.0 ** rng.integers(-6, 6)).tolist()) for _ in range(5)]
        _, sentence, table, _ = write_changes(changes, "")
        shown = [
            [float(cell) for cell in line.split(" | ")[1:]] for line in table.replace(" |\n", "\n")[:-2].split("\n")[2:]
        ]
        total = float(sentence.removeprefix("The mean prediction changed by ").rstrip("."))
        assert math.fsum(a + b for a, b in shown[:-1]) == pytest.approx(total, rel=1e-12, abs=1e-12)
        assert sum(shown[-1]) == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_sums_are_added_up_unless_some_are_unknown() -> None:
    total = Counts()
    total.add(Counts(predicted=2, sums={"RM": 11.0}))
    total.add(Counts(rejects={"empty": 1}))
    total.add(Counts(predicted=2, sums={"RM": 13.0}))
    assert find_means(total) == {"RM": 6.0}
    total.add(Counts(predicted=1))
    total.add(Counts(predicted=2, sums={"RM": 13.0}))
    assert find_means(total) == {}


def run(folder: Path, content: str, model: str, **batch: object) -> str:
    """Predict a file, and return the report."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "a.csv").write_text(content)
    location = predict.fn(Batch(inputs=[str(folder / "in")], model=model, output=str(folder / "out"), **batch))
    manifest = read_manifest(location)
    return write_summary(manifest, start_batch(manifest.settings, str(folder / "in")), b"")


def test_a_batch_tells_what_changed_since_the_version_before(tmp_path: Path, store: Store) -> None:
    make(store, OLD, {"RM": 2.0}, 1.0)
    make(store, NEW, {"RM": 3.0}, 0.5)
    assert "## Since" not in run(tmp_path, "RM\n5\n6\nx\n", OLD)
    (tmp_path / "out" / f"x{next((tmp_path / 'out').iterdir()).name[len(OLD) :]}").mkdir()
    report = run(tmp_path, "RM\n6\n7\n", NEW)
    assert f"## Since the batch by `{OLD}`\n\nThe mean prediction changed by +8.000.\n\n" in report
    assert ("| RM | +2.000 | +6.500 |\n| bias | +0.000 | -0.500 |\n| all | +2.000 | +6.000 |\n") in report
    assert "## Since" not in run(tmp_path, "RM\n6\n7\n", NEW, interval=50), "other settings are another batch"


@pytest.mark.parametrize("gone", [True, False])
def test_nothing_is_told_of_a_version_that_is_gone_or_predicts_something_else(
    tmp_path: Path, store: Store, gone: bool
) -> None:
    make(store, OLD, {"RM": 2.0}, 1.0, target="rent")
    make(store, NEW, {"RM": 3.0}, 0.5)
    run(tmp_path, "RM\n5\n", OLD)
    if gone:
        (Path(str(store.root)) / "models" / OLD / "manifest.json").unlink()
    assert "## Since" not in run(tmp_path, "RM\n5\n", NEW)


def test_a_challenger_is_compared_at_the_means_of_the_test_rows(store: Store) -> None:
    x = np.array([[5.0, 1.0], [7.0, 3.0]])
    part = Rows(x, x[:, 0], np.arange(2))
    split = Split((Column("RM", "rooms"), Column("AGE", "age")), Column("MEDV", "price"), part, part, part)
    champion = make(store, OLD, {"RM": 2.0}, 1.0)
    lines = write_challenge(make(store, NEW, {"RM": 3.0, "AGE": -1.0}, 0.0), champion, split)
    assert lines[0] == f"## Beside the champion {OLD}, at the means of the test rows"
    assert lines[1] == "The mean prediction changed by +3.000."
    assert "| RM | +0.000 | +6.000 |\n| AGE | +0.000 | -2.000 |\n| bias | +0.000 | -1.000 |" in lines[2]
    assert write_challenge(champion.model_copy(update={"target": "rent"}), champion, split) == []
    assert write_challenge(make(store, "v3", {"TAX": 3.0}, 0.0), champion, split) == []
