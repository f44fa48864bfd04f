"""Whether a million random rows for each of 20 pairs of random models stay within the proven worst case.

`python -m tests.benchmarks.worst_case` prints a row for each pair: the bounds, the extremes of the rows, whether the
bounds are proven to be reached, and the share of the bound that the prediction at its point reaches.
"""

import tempfile
import time

import numpy as np

from linear_neuron.tasks.registry.worst_case import find_worst_case
from linear_neuron.tasks.storage.store import Store
from tests.tasks.registry.random_models import draw_rows, make_pair, make_row, measure_change

PAIRS, ROWS = 20, 1_000_000


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        print("| pair | monotone | lowest | highest | of rows | exceeded | exact | reached | s |")  # noqa: T201
        for seed in range(PAIRS):
            monotone = seed % 2 == 0
            old, new = make_pair(store, seed, monotone=monotone)
            began = time.perf_counter()
            found = find_worst_case(old, new)
            took = time.perf_counter() - began
            change = measure_change(old, new, draw_rows(np.random.default_rng(seed), ROWS, filled=not monotone))
            least, most = float(np.nanmin(change)), float(np.nanmax(change))
            exceeded = least < found.lowest or most > found.highest
            (low,), (high,) = (measure_change(old, new, make_row(at)) for at in (found.lowest_at, found.highest_at))
            reached = f"{low / found.lowest:.4f}, {high / found.highest:.4f}"
            rows = f"{least:.4g} to {most:.4g}"
            cells = (
                seed,
                monotone,
                f"{found.lowest:.5g}",
                f"{found.highest:.5g}",
                rows,
                exceeded,
                found.exact,
                reached,
            )
            print("|", " | ".join(map(str, cells)), f"| {took:.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
