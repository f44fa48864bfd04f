"""What would help: curves, interactions and the logarithm of the target that lower the error on validation rows.

Changes are tried on the train rows alone, by the error of each row of a fit without it, and the best ones are taken one
after the other. What they gain is then measured on the validation rows, where it must be more than chance with all that
is measured there taken into account. Test rows are never looked at.

Columns that are tried are reduced to what the fitted ones do not explain. Least squares of the errors on these is the
fit with both, so a change costs no new fit.

Source: Frisch and Waugh, "Partial Time Regressions as Compared with Individual Trends", Econometrica 1 (1933), and
Lovell, "Seasonal Adjustment of Economic Time Series", Journal of the American Statistical Association 58 (1963).
"""

import itertools
import keyword
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from linear_neuron.tasks.dataset.rows import Floats, Split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.design import learn_design
from linear_neuron.tasks.features.entries import Entries, parse_entries
from linear_neuron.tasks.features.expressions import Column, Node, write
from linear_neuron.tasks.model import Link
from linear_neuron.tasks.training.diagnostics import Sample, find_numbers, leave
from linear_neuron.tasks.training.inference import FULL
from linear_neuron.tasks.training.past import find_chances

GAIN = 0.01  # share of the error that a change must take away, on train and on validation rows
LEVEL = 0.05  # chance of a suggestion where nothing helps
MOST_CHANGES = 3
CURVED = 12  # numeric terms whose curves are tried, three each
SLOPED, GROUPS = 5, 4  # numeric terms and categories of which the interactions are tried
MOST_LEVELS = 12  # of such a category
MOST_TRIED = 3 * CURVED + SLOPED * GROUPS + 1
ROOM = 4 * CURVED * 2 + SLOPED * GROUPS * 6  # columns that all of them have, about
LEAST_VALUES = 5  # different ones, of a term whose curves are tried
BLOCKS, BLOCK_ROWS = 40, 5  # neighboring validation rows are one case: at most this many, of at least this many rows
LEAST_BLOCKS = 10
OWN = 1e-9  # share of a column's squares that the others must leave


@dataclass(frozen=True)
class Change:
    """A term that may be added, or the logarithm of the target."""

    text: str  # as a flag has it
    term: str = ""  # numeric term that it is about; empty for the target
    replaces: bool = False  # whether that term is a part of it
    is_slopes: bool = False  # whether it is an interaction with a category


@dataclass(frozen=True)
class Step:
    """A suggestion: what changes, and what it gains on the validation rows."""

    changes: tuple[Change, ...]
    rmse: float  # with this and the steps before it
    alone: float  # with this step alone
    chance: float  # of a gain like this one where there is none, all that is measured taken into account


@dataclass(frozen=True)
class Curve:
    """A curve of a term that lowers the error of rows that a fit has not seen, within the train rows."""

    change: Change
    gain: float  # share of the error


@dataclass(frozen=True)
class Suggestions:
    """What was tried, and what helps."""

    tried: int = 0
    rows: int = 0  # validation rows
    rmse: float = 0.0  # on the validation rows, as it is
    log: float | None = None  # the same with the logarithm of the target alone
    steps: tuple[Step, ...] = ()
    curves: tuple[Curve, ...] = ()  # the best of each term, those that gain most first
    obstacle: str = ""  # why nothing was tried

    @property
    def changes(self) -> list[Change]:
        """All that is suggested."""
        return [change for step in self.steps for change in step.changes]


@dataclass(frozen=True)
class _Tried:
    """The columns of changes, less what the fit explains of them."""

    changes: list[Change]
    ranges: list[slice]
    inside: Floats  # shape (train rows, columns), times the roots
    outside: Floats  # shape (validation rows, columns)

    def leave(self, inside: Floats, outside: Floats) -> "_Tried":
        """Return the columns less what orthonormal directions explain of them besides."""
        found = inside.T @ self.inside
        return replace(self, inside=self.inside - inside @ found, outside=self.outside - outside @ found)


@dataclass(frozen=True)
class _State:
    """What a fit of the train rows leaves."""

    sample: Sample
    link: Link
    errors: Floats  # shape (train rows,): times the roots, in units of what is learned
    outside: Floats  # shape (validation rows,): the same errors, as they are
    leverage: Floats  # shape (train rows,)
    changes: tuple[Change, ...] = ()

    def add(self, tried: _Tried, index: int) -> tuple["_State", Floats, Floats]:
        """Fit a change besides; return also its orthonormal directions in train and validation rows."""
        columns = tried.ranges[index]
        inside, outside = tried.inside[:, columns], tried.outside[:, columns]
        values, vectors = np.linalg.eigh(inside.T @ inside)
        kept = values > OWN
        turn = vectors[:, kept] / np.sqrt(values[kept])
        inside, outside = inside @ turn, outside @ turn
        found = inside.T @ self.errors
        state = replace(
            self,
            errors=self.errors - inside @ found,
            outside=self.outside - outside @ found,
            leverage=self.leverage + np.sum(inside**2, axis=1),
            changes=(*self.changes, tried.changes[index]),
        )
        return state, inside, outside

    def measure_unseen(self) -> float:
        """Compute the error of each train row by a fit without it, root mean squared, in units of the target."""
        sample = self.sample
        usable = self.leverage < 1 - (1 - FULL) ** 0.5  # Without such a row its column has no weight.
        left = self.errors[usable] / (1 - self.leverage[usable]) / sample.roots[usable]
        squares = _respond(self.link, sample.train.y[usable], left) ** 2
        weights = sample.roots[usable] ** 2
        return float(np.sqrt(weights @ squares / weights.sum()))

    @property
    def rmse(self) -> float:
        """The root mean squared error of the validation rows, in units of the target."""
        return float(np.sqrt(np.mean(self.find_squares())))

    def find_squares(self) -> Floats:
        """Compute the squared errors of the validation rows, in squared units of the target."""
        return _respond(self.link, self.sample.validation.y, self.outside) ** 2


def _respond(link: Link, actual: Floats, errors: Floats) -> Floats:
    """Return errors in units of the target, of errors in units of what is learned."""
    with np.errstate(over="ignore"):
        return actual * -np.expm1(-errors) if link == "log" else errors


def _start(sample: Sample, link: Link) -> _State:
    """Fit the columns of the sample alone."""
    learn = np.log if link == "log" else np.asarray
    errors, outside = leave(sample, learn(sample.train.y) * sample.roots, learn(sample.validation.y))
    return _State(sample, link, errors, outside, np.sum(sample.basis**2, axis=1))


def suggest(sample: Sample) -> Suggestions:
    """Find what would lower the error on validation rows: at most three changes."""
    count = min(BLOCKS, len(sample.validation) // BLOCK_ROWS)
    if count < LEAST_BLOCKS:
        return Suggestions(
            obstacle=f"gains are measured on validation rows, of which there are {len(sample.validation)} and at least "
            f"{LEAST_BLOCKS * BLOCK_ROWS} are needed"
        )
    split = sample.split
    base = _start(sample, split.link)
    tried = encode_changes(sample, list_changes(sample, base.errors))
    before = base.measure_unseen()
    singles = [base.add(tried, index)[0].measure_unseen() for index in range(len(tried.changes))]
    starts = [base]
    if split.link == "identity" and all(float(rows.y.min(initial=np.inf)) > 0 for rows in split.rows.values()):
        target = Change(f"log({spell(Column(split.target.name))})")
        starts.append(replace(_start(sample, "log"), changes=(target,)))
    paths = [_search(start, before, tried) for start in starts]
    return Suggestions(
        tried=len(tried.changes) + len(starts) - 1,
        rows=len(sample.validation),
        rmse=base.rmse,
        log=starts[1].rmse if starts[1:] else None,
        steps=_confirm(base, paths, tried, count),
        curves=_list_curves(tried.changes, singles, before),
    )


def _list_curves(changes: Sequence[Change], singles: Sequence[float], before: float) -> tuple[Curve, ...]:
    best: dict[str, Curve] = {}
    for change, error in zip(changes, singles, strict=True):
        gain = 1 - error / before if before else 0.0
        if not change.is_slopes and gain > max(GAIN, best[change.term].gain if change.term in best else 0.0):
            best[change.term] = Curve(change, gain)
    return tuple(sorted(best.values(), key=lambda curve: -curve.gain))


def spell(node: Node) -> str:
    """Write an expression for a flag; a column whose name is a word needs no backticks."""
    if (
        isinstance(node, Column)
        and node.name.isidentifier()
        and node.name.isascii()
        and not keyword.iskeyword(node.name)
    ):
        return node.name
    return write(node)


def list_changes(sample: Sample, errors: Floats) -> list[Change]:
    """List the terms that are tried.

    They are curves of the numeric terms whose square the errors go with most, and interactions of the numeric terms and
    the categories that move the predictions most.
    """
    nodes = _find_nodes(sample.split)
    curves = [_list_curves_of(name, nodes[name], sample.split) for name in _find_bent(sample, errors)]
    return [*itertools.chain.from_iterable(curves), *_list_slopes(sample, nodes)]


def _find_bent(sample: Sample, errors: Floats) -> list[str]:
    """Find the numeric terms whose square goes with the errors most."""
    values = {name: sample.train.x[:, column] for name, column in find_numbers(sample.split).items()}
    names = [name for name in values if len(np.unique(values[name])) >= LEAST_VALUES]
    if len(names) <= CURVED:
        return names
    squares = np.column_stack([(values[name] - values[name].mean()) ** 2 for name in names])
    squares = (squares - squares.mean(axis=0)) * sample.roots[:, None]
    squares -= sample.basis @ (sample.basis.T @ squares)
    sizes = np.linalg.norm(squares, axis=0)
    scores = np.abs(errors @ squares) / np.where(sizes > 0, sizes, np.inf)
    return [names[index] for index in np.argsort(-scores, kind="stable")[:CURVED]]


def _list_slopes(sample: Sample, nodes: dict[str, Node]) -> list[Change]:
    """List interactions of the numeric terms and the categories that move the predictions most."""
    terms = sample.split.terms
    if terms is None:
        return []
    effects = _measure_effects(sample)
    numbers = sorted(find_numbers(sample.split), key=lambda name: -effects[name])[:SLOPED]
    short = [one for one in terms.encodings if one.value is None and len(one.own) <= MOST_LEVELS]
    labels = [one.label for one in sorted(short, key=lambda one: -effects[one.text])[:GROUPS] if one.label]
    return [
        Change(f"{_write_operand(name, nodes[name])}:{spell(label)}", name, is_slopes=True)
        for name in numbers
        for label in labels
    ]


def _find_nodes(split: Split) -> dict[str, Node]:
    """Find the expression of each numeric term."""
    if split.terms is None:
        return {name: Column(name) for name in split.names}
    return {one.text: one.value for one in split.terms.encodings if one.value is not None}


def _write_operand(text: str, node: Node) -> str:
    """Write a numeric term as a part of another."""
    return spell(node) if isinstance(node, Column) else text


def _list_curves_of(name: str, node: Node, split: Split) -> list[Change]:
    """List the curves of a numeric term; the logarithm only of a column that is above 0 in every row."""
    text = _write_operand(name, node)
    changes = [
        Change(f"{text} ** 2" if isinstance(node, Column) else f"({text}) ** 2", name),
        Change(f"spline({text}, 4)", name, replaces=True),
    ]
    raw = split.raw.numbers if split.raw else {}
    if isinstance(node, Column) and node.name in raw and float(np.nanmin(raw[node.name])) > 0:
        changes.insert(0, Change(f"log({text})", name))
    return changes


def _measure_effects(sample: Sample) -> dict[str, float]:
    """Measure how far each term moves the predictions of the train rows, as a standard deviation."""
    split, terms = sample.split, sample.split.terms
    if terms is None:
        return {}
    weights = sample.spread @ (sample.basis[:, 1:].T @ (split.learn(sample.train).y * sample.roots))
    return {
        text: float((sample.train.x[:, columns] @ weights[columns]).std())
        for text, columns in zip(terms.texts, terms.ranges, strict=True)
    }


def encode_changes(sample: Sample, changes: Sequence[Change]) -> _Tried:
    """Encode the columns of terms in the rows of the sample, and leave out terms that add nothing to the fit."""
    count = len(sample.train)
    kept: list[Change] = []
    blocks: list[Floats] = []
    for change in changes:
        columns = _encode(sample, change)
        if columns is None:
            continue
        columns -= columns[:count].mean(axis=0)
        sizes = np.linalg.norm(columns[:count] * sample.roots[:, None], axis=0)
        columns /= np.where(sizes > 0, sizes, np.inf)
        inside, outside = leave(sample, columns[:count] * sample.roots[:, None], columns[count:])
        if np.linalg.eigvalsh(inside.T @ inside).max(initial=0) > OWN:
            kept.append(change)
            blocks.append(np.vstack([inside, outside]))
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)]).tolist()
    ranges = [slice(start, end) for start, end in itertools.pairwise(ends)]
    every = np.hstack(blocks) if blocks else np.zeros((count + len(sample.validation), 0))
    return _Tried(kept, ranges, every[:count], every[count:])


def _encode(sample: Sample, change: Change) -> Floats | None:
    """Encode a term in the train rows and then the validation rows; None where it can't be."""
    split, raw = sample.split, sample.split.raw
    if raw is None:
        return None
    number = np.concatenate([sample.train.number, sample.validation.number])
    least = split.entries.min_level_rows if split.entries else 1
    missing = split.entries.missing if split.entries else "reject"
    try:
        parsed = parse_entries([change.text], [], list(raw.kinds), max(2, round(least * sample.share)), missing)
        kinds = {name: raw.kinds[name] for name in parsed.kinds}
        frame = raw.read(number, list(kinds))
        columns = learn_design(Entries(parsed.entries, parsed.min_level_rows, missing), kinds, iter([frame])).encode(
            frame
        )
    except (UserError, KeyError):
        return None
    return columns if np.isfinite(columns).all() else None


def _search(state: _State, before: float, tried: _Tried) -> list[_State]:
    """Add the best change again and again, as long as it lowers the error on train rows that a fit has not seen.

    Args:
        state: of the fit with nothing added; or with the logarithm of the target, which may help with a curve alone.
        before: the error of the fit as it is, with its own link.
        tried: what may be added; of each term one curve at most.

    Returns:
        The states, each better than the one before.
    """
    errors = [state.measure_unseen()]
    found, best = ([state], errors[0]) if state.changes and errors[0] < before * (1 - GAIN) else ([], before)
    while len(state.changes) < MOST_CHANGES:
        free = _list_free(tried.changes, state.changes)
        errors = [state.add(tried, index)[0].measure_unseen() for index in free]
        if not free or not min(errors) < best * (1 - GAIN):
            break
        best = min(errors)
        state, inside, outside = state.add(tried, free[errors.index(best)])
        found.append(state)
        tried = tried.leave(inside, outside)
    return found


def _list_free(changes: Sequence[Change], made: Sequence[Change]) -> list[int]:
    """List the changes that may be added to those that are made: of each term one curve at most."""
    curved = {change.term for change in made if not change.is_slopes}
    return [
        index
        for index, change in enumerate(changes)
        if change not in made and (change.is_slopes or change.term not in curved)
    ]


def _confirm(base: _State, paths: Sequence[Sequence[_State]], tried: _Tried, count: int) -> tuple[Step, ...]:
    """Measure on validation rows what the states of each path gain; keep the path that is best on train rows.

    A state that is not better than the last one by more than chance becomes a step together with the next one.
    """
    walks = [[base, *path] for path in paths if path]
    if not walks:
        return ()
    chances = _find_chances(walks, count)
    kept = min((_walk(walk, chances) for walk in walks), key=lambda states: states[-1].measure_unseen())
    steps = []
    for old, new in itertools.pairwise(kept):
        changes = new.changes[len(old.changes) :]
        alone = _fit_alone(base, changes, tried)
        steps.append(Step(changes, new.rmse, alone.rmse, chances[id(old), id(new)]))
    return tuple(steps)


def _find_chances(walks: Sequence[Sequence[_State]], count: int) -> dict[tuple[int, int], float]:
    """Find for each two states of a path the chance of the later one's gain on validation rows where there is none.

    It is that of sign flips of blocks of neighboring rows, with the max statistic over all that may be compared.
    """
    pairs = [pair for walk in walks for pair in itertools.combinations(walk, 2)]
    gains = [_cut(old.find_squares() - new.find_squares(), count) for old, new in pairs]
    found = find_chances(np.nan_to_num(np.column_stack(gains))).tolist()
    return {(id(old), id(new)): chance for (old, new), chance in zip(pairs, found, strict=True)}


def _walk(states: Sequence[_State], chances: dict[tuple[int, int], float]) -> list[_State]:
    """Keep of a path the states that are better on validation rows than the last one that is kept."""
    kept = [states[0]]
    for state in states[1:]:
        if state.rmse < kept[-1].rmse * (1 - GAIN) and chances[id(kept[-1]), id(state)] <= LEVEL:
            kept.append(state)
    return kept


def _cut(values: Floats, count: int) -> Floats:
    """Sum values of neighboring rows, shape (count,)."""
    return np.array([part.sum() for part in np.array_split(values, count)])


def _fit_alone(base: _State, changes: Sequence[Change], tried: _Tried) -> _State:
    """Fit some changes without the steps before them."""
    terms = [change for change in changes if change.term]
    state = base if len(terms) == len(changes) else _start(base.sample, "log")
    for change in terms:
        state, inside, outside = state.add(tried, tried.changes.index(change))
        tried = tried.leave(inside, outside)
    return state
