"""Columns made of terms, and terms made of weights."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.design import Design, learn_design
from linear_neuron.tasks.features.entries import Entries, parse_entries
from linear_neuron.tasks.features.fitted import contribute, predict_frame
from linear_neuron.tasks.model import LinearModel, Term

ODD = ['say "x"', "a\nb", "nul\0", "🏠", "x" * 10_000, "other", "Case", "case", "(missing)", "=", "100%", "null"]
COUNT = 400


def make_frame(levels: list[str] | None = None, *, holes: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    names = levels or ["Fair", "Good", "Ideal"]
    area = rng.uniform(1, 9, COUNT)
    cut = [names[index] for index in rng.integers(0, len(names), COUNT)]
    sold = rng.integers(0, 2**40, COUNT) * 1000
    frame = pl.DataFrame({"area": area, "rooms": rng.integers(1, 5, COUNT).astype(float), "cut": cut, "sold": sold})
    if not holes:
        return frame
    gone = (pl.int_range(pl.len()) % 7) == pl.int_range(3).first()
    return frame.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in ("area", "cut"))


def learn(frame: pl.DataFrame, features: list[str], categories: list[str], **options: Any) -> tuple[Design, Entries]:
    entries = parse_entries(features, categories, frame.columns, **options)
    kinds = {name: {"cut": "category", "sold": "time"}.get(name, "number") for name in entries.kinds}
    return learn_design(entries, kinds, iter([frame])), entries  # type: ignore[arg-type]


def fit(design: Design, frame: pl.DataFrame, y: np.ndarray[Any, Any]) -> tuple[LinearModel, list[Term]]:
    x = design.encode(frame)
    means = x.mean(axis=0)
    weights, *_ = np.linalg.lstsq(x - means, y - y.mean(), rcond=1e-12)
    model = LinearModel(tuple(weights.tolist()), 0.0, tuple(means.tolist()), float(y.mean()))
    settled = design.settle(model, means)
    return settled, design.decode(settled, design.count_levels([frame]))


FEATURES = ["rooms", "log(area)", "area:cut", "spline(area, 4)", "area:month(sold)"]


@pytest.mark.parametrize("holes", [False, True])
def test_terms_predict_what_the_columns_predict(holes: bool) -> None:
    frame = make_frame(holes=holes)
    design, _ = learn(frame, FEATURES, ["cut", "weekday(sold)"], missing="fill")
    y = np.random.default_rng(1).normal(50, 10, COUNT)
    model, terms = fit(design, frame, y)
    by_terms = predict_frame(frame, terms, model.base, design.kinds)
    np.testing.assert_allclose(by_terms, model.predict(design.encode(frame)), rtol=1e-6)
    assert [term.name for term in terms] == [*FEATURES, "cut", "weekday(sold)"]
    assert [term.kind for term in terms] == ["number", "number", "slopes", "spline", "slopes", "category", "category"]


def test_an_average_level_contributes_nothing() -> None:
    frame = make_frame(holes=True)
    design, _ = learn(frame, ["rooms"], ["cut"], missing="fill")
    _, terms = fit(design, frame, np.random.default_rng(1).normal(50, 10, COUNT))
    contributions = contribute(frame, terms, design.kinds)
    assert np.abs(contributions.mean(axis=0)).max() < 1e-9
    assert terms[1].missing is not None
    counts = frame["cut"].drop_nulls().value_counts()
    assert terms[1].rows == dict(counts.sort("cut").iter_rows())


def test_design_columns_are_named_after_terms() -> None:
    frame = make_frame(["Fair", *["Good"] * 30, *["Ideal"] * 30], holes=True)
    design, _ = learn(frame, ["area", "rooms", "spline(area, 3)", "rooms:cut"], ["cut"], missing="fill")
    assert design.names == [
        "area", "area (missing)", "rooms", "spline(area, 3) 1", "spline(area, 3) 2", "spline(area, 3) 3",
        "spline(area, 3) (missing)", "rooms:cut=Good", "rooms:cut=Ideal", "rooms:cut (other)", "rooms:cut (missing)",
        "cut=Good", "cut=Ideal", "cut (other)", "cut (missing)",
    ]  # fmt: skip


def test_odd_levels_have_columns_of_their_own() -> None:
    frame = make_frame(ODD)
    design, _ = learn(frame, [], ["cut"])
    assert len(set(design.names)) == len(ODD)
    assert max(map(len, design.names)) < 100
    effects = dict(zip(ODD, range(len(ODD)), strict=True))
    y = np.array([effects[level] for level in frame["cut"]], float)
    model, terms = fit(design, frame, y)
    assert predict_frame(frame, terms, model.base, design.kinds) == pytest.approx(y, abs=1e-5)
    assert sorted(terms[0].levels) == sorted(ODD)


def test_columns_whose_names_would_be_the_same_stay_apart() -> None:
    frame = pl.DataFrame({"a": ["b=c", "x"] * 20, "a=b": ["c", "y"] * 20})
    entries = parse_entries([], ["a", "a=b"], frame.columns)
    design = learn_design(entries, {"a": "category", "a=b": "category"}, iter([frame]))
    assert design.names == ["a=b=c", "a=x", "a=b=c (2)", "a=b=y"]


def test_rare_and_unseen_levels_share_a_weight() -> None:
    frame = make_frame(["Fair", *["Good"] * 30, *["Ideal"] * 30])
    design, _ = learn(frame, [], ["cut"], min_level_rows=12)
    y = np.array([{"Fair": 1.0, "Good": 2.0, "Ideal": 3.0}[level] for level in frame["cut"]])
    model, (term,) = fit(design, frame, y)
    assert term.levels["Fair"] == term.other
    assert term.rows.keys() == {"Fair", "Good", "Ideal"}
    unseen = pl.DataFrame({"cut": ["Fair", "New", "good"]})
    assert predict_frame(unseen, [term], model.base, design.kinds) == pytest.approx([1, 1, 1], abs=1e-5)


def test_an_unseen_level_is_average_where_none_was_rare() -> None:
    frame = make_frame()
    design, _ = learn(frame, ["area:cut"], ["cut"])
    y = np.random.default_rng(1).normal(50, 10, COUNT)
    model, terms = fit(design, frame, y)
    new = pl.DataFrame({"area": [4.0], "cut": ["New"]})
    assert terms[1].other == 0
    assert predict_frame(new, terms, model.base, design.kinds) == pytest.approx(
        model.predict(design.encode(new)), rel=1e-6
    )


def test_a_missing_value_counts_as_the_mean_where_none_was_missing() -> None:
    frame = make_frame()
    design, _ = learn(frame, ["rooms", "area:cut"], ["cut"], missing="fill")
    model, terms = fit(design, frame, np.random.default_rng(1).normal(50, 10, COUNT))
    empty = frame.clear(1)
    mean = terms[0].weight * (float(frame["rooms"].mean()) - terms[0].center)  # type: ignore[arg-type]
    assert contribute(empty, terms, design.kinds)[0] == pytest.approx([mean, 0, 0], abs=1e-9)
    assert model.base == pytest.approx(predict_frame(empty, terms, model.base, design.kinds)[0], rel=1e-6)


def test_without_filling_a_missing_value_is_rejected() -> None:
    frame = make_frame()
    design, _ = learn(frame, ["log(area)"], ["cut"])
    model, terms = fit(design, frame, np.random.default_rng(1).normal(50, 10, COUNT))
    rows = pl.DataFrame({"area": [1.0, None, -1.0, 2.0], "cut": ["Good", "Good", "Good", None]})
    assert np.isnan(predict_frame(rows, terms, model.base, design.kinds)).tolist() == [False, True, True, True]
    assert np.isnan(design.encode(rows)).any(axis=1).tolist() == [False, True, True, True]


def test_labels_of_numbers_are_whole() -> None:
    frame = make_frame()
    design, _ = learn(frame, [], ["rooms", "month(sold)"])
    assert design.names[:4] == ["rooms=1", "rooms=2", "rooms=3", "rooms=4"]
    assert {name.partition("=")[2] for name in design.names[4:]} <= set(map(str, range(1, 13)))


def test_too_many_levels_are_refused_by_name() -> None:
    frame = pl.DataFrame({"cut": [f"level {n}" for n in range(2001)] * 2, "sold": range(4002)})
    with pytest.raises(
        UserError, match=r"more than 2,000 levels of 2 rows or more, 2,001 of them in cut; leave it out"
    ):
        learn(frame, [], ["month(sold)", "cut"], min_level_rows=2)


def test_rare_levels_do_not_count_as_too_many() -> None:
    frame = pl.DataFrame({"cut": [f"level {n}" for n in range(2001)] + ["often"] * 5})
    design, _ = learn(frame, [], ["cut"], min_level_rows=2)
    assert design.names == ["cut=often", "cut (other)"]


def test_more_different_labels_than_memory_should_hold_are_refused() -> None:
    frame = pl.DataFrame({"sold": range(0, 20_001 * 60_000_000, 60_000_000)})
    with pytest.raises(UserError, match=r"days\(sold\) has more than 20,000 different labels; leave it out"):
        learn(frame, [], ["days(sold)"])


def test_a_term_without_a_value_is_refused() -> None:
    frame = make_frame()
    with pytest.raises(UserError, match=r"log\(-area\) has no value in any row"):
        learn(frame, ["log(-area)"], [])
    with pytest.raises(UserError, match=r"log\(area - 5\) has no value in \d+ of 400 rows; learn from them by --data"):
        learn(frame, ["log(area - 5)"], [])
    design, _ = learn(frame, ["log(area - 5)"], [], missing="fill")
    assert design.names == ["log(area - 5)", "log(area - 5) (missing)"]


def test_terms_that_are_left_out_take_their_columns_along() -> None:
    design, _ = learn(make_frame(), ["rooms", "log(area)"], ["cut"])
    assert design.without(["rooms", "cut"]).kinds == {"area": "number"}
    assert design.find_numbers() == {"rooms": 0, "log(area)": 1}


def test_a_model_without_centers_is_centered() -> None:
    frame = make_frame()
    design, _ = learn(frame, ["rooms"], ["cut"])
    x = design.encode(frame)
    plain = LinearModel((2.0, 1.0, -1.0, 0.5), 3.0)
    settled = design.settle(plain, x.mean(axis=0))
    np.testing.assert_allclose(settled.compute(x), plain.compute(x), rtol=1e-12)
    terms = design.decode(settled)
    np.testing.assert_allclose(predict_frame(frame, terms, settled.base, design.kinds), plain.compute(x), rtol=1e-6)
