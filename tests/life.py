"""Months in the life of a model of homes: what is sold, what is asked, and what becomes known, as files.

The price of a home rises faster than its area. Among the small homes of the first months a line fits well; then large
ones come, for which it is wrong, until it is fitted again.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

COLUMNS = {"features": ["area"], "target": "price", "key": "id", "time": "sold_on"}
SMALL, LARGE = (40, 100), (100, 220)  # areas in square metres
NOISE = 20.0


def write_month(folder: Path, month: str, rows: int, areas: tuple[int, int]) -> None:
    """Write the files of a month: `ask/` without prices, `sold/` with them alone, `sales/` with all."""
    rng = np.random.default_rng([int(month.replace("-", "")), rows])
    area, day = rng.uniform(*areas, rows).round(1), np.sort(rng.integers(1, 29, rows))
    price = 50 + 2 * area + 0.01 * area**2 + rng.normal(0, NOISE, rows)
    homes = [
        (f"{month}-{number}", f"{month}-{d:02}", a, p)
        for number, (d, a, p) in enumerate(zip(day, area, price, strict=True))
    ]
    _write(folder / "ask" / f"{month}.csv", "id,area", (f"{name},{a}" for name, _, a, _ in homes))
    _write(folder / "sold" / f"{month}.csv", "id,price", (f"{name},{p:.1f}" for name, _, _, p in homes))
    _write(folder / "sales" / f"{month}.csv", "id,sold_on,area,price", (f"{n},{d},{a},{p:.1f}" for n, d, a, p in homes))


def _write(path: Path, head: str, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([head, *lines]) + "\n")
