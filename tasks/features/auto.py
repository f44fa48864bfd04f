"""Choose terms for a table of which nobody named any: every usable column, as what it is."""

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.entries import parse_target
from linear_neuron.tasks.features.expressions import Column, write
from linear_neuron.tasks.model import AutoTerms, ColumnChoice, Kind
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.parameters.retrain_parameters import AUTO
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.tables.columns import require_columns
from linear_neuron.tasks.tables.scan import PARTS, ColumnFacts, TableScan, scan_table
from linear_neuron.tasks.tables.spec import TableSpec
from linear_neuron.tasks.text import list_first, one_line, plural

MOST_LEVELS = 2_000  # of all categories together
LEVEL_ROWS = 10  # rows of the table for each level of all categories, as a rule of thumb asks for each weight
FREQUENT = 0.5  # share of the rows whose levels are not rare; a column with less is free text
DAYS = {"month": 730, "weekday": 56, "hour": 2}  # of history, from which a part of a time can be learned
ID = re.compile(r"(?:^|[\W_])(?:id|key|uuid|number|no|nr)$|[a-z0-9](?:Id|ID|Key|Nr|No)$")  # how names of ids end
AHEAD = timedelta(days=1)  # that a time without a zone may be ahead of UTC, since it may be a local one
SHOWN = 40  # characters of a value that a reason shows
LISTED = 10  # columns that a refusal names


def choose_terms(dataset: Dataset) -> tuple[Dataset, AutoTerms | None]:
    """Choose terms where the dataset asks for it: the dataset with the terms named, and what became of each column.

    Raises:
        UserError: the table can't be read, or has no column to learn from.
    """
    if AUTO not in dataset.features:
        return dataset, None
    scan = scan_table(describe_source(dataset), lambda columns: find_target(dataset.target, columns))
    auto = choose_by_facts(scan, dataset)
    if not auto.features and not auto.categories:
        reasons = list_first([f"{choice.column}: {choice.reason}" for choice in auto.columns], LISTED, "; ")
        raise UserError(
            f"{dataset.source} has no column to learn {dataset.target} from ({reasons}). "
            "Name columns to use anyway by --dataset.features, or add columns to the table."
        )
    named = {"features": auto.features, "categories": auto.categories, "missing": auto.missing}
    return dataset.model_copy(update=named), auto


def describe_source(dataset: Dataset) -> TableSpec:
    """Describe the table, and what a row must have to be learned from, whatever that is."""
    return TableSpec(
        source=dataset.source,
        numbers=[],
        connection=dataset.connection,
        key=dataset.key,
        time=dataset.time,
        known_at=dataset.known_at,
        bounds=dataset.limits,
        decimal=dataset.decimal,
        latest=None if dataset.allow_future else int((datetime.now(UTC) + AHEAD).timestamp() * 1_000_000),
        as_of=dataset.as_of,
    )


def find_target(target: str, columns: Sequence[str]) -> list[str]:
    """Find the column of the target, or of its logarithm.

    Raises:
        UserError: the table has no such column.
    """
    column = parse_target(target, columns).column
    try:
        require_columns(list(columns), [column])
    except UserError as error:
        raise UserError(f"{error}; name the column to predict by --dataset.target") from None
    return [column]


def choose_by_facts(scan: TableScan, dataset: Dataset) -> AutoTerms:
    """Choose terms by what is known of each column. The same facts give the same terms, in the table's order."""
    roles = _find_roles(scan, dataset)
    choices = [_choose_column(facts, scan, dataset, roles.get(facts.name, "")) for facts in scan.columns]
    choices = _limit_levels(choices, scan, dataset.min_level_rows)
    chosen = {
        kind: [entry for choice in choices if (choice.kind == "number") == numbers for entry in choice.entries]
        for kind, numbers in (("features", True), ("categories", False))
    }
    at = dataset.features.index(AUTO)
    features = [*dataset.features[:at], *chosen["features"], *dataset.features[at + 1 :]]
    categories = [*dataset.categories, *chosen["categories"]]
    pairs = zip(scan.columns, choices, strict=True)
    empty = [facts.empty + facts.missing_beside for facts, choice in pairs if choice.entries]
    filled = dataset.missing == "fill" or any(empty)
    return AutoTerms(features=features, categories=categories, missing="fill" if filled else "reject", columns=choices)


def _find_roles(scan: TableScan, dataset: Dataset) -> dict[str, str]:
    """Find what is no term: column -> its role in the dataset."""
    columns = [facts.name for facts in scan.columns]
    roles = dict.fromkeys(find_target(dataset.target, columns), "the target")
    roles |= {dataset.key: "the key", dataset.known_at: "when the row became known"}
    roles |= dict.fromkeys(dataset.without, "named by --dataset.without")
    named = {*dataset.features, *dataset.categories}
    return roles | {name: "named" for name in columns if _spell(name) in named}


def _choose_column(facts: ColumnFacts, scan: TableScan, dataset: Dataset, role: str) -> ColumnChoice:
    """Choose what becomes of a column."""
    if role:
        return ColumnChoice(column=facts.name, kind="role", reason=role)
    if facts.cells < scan.rows:
        return _leave_out(facts, "not in every file")
    if facts.unusable or not facts.present:
        return _leave_out(facts, f"holds {facts.unusable}" if facts.unusable else "empty")
    if facts.name == dataset.time or facts.holds == "times":
        return _choose_parts(facts, dataset)
    if facts.missing and facts.present < dataset.min_level_rows:
        return _leave_out(facts, f"only {plural(facts.present, 'value')} in {plural(facts.cells, 'row')}")
    return _choose_number(facts, scan) if facts.holds == "numbers" else _choose_category(facts, dataset)


def _leave_out(facts: ColumnFacts, reason: str) -> ColumnChoice:
    return ColumnChoice(column=facts.name, kind="left out", reason=reason)


def _take(facts: ColumnFacts, kind: Kind, entries: list[str], reason: str = "") -> ColumnChoice:
    missing = f"{plural(facts.empty, 'missing cell')} filled" if facts.empty else ""
    if facts.missing_beside and not facts.empty:
        missing = f"{plural(facts.missing_beside, 'missing cell')} in rows without a target"
    said = ", ".join(filter(None, (reason, missing)))
    return ColumnChoice(column=facts.name, kind=kind, entries=entries, reason=said)


def _choose_number(facts: ColumnFacts, scan: TableScan) -> ColumnChoice:
    """Take a number, unless it is always the same or only names its row."""
    if facts.least == facts.greatest:
        other = " beside missing cells" if facts.empty else ""
        return _leave_out(facts, f"one value, {facts.least:.15g}{other}")
    if facts.whole and not facts.repeats and not facts.empty:
        if facts.least in (0, 1) and facts.greatest - facts.least < scan.height:
            return _leave_out(facts, f"numbers the rows from {facts.least:.0f}")
        if ID.search(facts.name):
            return _leave_out(facts, "an id: another whole number in every row")
    return _take(facts, "number", [_spell(facts.name)])


def _spell(name: str) -> str:
    """Write a column as an entry: its name as it is, unless that has a meaning of its own."""
    return write(Column(name)) if name == AUTO else name


def _choose_category(facts: ColumnFacts, dataset: Dataset) -> ColumnChoice:
    """Take labels, unless there are too many or too few of them to learn from."""
    levels, least = facts.levels, dataset.min_level_rows
    if facts.numbers and facts.example and facts.numbers > facts.present * FREQUENT:
        others = facts.present - facts.numbers
        return _leave_out(
            facts,
            f"numbers, but {plural(others, 'cell')} such as {facts.example[:SHOWN]!r}; empty them to use it, or name "
            "it as a category",
        )
    if levels is None or len(levels) > facts.present * FREQUENT:
        return _leave_out(facts, f"free text or an id: another in nearly every row, such as {_show(facts)}")
    frequent = [count for count in levels.values() if count >= least]
    if sum(frequent) < facts.present * FREQUENT:
        return _leave_out(facts, f"{plural(len(levels), 'level')}, most of them in fewer than {least} rows")
    if len(levels) == 1 and not facts.missing:
        return _leave_out(facts, f"one value, {_show(facts)}")
    rare = len(levels) - len(frequent)
    counted = plural(len(levels), "level") + (f", {rare:,} of them rare" if rare else "")
    return _take(facts, "category", [_spell(facts.name)], counted)


def _show(facts: ColumnFacts) -> str:
    return repr(one_line(facts.example or min(facts.levels or [""]))[:SHOWN])


def _choose_parts(facts: ColumnFacts, dataset: Dataset) -> ColumnChoice:
    """Take the parts of a time of which there are several in the rows, and history enough."""
    parts = [
        part
        for part in PARTS
        if facts.days >= DAYS[part] and sum(count >= dataset.min_level_rows for count in facts.parts[part].values()) > 1
    ]
    if not parts:
        role = "when the row happened; " if facts.name == dataset.time else ""
        return _leave_out(facts, f"{role}{plural(facts.days, 'day')} are too few for its months or weekdays")
    entries = [f"{part}({facts.name if facts.name.isidentifier() else write(Column(facts.name))})" for part in parts]
    return _take(facts, "time", entries, " and ".join(parts))


def _limit_levels(choices: list[ColumnChoice], scan: TableScan, least: int) -> list[ColumnChoice]:
    """Leave out the categories with the most levels, of equal ones the last, until all together are few enough."""
    limited, most = list(choices), min(MOST_LEVELS, max(2, scan.rows // LEVEL_ROWS))
    counts = {index: _count_levels(scan.columns[index], least) for index, choice in enumerate(choices)}
    used = [index for index, choice in enumerate(choices) if choice.kind == "category"]
    total = sum(counts[index] for index in used)
    for index in sorted(used, key=lambda index: (-counts[index], -index)):
        if total <= most:
            break
        total -= counts[index]
        reason = f"{plural(counts[index], 'level')}, with which all categories would have more than {most:,}"
        limited[index] = _leave_out(scan.columns[index], reason)
    return limited


def _count_levels(facts: ColumnFacts, least: int) -> int:
    """Count the columns that a category becomes: its levels, one for the rare ones, one for missing cells."""
    levels = (facts.levels or {}).values()
    frequent = sum(count >= least for count in levels)
    return frequent + (frequent < len(levels)) + bool(facts.missing)


def drop_terms(auto: AutoTerms, left_out: Mapping[str, str]) -> AutoTerms:
    """Leave out the terms that turned out to add nothing, once the rows were read: term -> why."""
    kept = {
        name: [entry for entry in getattr(auto, name) if entry not in left_out] for name in ("features", "categories")
    }
    columns = [_drop(choice, left_out) for choice in auto.columns]
    return auto.model_copy(update={**kept, "columns": columns})


def _drop(choice: ColumnChoice, left_out: Mapping[str, str]) -> ColumnChoice:
    entries = [entry for entry in choice.entries if entry not in left_out]
    if entries or not choice.entries:
        return choice.model_copy(update={"entries": entries})
    return ColumnChoice(column=choice.column, kind="left out", reason=left_out[choice.entries[0]])


def write_flags(auto: AutoTerms) -> str:
    """Write the flags that name the same terms."""
    flags: dict[str, list[str]] = {
        "--dataset.features": auto.features,
        "--dataset.categories": auto.categories,
        "--dataset.missing": [auto.missing] if auto.missing == "fill" else [],
    }
    return " ".join(f"{flag} {shlex.join(values)}" for flag, values in flags.items() if values)


@task("Choose the terms", retries=2, retry_delay_seconds=5, timeout_seconds=3600)
def choose(dataset: Dataset, day: date | None = None) -> tuple[Dataset, AutoTerms | None]:
    """Choose terms where nobody named any, by the rows known before a day or by all, and log the flags that name them.

    Raises:
        UserError: as `choose_terms`.
    """
    known = {"as_of": day.isoformat()} if day and (dataset.time or dataset.known_at) else {}
    chosen, auto = choose_terms(dataset.model_copy(update=known))
    chosen = chosen.model_copy(update={"as_of": dataset.as_of})
    if auto:
        left_out = [choice for choice in auto.columns if choice.kind == "left out"]
        counts = plural(len(auto.columns) - len(left_out), "column"), len(left_out)
        get_logger().info("Terms chosen from %s; %d left out", *counts)
        get_logger().debug("The same terms by name: %s", write_flags(auto))
        get_logger().debug("Left out: %s", "; ".join(f"{choice.column} ({choice.reason})" for choice in left_out))
    return chosen, auto
