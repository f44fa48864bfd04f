"""Compute from the recorded actual values by what factor each version's interval should be wider or narrower."""

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.actual_values import ACTUAL
from linear_neuron.tasks.monitoring.match import NUMBERS
from linear_neuron.tasks.monitoring.performance import BATCH, Index, load_index
from linear_neuron.tasks.monitoring.recorded_rows import try_rows
from linear_neuron.tasks.registry.interval_factors import Factor, Factors, Followed, follow, keep_factors, read_factors
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.store import Store, digest
from linear_neuron.tasks.tables.spec import KEY, KNOWN
from linear_neuron.tasks.training.interval import bound

ROWS = 100_000  # values that are followed, the newest: those before them decide nothing any more


@task("Follow the actuals")
def follow_actuals() -> None:
    """Compute the factors of each version that more actual values are known of than its factors were computed from.

    Every run looks at all versions, so that no value is lost with a run that was killed before it.
    """
    store = Store()
    index, known = load_index(store)[0], read_factors(store)
    found: Factors = {}
    for version in sorted({result.version for entry in index.entries for result in entry.results}):
        actuals = _name_actuals(index, version)
        if version in known and known[version].actuals == actuals:
            continue
        try:
            model = read_version(store, version)
        except UserError:  # Retention has removed it, or it is damaged, which `verify` reports.
            continue
        factors = find_factors(store, model, index)
        found[version] = Followed(actuals=actuals, factors=factors)
        shown = ", ".join(f"{percent}%: {it.factor:.2f}" for percent, it in factors.items())
        get_logger().info("Factors of the intervals of %s by its actuals: %s", version, shown or "none")
    if found:
        keep_factors(store, found)


def _name_actuals(index: Index, version: str) -> str:
    """Digest which recorded files hold actual values of a version."""
    files = {
        name for entry in index.entries if any(result.version == version for result in entry.results)
        for name in entry.files
    }  # fmt: skip
    return digest("\n".join(sorted(files)).encode())[:16]


def find_factors(store: Store, model: ModelVersion, index: Index) -> dict[str, Factor]:
    """Find the factors of a version's intervals by all its recorded actual values, by percent."""
    factors = {}
    for percent, parts in sorted(_read_by_percent(store, model.version, index).items()):
        rows = pl.concat(parts).sort(KNOWN, KEY).tail(ROWS)
        actual, predicted = (rows[name].to_numpy().astype(np.float64) for name in (ACTUAL, NUMBERS[0]))
        ratios = measure_ratios(model, actual, predicted, percent)
        factors[str(percent)] = Factor(factor=follow(ratios, percent), rows=len(ratios))
    return factors


def _read_by_percent(store: Store, version: str, index: Index) -> dict[int, list[pl.DataFrame]]:
    """Read the recorded values of a version by the percent of the interval that their predictions have."""
    tables: dict[int, list[pl.DataFrame]] = {}
    for entry in index.entries:
        results = [result for result in entry.results if result.version == version]
        rows = try_rows(store, entry) if results else None
        if rows is None:
            continue
        for result in results:
            tables.setdefault(result.interval, []).append(rows.filter(pl.col(BATCH) == result.batch))
    return tables


def measure_ratios(model: ModelVersion, actual: Floats, predicted: Floats, percent: int) -> Floats:
    """Measure how far values are from the middle of their calibrated interval, as a share of half its width.

    Values whose predictions have no interval are left out.
    """
    if model.interval_bins is None:
        width = model.intervals[str(percent)]
        low, high = predicted - (width or np.nan), predicted + (width or np.nan)
    else:
        free = model.interval_bins.model_copy(update={"floor": None})  # A bound that is raised holds no less.
        low, high = (side.astype(np.float64) for side in bound(free, predicted, percent))
    half = (high - low) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(actual - (low + high) / 2) / half
    return np.asarray(ratios[~np.isnan(ratios)])
