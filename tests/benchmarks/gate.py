"""Simulate 100 weeks of challengers, decided by the product's own rules: `python -m tests.benchmarks.gate`.

Rows are eight independent columns, whose sum with unit noise is the target. A challenger is `worse` if its true error
is 0.3 to 0.9% above the champion's, and `equal` if it is that of the first champion; each week has new test rows.
"""

import sys

import numpy as np

from linear_neuron.tasks.dataset.rows import Column, Rows, Split
from linear_neuron.tasks.model import Histogram, ModelVersion
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.promotion import decide

SIDES, WEEKS, FIRST = 8, 100, 0.01  # columns, weeks, and how far the first champion is above the least error
COLUMNS = tuple(Column(f"x{side}", f"x{side}") for side in range(SIDES))
RUNS = 20


def make_model(rng: np.random.Generator, above: float, version: str) -> ModelVersion:
    """Make a version whose true error is above the least by a share."""
    off = rng.normal(size=SIDES)
    return ModelVersion(
        version=version,
        features=[column.name for column in COLUMNS],
        target="y",
        weights=(1 + off * np.sqrt(above / (off @ off))).tolist(),
        bias=0.0,
        ranges={},
        intervals={},
        coverage=None,
        targets=Histogram(edges=[], counts=[]),
        dataset={},
        training={},
        metrics={},
        lineage={},
        fingerprint=version,
        created_at="2026-01-01T00:00:00Z",
    )


def simulate(count: int, seed: int, equal: bool) -> tuple[float, int]:
    """Return how much worse the last champion is than the first, as a ratio of true errors, and the promotions."""
    rng, promoted = np.random.default_rng(seed), 0
    champion, above, anchor = make_model(rng, FIRST, "first"), FIRST, None
    versions = {"first": champion}
    for week in range(WEEKS):
        wanted = FIRST if equal else (1 + above) * (1 + rng.uniform(0.003, 0.009)) - 1
        challenger = make_model(rng, wanted, f"{week}")
        x = rng.normal(size=(count, SIDES))
        rows = Rows(x, x.sum(axis=1) + rng.normal(size=count), np.arange(count))
        split = Split(
            COLUMNS, Column("y", "y"), challenger.features, dict.fromkeys(("train", "validation", "test"), rows)
        )
        found = decide(challenger, challenger.linear_model.predict(x), champion, split, Promotion(), anchor)
        if found.promote:
            champion, above, promoted = challenger, wanted, promoted + 1
            versions[challenger.version] = challenger
            anchor = versions[found.anchor] if found.anchor else None
    return (1 + above) / (1 + FIRST), promoted


def main() -> None:
    """Print a row for each number of test rows and kind of challenger."""
    sys.stdout.write("rows   challengers  last/first: mean  max    promoted of 100\n")
    for count in (200, 1000, 6000):
        for equal in (False, True):
            results = [simulate(count, seed, equal) for seed in range(RUNS)]
            ratios, promoted = zip(*results, strict=True)
            kind = "equal" if equal else "worse"
            line = f"{count:<6} {kind:<12} {np.mean(ratios):>16.3f}  {max(ratios):.3f}  {np.mean(promoted):.1f}\n"
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
