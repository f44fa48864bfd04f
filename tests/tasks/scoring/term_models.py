"""A version with every kind of term, rows for it, and what it predicts by Python's own arithmetic."""

import bisect
import math
import random
from datetime import UTC, datetime
from typing import Any

import numpy as np

from linear_neuron.tasks.features.spline import to_polynomials
from linear_neuron.tasks.model import Candidate, ModelVersion, Term
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

ODD_LEVELS = [
    "Ideal",
    "Very Good",
    "other",
    "(missing)",
    "'; DROP TABLE x; --",
    'quo"te',
    "back\\slash",
    "new\nline",
    "😀",
]
ODD_LEVELS += ["ideal", "NaN", "0", "1.50", "<b>", "{0}", "%s", "=1+1", "x" * 10_000, "a,b", "Ideal x"]
CUTS = {level: (index - 9) / 7 for index, level in enumerate(ODD_LEVELS)}
KNOTS = [1.0, 2.5, 4.0]
POLYNOMIALS = to_polynomials(KNOTS, [0.7, 0.4], -0.3)
COLUMNS = {"carat": "number", "area": "number", "cut": "category", "sold": "time", "rooms": "number"}
JANUARY, MARCH, NEW_YEAR = "2026-01-15", "2026-03-31T23:59:59", "2027-01-01"


def make_terms(missing: bool) -> list[Term]:
    """Make a term of each kind."""

    def fill(value: float) -> float | None:
        return value if missing else None

    return [
        Term(name="carat", kind="number", value="`carat`", weight=0.1, center=0.7, missing=fill(0.01)),
        Term(name="log(area)", kind="number", value="log(`area`)", weight=-2.5, center=4.6, missing=fill(-0.3)),
        Term(
            name="cut",
            kind="category",
            label="`cut`",
            levels=CUTS,
            other=0.123,
            rows=dict.fromkeys(list(CUTS)[:-1], 20),
            missing=fill(0.5),
        ),
        Term(
            name="month(sold)",
            kind="category",
            label="month(`sold`)",
            levels={"1": 0.25, "3": -0.75},
            other=-0.1,
            rows={"1": 40, "3": 60},
            missing=fill(0.2),
        ),
        Term(
            name="spline(carat, 2)",
            kind="spline",
            value="`carat`",
            knots=KNOTS,
            polynomials=POLYNOMIALS,
            missing=fill(0.05),
        ),
        Term(
            name="area:cut",
            kind="slopes",
            value="`area`",
            label="`cut`",
            center=100.0,
            levels={level: value / 100 for level, value in CUTS.items()},
            other=0.001,
            rows=dict.fromkeys(list(CUTS)[:-1], 20),
            missing=fill(0.0),
        ),
        Term(
            name="rooms",
            kind="category",
            label="`rooms`",
            levels={"3": 1.5, "4.5": 2.5},
            other=0.0,
            rows={"3": 50, "4.5": 50},
            missing=fill(-0.5),
        ),
    ]


def make_term_version(store: Store, *, missing: bool = True, **changes: Any) -> ModelVersion:
    """Publish a version with a term of each kind."""
    terms = make_terms(missing)
    facts: dict[str, Any] = {
        "features": [term.name for term in terms],
        "terms": terms,
        "columns": COLUMNS,
        "design": [term.name for term in terms],
        "weights": [1.0] * len(terms),
        "centers": [0.0] * len(terms),
        "arithmetic": "float64",
        "base": 10.0,
        "bias": 10.0,
        "ranges": {"carat": (0.2, 5.0), "area": (20.0, 500.0), "rooms": (3.0, 4.5)},
        "dataset": {"bounds": ["carat=0..100"], "missing": "fill" if missing else "reject", "source": "t.csv"},
        "candidate": Candidate(weights=[1.0] * len(terms), bias=0.0, rows=1, terms=terms),
        "contract": {
            "carat": {"type": "number", "mean": 1.0, "deciles": [0.2, *(0.5 * i for i in range(1, 10)), 5.0]},
            "cut": {"type": "category", "levels": dict.fromkeys(list(CUTS)[:3], 20), "other": 5, "nulls": 0.1},
        },
    }
    return make_version(store, **({"version": "20260101T000000Z-aaaaaa"} | facts | changes))


def draw_rows(count: int, *, missing: bool = True, unseen: bool = True, seed: int = 1) -> list[dict[str, Any]]:
    """Draw rows, in some of which a cell is missing or a level is not known."""
    rng = random.Random(seed)  # noqa: S311
    cuts: list[Any] = list(CUTS)
    cuts += ["Unseen", "Never", *([None] * 2 if missing else [])] if unseen else [None] if missing else []
    empty = [None] if missing else []
    return [
        {
            "carat": rng.choice([round(rng.uniform(0.1, 6), 2), *KNOTS, *empty]),
            "area": rng.choice(
                [round(rng.uniform(10, 600), 1), round(rng.uniform(10, 600), 1), *empty, *([0.0] * missing)]
            ),
            "cut": rng.choice(cuts),
            "sold": rng.choice([JANUARY, MARCH, *empty, *([NEW_YEAR.replace("01-01", "12-31")] if unseen else [])]),
            "rooms": rng.choice([3.0, 4.5, *empty, *([7.0] if unseen else [])]),
        }
        for _ in range(count)
    ]


def predict_row(model: ModelVersion, row: dict[str, Any]) -> np.float32 | None:
    """Predict a row; None where it is rejected."""
    total = model.base
    for term in model.terms:
        part = contribute(term, row)
        if part is None:
            return None
        total += part
    return np.float32(total)


def contribute(term: Term, row: dict[str, Any]) -> float | None:
    """Compute the contribution of a term."""
    value, level = find_value(term, row), find_level(term, row)
    if (term.value and value is None) or (term.label and level is None):
        return term.missing
    found = term.levels.get(level or "", term.other)
    if term.kind == "category":
        return found
    assert value is not None
    if term.kind == "number":
        return (value - term.center) * term.weight
    if term.kind == "slopes":
        return (value - term.center) * found
    interval = bisect.bisect_right(term.knots, value)
    a0, a1, a2, a3 = term.polynomials[interval]
    t = value - term.knots[max(interval - 1, 0)]
    return ((a3 * t + a2) * t + a1) * t + a0


def find_value(term: Term, row: dict[str, Any]) -> float | None:
    """Find the value of a term."""
    if term.value == "log(`area`)":
        return math.log(row["area"]) if row["area"] and row["area"] > 0 else None
    value: float | None = row[term.value.strip("`")] if term.value else None
    return value


def find_level(term: Term, row: dict[str, Any]) -> str | None:
    """Find the level of a term."""
    if term.label == "month(`sold`)":
        return row["sold"] and str(datetime.fromisoformat(row["sold"]).replace(tzinfo=UTC).month)
    if term.label == "`rooms`":
        return None if row["rooms"] is None else f"{row['rooms']:g}"
    level: str | None = row["cut"] if term.label else None
    return level


def is_extrapolated(model: ModelVersion, row: dict[str, Any]) -> bool:
    """Say whether a number is out of its range, or a level was not seen."""
    outside = any(
        row[name] is not None and not np.float32(low) <= np.float32(row[name]) <= np.float32(high)
        for name, (low, high) in model.ranges.items()
    )
    levels = [(term, find_level(term, row)) for term in model.terms if term.label]
    return outside or any(level is not None and level not in term.rows for term, level in levels)
