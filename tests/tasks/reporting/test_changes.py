"""Why the mean prediction changed, in parts that sum to the whole."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.dataset.rows import Column, Rows
from linear_neuron.tasks.features.spline import to_polynomials
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.reporting.batch_report import write_summary
from linear_neuron.tasks.reporting.changes import Batch as TermBatch
from linear_neuron.tasks.reporting.changes import (
    Change,
    find_means,
    round_to_sum,
    split_change,
    split_terms,
    write_challenge,
    write_changes,
)
from linear_neuron.tasks.scoring.batch import read_manifest, start_batch
from linear_neuron.tasks.scoring.manifest import Counts
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_split, make_version
from tests.tasks.scoring.term_models import KNOTS, contribute, draw_rows, make_term_version, predict_row
from tests.tasks.scoring.test_terms import run as score_file
from tests.tasks.scoring.test_terms import to_csv

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
    return write_summary(manifest, start_batch(manifest.settings, str(folder / "in")))


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
    split = make_split((Column("RM", "rooms"), Column("AGE", "age")), Column("MEDV", "price"), part)
    champion = make(store, OLD, {"RM": 2.0}, 1.0)
    lines = write_challenge(make(store, NEW, {"RM": 3.0, "AGE": -1.0}, 0.0), champion, split)
    assert lines[0] == f"## Beside the champion {OLD}, at the means of the test rows"
    assert lines[1] == "The mean prediction changed by +3.000."
    assert "| RM | +0.000 | +6.000 |\n| AGE | +0.000 | -2.000 |\n| bias | +0.000 | -1.000 |" in lines[2]
    assert write_challenge(champion.model_copy(update={"target": "rent"}), champion, split) == []
    assert write_challenge(make(store, "v3", {"TAX": 3.0}, 0.0), champion, split) == []


def predict_terms(folder: Path, model: ModelVersion, rows: list[dict[str, Any]]) -> TermBatch:
    (folder / "a.csv").write_bytes(to_csv(rows))
    result, _ = score_file(folder, model, folder / "a.csv")
    return TermBatch(model, result)


def change_terms(model: ModelVersion, version: str, knots: list[float]) -> ModelVersion:
    """Change every number of a model, and leave one level out."""
    terms = []
    for term in model.terms:
        levels = {level: 2 * value + 0.1 for level, value in term.levels.items() if level != "ideal"}
        rows = {level: count for level, count in reversed(term.rows.items()) if level != "ideal"}
        changes = {"weight": term.weight * 1.5, "center": term.center + 0.5, "levels": levels, "rows": rows}
        if term.knots:
            changes |= {"knots": knots, "polynomials": to_polynomials(knots, [0.9, 0.8], -0.5)}
        terms.append(term.model_copy(update=changes))
    return model.model_copy(update={"version": version, "terms": terms, "base": 20.0})


@pytest.mark.parametrize("knots", [KNOTS, [1.1, 2.4, 4.2]], ids=["same knots", "other knots"])
def test_terms_share_a_change_by_what_they_add(tmp_path: Path, store: Store, knots: list[float]) -> None:
    old = make_term_version(store)
    new = change_terms(old, NEW, knots)
    rows, others = draw_rows(800, seed=1), draw_rows(900, seed=2)[:600] + draw_rows(300, seed=3, unseen=False)
    changes = split_terms(predict_terms(tmp_path, old, rows), predict_terms(tmp_path, new, others))

    def average(model: ModelVersion, index: int, some: list[dict[str, Any]]) -> float:
        term = model.terms[index]
        center = term.weight * term.center if term.kind == "number" else 0.0
        return math.fsum((contribute(term, row) or 0.0) + center for row in some) / len(some)

    for index, change in enumerate(changes[:-1]):
        middle = average(old, index, others)
        near = 0.01 if change.name == "area:cut" or (change.name == "spline(carat, 2)" and knots != KNOTS) else 1e-9
        assert change.inputs == pytest.approx(middle - average(old, index, rows), abs=near)
        total = average(new, index, others) - average(old, index, rows)
        assert change.inputs + change.weights == pytest.approx(total, rel=1e-9, abs=1e-9)
    means = [np.mean([predict_row(model, row) for row in some]) for model, some in ((new, others), (old, rows))]
    assert math.fsum(change.inputs + change.weights for change in changes) == pytest.approx(
        means[0] - means[1], abs=1e-4
    )


def test_term_that_one_version_has_counts_as_weights(tmp_path: Path, store: Store) -> None:
    old = make_term_version(store)
    plain = make(store, NEW, {"carat": 2.0}, 1.0)
    rows = [row for row in draw_rows(400) if row["carat"] is not None]
    changes = {
        change.name: change
        for change in split_terms(predict_terms(tmp_path, old, rows), predict_terms(tmp_path, plain, rows))
    }
    carats = math.fsum(row["carat"] for row in rows) / len(rows)
    assert changes["carat"].inputs == pytest.approx(0.0, abs=1e-9)
    assert changes["carat"].weights == pytest.approx(1.9 * carats)
    assert changes["cut"].inputs == 0.0
    means = [float(np.mean([predict_row(old, row) for row in rows])), 2 * carats + 1]
    assert math.fsum(change.inputs + change.weights for change in changes.values()) == pytest.approx(
        means[1] - means[0], abs=1e-4
    )


def test_report_has_unseen_levels_and_the_split_of_terms(tmp_path: Path, store: Store) -> None:
    old = make_term_version(store, version=OLD)
    new = change_terms(old, NEW, KNOTS)
    make_term_version(store, version=NEW, terms=new.terms, base=new.base)
    head = "carat,area,cut,sold,rooms\n"
    run(tmp_path, f"{head}1,50,Ideal,2026-01-01,3\n", OLD)
    report = run(tmp_path, f"{head}2,50,<b>New,2026-01-01,3\n,50,<b>New,2026-01-01,3\n1,50,Odd,2026-02-01,4.5\n", NEW)
    assert "3 rows with 3 levels not seen in training: cut `<b>New` (2), cut Odd (1), month(sold) 2 (1)." in report
    assert "Rows predicted without a value, by column: carat 1." in report
    assert f"## Since the batch by `{OLD}`" in report
    assert "Inputs: what the old terms add in the new rows less what they added in the old ones." in report
