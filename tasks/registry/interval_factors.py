"""By what factor the interval of a version is wider or narrower than it was calibrated, to follow actual values.

A calibrated interval holds what it says as long as new rows are like the calibration rows. Adaptive conformal inference
needs no such condition: after each actual value the interval becomes a little wider if it was missed, and a little
narrower if it was not, so that in the long run the share of misses is the one that is asked for, whatever changes. Here
the width is multiplied by `exp(STEP * (missed - allowed))`.

The factors are computed from all recorded actual values of a version, oldest first. So each value counts once, however
often its file is given and whichever run was killed. They are used only where a batch asks for it.

Source: Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021; multiplying the width
instead of moving the level, so that errors may grow beyond all calibration rows: Angelopoulos, Candès and Tibshirani,
"Conformal PID control for time series prediction", NeurIPS 2023, section 2.1.
"""

import math

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from upath import UPath

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.model import IntervalBins, ModelVersion
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.steps import get_logger
from linear_neuron.tasks.storage.store import Store, to_json

FACTORS = "factors.json"
STEP = 0.02  # of the logarithm of the width, for a row
MOST = math.log(20)  # least and greatest logarithm of a factor


class Factor(BaseModel):
    """By what an interval is multiplied, and the number of actual values that say so."""

    model_config = ConfigDict(frozen=True)

    factor: float
    rows: int


class Followed(BaseModel):
    """The factors of a version."""

    model_config = ConfigDict(frozen=True)

    actuals: str  # digest of the recorded actual values that they were computed from
    factors: dict[str, Factor]  # percent of the interval -> its factor


Factors = dict[str, Followed]  # by version
ADAPTER = TypeAdapter(Factors)


def follow(ratios: Floats, percent: int) -> float:
    """Follow actual values with the width of an interval, and return its factor.

    Args:
        ratios: how far each value is from the middle of its interval, as a share of half its width, oldest first.
        percent: of the values that the interval should hold.
    """
    level, missed, held = 0.0, STEP * percent / 100, STEP * (1 - percent / 100)
    for ratio in ratios.tolist():
        level = min(level + missed, MOST) if ratio > math.exp(level) else max(level - held, -MOST)
    return math.exp(level)


def widen_interval(model: ModelVersion, factor: float) -> ModelVersion:
    """Multiply the width of a version's interval; the middle of each level stays where it is."""
    if factor == 1:
        return model
    bins, widths = model.interval_bins, model.intervals
    scaled = {percent: None if width is None else width * factor for percent, width in widths.items()}
    return model.model_copy(
        update={"intervals": scaled, "interval_bins": _widen_bins(bins, factor) if bins is not None else None}
    )


def _widen_bins(bins: IntervalBins, factor: float) -> IntervalBins:
    lower: dict[str, list[float | None]] = {}
    upper: dict[str, list[float | None]] = {}
    for percent, errors in bins.lower.items():
        pairs = [_widen(*pair, factor) for pair in zip(errors, bins.upper[percent], strict=True)]
        lower[percent], upper[percent] = [low for low, _ in pairs], [high for _, high in pairs]
    return bins.model_copy(update={"lower": lower, "upper": upper})


def _widen(low: float | None, high: float | None, factor: float) -> tuple[float | None, float | None]:
    if low is None or high is None:
        return low, high
    middle, half = (low + high) / 2, (high - low) / 2 * factor
    return middle - half, middle + half


def read_factors(store: Store) -> Factors:
    """Read all factors; a damaged file is logged, and counts for none until the next actual values rebuild it."""
    path = store.root / FACTORS
    return _parse(store.read(path), path)


def read_factor(store: Store, version: str, percent: int) -> float:
    """Read the factor of a version's interval; 1 where no actual values are known."""
    followed = read_factors(store).get(version)
    found = followed.factors.get(str(percent)) if followed else None
    return found.factor if found else 1.0


def keep_factors(store: Store, found: Factors) -> None:
    """Replace the factors of some versions at once, and forget those of versions that are gone."""
    path, versions = store.root / FACTORS, set(list_versions(store))

    def add(content: bytes | None) -> bytes:
        kept = {name: factors for name, factors in (_parse(content, path) | found).items() if name in versions}
        return to_json(ADAPTER.dump_python(kept, mode="json"))

    store.update(path, add)


def _parse(content: bytes | None, path: UPath) -> Factors:
    try:
        return ADAPTER.validate_json(b"{}" if content is None else content)
    except ValidationError:
        get_logger().warning("%s is damaged, so intervals are as they were calibrated until the next actuals", path)
        return {}
