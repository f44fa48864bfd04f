"""The proven worst case of a change of models: the most by which any prediction within bounds can move, and where.

The difference of two models is a sum over groups of columns that share no column, so each group is bounded by itself:
all levels of its categories are tried, and its numbers are searched by branch and bound, with interval arithmetic. A
group of one term of one column is exact; of others the search ends within a thousandth, or says that it did not.

Source: Land and Doig, "An automatic method of solving discrete programming problems", Econometrica 28 (1960), on branch
and bound.
"""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product

from linear_neuron.tasks.features.enclosure import Enclosure
from linear_neuron.tasks.features.expressions import TimePart, parse
from linear_neuron.tasks.features.term_groups import LEVEL, Group, collect_groups
from linear_neuron.tasks.model import ModelVersion

PARTS = {
    "quarter": (1, 4),
    "month": (1, 12),
    "weekday": (1, 7),
    "day": (1, 31),
    "day_of_year": (1, 366),
    "hour": (0, 23),
}
PRECISION = 1e-3  # of a bound, at which a search ends
MOST_STEPS = 3000  # of a search
ENDLESS = 1e30  # a bound from which on no search helps, such as of a division by 0
MOST_SIDES = 4  # of a box whose corners are looked at
MOST_CASES = 20_000  # combinations of levels that are tried
MOST_EXPONENT = 89.0  # its exponential is beyond the greatest float32
ROUNDING = 2.0**-23  # of float32, as a share of a number
Value = Enclosure | str | None  # of a column: an interval, a level, or nothing where it is missing
Domains = dict[str, list[Value]]  # column, part of a time, or column of labels -> all that it can be
Box = dict[str, Value]
Point = dict[str, float | str | None]  # column, or part of a time -> its value; None is a missing one


@dataclass(frozen=True)
class WorstCase:
    """The bounds of the change of any prediction, new less old, in target units."""

    lowest: float
    highest: float
    lowest_at: Point
    highest_at: Point
    exact: bool  # whether both are reached to a thousandth; else no change is beyond them, but they may not be reached
    reason: str = ""  # why there is none

    @property
    def largest(self) -> float:
        """The greatest change without its sign."""
        return max(-self.lowest, self.highest)

    @property
    def at(self) -> Point:
        """Where it is."""
        return self.highest_at if self.highest >= -self.lowest else self.lowest_at


class UnboundedError(Exception):
    """A column has no range."""


def find_worst_case(old: ModelVersion, new: ModelVersion) -> WorstCase:
    """Find the most by which a prediction of the new model can be below and above that of the old one.

    Numbers lie within the stated bounds of both models, or where none are stated in the range that one of them has
    learned from; labels are levels that one of them has seen. Missing values count where both models fill them.
    """
    groups = collect_groups(old.all_terms, new.all_terms)
    names = list(dict.fromkeys(name for group in groups for name in group.find_columns()))
    try:
        domains = {name: _find_domain(name, groups, (old, new)) for name in names}
    except UnboundedError as error:
        return WorstCase(-math.inf, math.inf, {}, {}, exact=False, reason=str(error))
    sums = _bound_sums(groups, domains, find_base(new) - find_base(old))
    if old.link == new.link == "identity":
        slack = sum(_measure_rounding(model, domains) for model in (old, new))
        return replace(sums, lowest=sums.lowest - slack, highest=sums.highest + slack)
    return _bound_exponentials(old, new, sums, domains)


def _bound_sums(groups: Sequence[Group], domains: Domains, base: float) -> WorstCase:
    """Bound the sum of a base and of groups."""
    exact = _are_independent(list(domains))
    ends, points = {-1: -base, 1: base}, {-1: Point(), 1: Point()}
    for part in _divide(groups):
        for side in ends:
            bound, reached, point = _search(part, domains, side)
            exact &= bound - reached <= 2 * PRECISION * abs(bound)
            ends[side] += bound
            points[side] |= {name.removesuffix(LEVEL): value for name, value in point.items()}
    return WorstCase(-ends[-1], ends[1], points[-1], points[1], exact)


def _bound_exponentials(old: ModelVersion, new: ModelVersion, sums: WorstCase, domains: Domains) -> WorstCase:
    """Bound the change where predictions are exponentials of sums; an upper bound, not reached in general.

    With predictions p and q and the change d of their logarithms, q - p = p * (exp(d) - 1) = q * (1 - exp(-d)).
    """
    ranges = [_bound_predictions(model, domains) for model in (old, new)]
    (old_low, old_high), (new_low, new_high) = ranges
    highest, lowest = new_high - old_low, new_low - old_high
    if old.link == new.link:
        up, down = _exp(sums.highest), _exp(sums.lowest)
        highest = min(highest, max((up - 1) * (old_high if up >= 1 else old_low), (up - 1) * old_low))
        lowest = max(lowest, min((down - 1) * (old_high if down < 1 else old_low), (down - 1) * old_low))
    slack = 4 * ROUNDING * (abs(old_high) + abs(new_high) + abs(old_low) + abs(new_low))
    return replace(sums, lowest=lowest - slack, highest=highest + slack, exact=False)


def _bound_predictions(model: ModelVersion, domains: Domains) -> tuple[float, float]:
    sums = _bound_sums(collect_groups([], model.all_terms), domains, find_base(model))
    return (_exp(sums.lowest), _exp(sums.highest)) if model.link == "log" else (sums.lowest, sums.highest)


def _exp(value: float) -> float:
    return math.exp(min(value, MOST_EXPONENT))


def find_base(model: ModelVersion) -> float:
    """Find what a prediction is before the contributions of the terms are added."""
    return model.base if model.terms or model.centers else model.bias


def _are_independent(names: Sequence[str]) -> bool:
    """Whether no column is read in two ways, such as two parts of one time, of which not all pairs can be."""
    parts = [_parse_part(name) for name in names]
    times = [part.column.name for part in parts if part]
    plain = [name.removesuffix(LEVEL) for name, part in zip(names, parts, strict=True) if not part]
    return len(set(times)) == len(times) and len(set(plain)) == len(plain)


def show_column(name: str) -> str:
    """Write a column or a part of a time as people write it: weekday(sold_on)."""
    part = _parse_part(name)
    return f"{part.part}({part.column.name})" if part else name.removesuffix(LEVEL)


def _parse_part(name: str) -> TimePart | None:
    """Parse the canonical text of a part of a time; None for a column."""
    text = name.removesuffix(LEVEL)
    node = parse(text) if text.endswith("`)") and "(`" in text else None
    return node if isinstance(node, TimePart) else None


def _find_domain(name: str, groups: Sequence[Group], models: Sequence[ModelVersion]) -> list[Value]:
    """Find what a column can hold: an interval, or levels; and nothing, where that is filled.

    Raises:
        UnboundedError: neither bounds nor a range are known.
    """
    terms = [term for group in groups if name in group.find_columns() for _, term in group.terms]
    filled: list[Value] = [None] * any(term.missing is not None for term in terms)
    if name.endswith(LEVEL):
        return [*sorted({level for term in terms for level in (term.rows or term.levels)}), *filled]
    part = _parse_part(name)
    if part and part.part not in PARTS:
        raise UnboundedError(f"{show_column(name)} has no bounds")
    low, high = PARTS[part.part] if part else _find_range(name, models)
    return [Enclosure(low, max(low, high)), *filled]


def _find_range(name: str, models: Sequence[ModelVersion]) -> tuple[float, float]:
    """Find the stated bounds of a column of numbers, or else the range that a model has learned from."""
    ranges = [model.ranges[name] for model in models if name in model.ranges]
    stated = [model.bounds[name] for model in models if name in model.bounds]
    if not ranges:
        raise UnboundedError(f"{name} has no bounds and no range")
    least = max((low for low, _ in stated), default=-math.inf)
    most = min((high for _, high in stated), default=math.inf)
    low = least if math.isfinite(least) else min(low for low, _ in ranges)
    return low, most if math.isfinite(most) else max(high for _, high in ranges)


def _divide(groups: Sequence[Group]) -> list[list[Group]]:
    """Divide groups into those that share no column with each other."""
    parts: list[tuple[set[str], list[Group]]] = []
    for group in groups:
        columns, members, apart = set(group.find_columns()), [group], []
        for others, known in parts:
            if columns & others:
                columns, members = columns | others, known + members
            else:
                apart.append((others, known))
        parts = [*apart, (columns, members)]
    return [members for _, members in parts]


def _list_cases(part: Sequence[Group], domains: Domains) -> Iterator[Box]:
    columns = list(dict.fromkeys(name for group in part for name in group.find_columns()))
    for case in product(*(domains[name] for name in columns)):
        yield dict(zip(columns, case, strict=True))


def _search(part: Sequence[Group], domains: Domains, side: int) -> tuple[float, float, Point]:
    """Search for the greatest sum of groups, or of their negatives where the side is -1.

    Returns:
        A bound that no sum is above, the greatest sum that was found, and where.
    """
    columns = {name for group in part for name in group.find_columns()}
    if len(part) > 1 and math.prod(len(domains[name]) for name in columns) > MOST_CASES:
        found = [_search([group], domains, side)[0] for group in part]
        return sum(found), -math.inf, {}
    search = _Search(part, side)
    for box in _list_cases(part, domains):
        search.add(box)
    for _ in range(MOST_STEPS):
        if not search.heap or search.bound - search.best <= PRECISION * abs(search.bound) or search.bound > ENDLESS:
            break
        for half in _halve(heapq.heappop(search.heap)[2]):
            search.add(half)
    if search.best == -math.inf:
        return 0.0, 0.0, {}  # No row is predicted by both.
    return search.bound, search.best, search.point


class _Search:
    """Boxes that may hold a greater sum than the best that was found, by their bounds."""

    def __init__(self, part: Sequence[Group], side: int) -> None:
        self.part, self.side = part, side
        self.heap: list[tuple[float, int, Box]] = []
        self.best, self.point, self._numbers = -math.inf, Point(), count()

    @property
    def bound(self) -> float:
        """What no sum is above."""
        return max(-self.heap[0][0], self.best) if self.heap else self.best

    def add(self, box: Box) -> None:
        """Add a box unless it can hold nothing better, and look at its corners, or its middle if it has many."""
        bound = bound_change(self.part, box, self.side)
        if bound is None or bound <= self.best:
            return
        heapq.heappush(self.heap, (-bound, next(self._numbers), box))
        intervals = {name: value for name, value in box.items() if isinstance(value, Enclosure)}
        corners = product(*(value[:2] for value in intervals.values())) if len(intervals) <= MOST_SIDES else ()
        middle = tuple((value.low + value.high) / 2 for value in intervals.values())
        for values in (*corners, middle):
            at: Point = dict(zip(intervals, values, strict=True))
            found = bound_change(self.part, box | {name: Enclosure(x, x) for name, x in at.items()}, self.side)  # type: ignore[arg-type]
            if found is not None and found > self.best:
                rest: Point = {name: value for name, value in box.items() if not isinstance(value, Enclosure)}
                self.best, self.point = found, at | rest


def bound_change(part: Sequence[Group], box: Mapping[str, Value], side: int = 1) -> float | None:
    """Bound the sum of groups over a box from above, or that of their negatives; None where no row is predicted."""
    boxes = {name: value for name, value in box.items() if not isinstance(value, str)}
    levels = {name: value for name, value in box.items() if not isinstance(value, Enclosure)}
    total = 0.0
    for group in part:
        found = group.enclose(boxes, levels)
        if found is None:
            return None
        total += found[1] if side > 0 else -found[0]
    return total


def _halve(box: Box) -> list[Box]:
    """Halve a box along the side that is widest beside its numbers."""
    sides = {
        name: (value.high - value.low) / (1 + abs(value.low) + abs(value.high))
        for name, value in box.items()
        if isinstance(value, Enclosure)
    }
    widest = max(sides, key=lambda name: sides[name], default="")
    value = box.get(widest)
    if not isinstance(value, Enclosure) or value.low == value.high:
        return []
    middle = (value.low + value.high) / 2
    return [box | {widest: Enclosure(*ends)} for ends in ((value.low, middle), (middle, value.high))]


def _measure_rounding(model: ModelVersion, domains: Domains) -> float:
    """Measure how far rounding to float32 can move a prediction of a model."""
    total = abs(find_base(model))
    for group in collect_groups([], model.all_terms):
        ends = [bound_change([group], box, side) for box in _list_cases([group], domains) for side in (1, -1)]
        total += max((abs(end) for end in ends if end is not None), default=0.0)
    return total * ROUNDING * (1 if model.arithmetic == "float64" else len(model.features) + 2)
