"""Find each key's last prediction before its actual value was known, among all finished batches, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from upath import UPath

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.registry.verify import list_batches
from linear_neuron.tasks.scoring.manifest import OLDER, Manifest
from linear_neuron.tasks.steps import get_logger
from linear_neuron.tasks.storage.store import MANIFEST, Store
from linear_neuron.tasks.tables.cleaning import RawRows, read_key
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.tables.read import read_columns, read_file
from linear_neuron.tasks.tables.rejects import F32, read_number
from linear_neuron.tasks.tables.spec import KEY, KNOWN

NUMBERS = ("prediction", "prediction_low", "prediction_high")
JOINED_ROWS = 1 << 19  # predictions that are joined at a time; every join looks at all actual values
POSITION = "position"
LABEL = "\0label "  # what the names of columns of labels begin with


class Source(NamedTuple):
    """A file of predictions."""

    path: str
    folder: str  # of its batch
    version: str
    interval: int  # percent of the actual values that it should hold
    key: str  # column that names each row, if the batch has one
    predicted_at: datetime
    rows: int
    labels: tuple[str, ...] = ()  # columns by which its rows are cut, where the file has them

    @property
    def name(self) -> str:
        """The name of its batch."""
        return self.folder.rpartition("/")[2]


@dataclass
class Matches:
    """What was predicted for each actual value: arrays with one element each, in their order."""

    batch: NDArray[np.int32]  # index in `batches`; -1 where nothing was predicted in time
    numbers: NDArray[np.float32]  # shape (actual values, 3): the prediction, and the ends of its interval
    early: NDArray[np.bool_]  # whether the key was predicted after its value was known
    batches: list[Source] = field(default_factory=list)  # of each batch, its newest file
    doubled: int = 0  # keys that a batch predicts more than once
    labels: dict[str, NDArray[np.object_]] = field(default_factory=dict)  # column -> text of each row, or None
    example: str = ""  # a key of a prediction, to be shown where nothing matches

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether an actual value has a prediction."""
        return self.batch >= 0


def find_predictions(store: Store, outputs: list[str], now: datetime | None = None) -> list[Source]:
    """Find the prediction files of all finished batches, newest first; damaged manifests are passed over.

    Args:
        store: The predictions in it are always searched.
        outputs: More folders or URLs with batches.
        now: A file that is there was predicted by then, whatever a wrong clock wrote into its manifest.
    """
    now = now or datetime.now(UTC)
    folders = [store.root / "predictions" / name for name in store.names("predictions")]
    folders += [folder for output in outputs for folder in list_batches(output)]
    sources = [source for folder in dict.fromkeys(folders) for source in _list_sources(folder, now)]
    return sorted(sources, key=lambda source: source.predicted_at, reverse=True)


def _list_sources(folder: UPath, now: datetime) -> Iterator[Source]:
    try:
        if (data := Store(str(folder)).read(folder / MANIFEST)) is None:
            return
        manifest = Manifest.model_validate_json(data)
    except (ValidationError, DamagedError):
        get_logger().warning("%s is damaged, so its predictions are passed over", folder / MANIFEST)
        return
    settings = manifest.settings
    for result in [*manifest.inputs, *manifest.replaced]:
        at = result.predicted_at or manifest.created_at
        at = min(at if at.tzinfo else at.replace(tzinfo=UTC), now)
        for name in result.predictions:  # more than one where they are in parts
            yield Source(
                str(folder / name),
                str(folder),
                manifest.version,
                settings.interval,
                settings.key,
                at,
                result.predicted // len(result.predictions),
            )


def match_predictions(actual_values: pl.DataFrame, sources: list[Source], key: str) -> Matches:
    """Look every actual value up in the predictions, from the newest to the oldest, until all are found.

    Args:
        actual_values: KEY, distinct; ACTUAL; and KNOWN in microseconds since 1970.
        sources: What `find_predictions` found.
        key: Column of the key, in batches that do not say which it is.
    """
    count = len(actual_values)
    numbers = np.full((count, len(NUMBERS)), np.nan, np.float32)
    matches = Matches(np.full(count, -1, np.int32), numbers, early=np.zeros(count, bool))
    positions = actual_values.select(KEY, KNOWN).with_row_index(POSITION)
    with progress("Looking up predictions", sum(source.rows for source in sources)) as advance:
        for source in sources:
            if matches.found.all():
                break
            for table in _read_predictions(source, key, matches):
                _match(table, positions, source, matches)
                advance(len(table))
    return matches


def _read_predictions(source: Source, key: str, matches: Matches) -> Iterator[pl.DataFrame]:
    """Yield key and numbers of a prediction file, many rows at a time; nothing where it has no such key."""
    name, waiting, rows = source.key or key, [], 0
    try:
        known = read_columns(source.path, "") if source.labels else []
        labels = [label for label in dict.fromkeys(source.labels) if known.count(label) == 1]
        columns = list(dict.fromkeys([name, *NUMBERS, *labels]))
        for raw in read_file(InputFile(path=source.path, name=""), columns, lambda _: None, {}):
            waiting.append(_take_numbers(raw, name, labels))
            rows += len(waiting[-1])
            if rows >= JOINED_ROWS:
                yield pl.concat(waiting)
                waiting, rows = [], 0
    except UserError as error:
        get_logger().info("Passed over: %s", error)
        return
    if waiting:
        yield pl.concat(waiting)
        matches.example = matches.example or str(waiting[0][KEY][0] if len(waiting[0]) else "")


def _take_numbers(raw: RawRows, key: str, labels: list[str]) -> pl.DataFrame:
    numbers = [read_number(name, strip=False).cast(F32).alias(name) for name in NUMBERS]
    texts = [pl.col(name).cast(pl.String, strict=False).alias(f"{LABEL}{name}") for name in labels]
    return raw.rows.select(read_key(key, raw.rows.schema[key]).alias(KEY), *numbers, *texts)


def _match(table: pl.DataFrame, positions: pl.DataFrame, source: Source, matches: Matches) -> None:
    """Take over the predictions for actual values that have none yet."""
    found = table.join(positions, on=KEY, how="inner", maintain_order="left")
    at = int(source.predicted_at.timestamp() * 1_000_000)
    late = found[KNOWN].to_numpy() < at
    rows = found[POSITION].to_numpy().astype(np.int64)
    matches.early[rows[late]] = True
    found, rows = found.filter(pl.Series(~late)), rows[~late]
    if not len(rows):
        return
    batch = _number(source, matches)
    distinct, first, times = np.unique(rows, return_index=True, return_counts=True)
    # An earlier prediction of an input that was replaced later is no second one.
    again = (matches.batch[distinct] == batch) & (f"/{OLDER}/" not in source.path)
    matches.doubled += int(np.count_nonzero((times > 1) | again))
    new = matches.batch[distinct] < 0
    matches.batch[distinct[new]] = batch
    matches.numbers[distinct[new]] = found.select(NUMBERS).to_numpy()[first[new]]
    for name in (name for name in found.columns if name.startswith(LABEL)):
        texts = matches.labels.setdefault(name.removeprefix(LABEL), np.full(len(positions), None, object))
        texts[distinct[new]] = found[name].to_numpy()[first[new]]


def _number(source: Source, matches: Matches) -> int:
    """Number a batch among those that matched."""
    for number, batch in enumerate(matches.batches):
        if batch.folder == source.folder:
            return number
    matches.batches.append(source)
    return len(matches.batches) - 1
