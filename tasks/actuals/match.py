"""Find each key's last prediction before its truth was known, among all finished batches, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from upath import UPath

from tasks.dataset.cleaning import KEY, KNOWN
from tasks.dataset.reading import Piece, read_file
from tasks.errors import UserError
from tasks.progress import progress
from tasks.registry.verify import list_batches
from tasks.scoring.manifest import Manifest, is_predictions
from tasks.steps import get_logger
from tasks.storage.store import MANIFEST, Store
from tasks.tables.contract import F32, TEXT, read_number
from tasks.tables.inputs import InputFile

NUMBERS = ("prediction", "prediction_low", "prediction_high")
JOINED_ROWS = 1 << 19  # predictions that are joined at a time; every join looks at all truths
PLACE = "place"


class Source(NamedTuple):
    """A file of predictions."""

    path: str
    folder: str  # of its batch
    version: str
    interval: int  # percent of the true values that it should hold
    key: str  # column that names each row, if the batch says so
    predicted_at: datetime
    rows: int

    @property
    def name(self) -> str:
        """The name of its batch."""
        return self.folder.rpartition("/")[2]


@dataclass
class Matches:
    """What was predicted for each truth: arrays of one value a truth, in their order."""

    batch: NDArray[np.int32]  # place in `batches`; -1 where nothing was predicted before the truth was known
    numbers: NDArray[np.float32]  # shape (truths, 3): the prediction, and the ends of its interval
    early: NDArray[np.bool_]  # whether the key was predicted after its truth was known
    batches: list[Source] = field(default_factory=list)  # of each batch, its newest file
    doubled: int = 0  # keys that a batch predicts more than once
    example: str = ""  # a key of a prediction, to be shown where nothing matches

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether a truth has a prediction."""
        return self.batch >= 0


def find_predictions(store: Store, outputs: list[str]) -> list[Source]:
    """Find the prediction files of all finished batches, newest first; damaged manifests are passed over."""
    folders = [store.root / "predictions" / name for name in store.names("predictions")]
    folders += [folder for output in outputs for folder in list_batches(output)]
    sources = [source for folder in dict.fromkeys(folders) for source in _list_sources(folder)]
    return sorted(sources, key=lambda source: source.predicted_at, reverse=True)


def _list_sources(folder: UPath) -> Iterator[Source]:
    data = Store(str(folder)).read(folder / MANIFEST)
    if data is None:
        return
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError:
        get_logger().warning("%s is damaged, so its predictions are passed over", folder / MANIFEST)
        return
    settings = manifest.settings
    for result in manifest.inputs:
        at = result.predicted_at or manifest.created_at
        names = [name for name in result.outputs if is_predictions(name) and not result.error]
        for name in names:  # more than one where they are in parts
            yield Source(
                str(folder / name),
                str(folder),
                manifest.version,
                settings.interval,
                settings.key,
                at,
                result.predicted // len(names),
            )


def match_predictions(truths: pl.DataFrame, sources: list[Source], key: str) -> Matches:
    """Look every truth up in the predictions, from the newest to the oldest, until all are found.

    Args:
        truths: KEY, distinct; ACTUAL; and KNOWN in microseconds since 1970.
        sources: What `find_predictions` found.
        key: Column of the key, in batches that do not say which it is.
    """
    count = len(truths)
    numbers = np.full((count, len(NUMBERS)), np.nan, np.float32)
    matches = Matches(np.full(count, -1, np.int32), numbers, early=np.zeros(count, bool))
    places = truths.select(KEY, KNOWN).with_row_index(PLACE)
    with progress("Looking up predictions", sum(source.rows for source in sources)) as advance:
        for source in sources:
            if matches.found.all():
                break
            for table in _read_predictions(source, key, matches):
                _match(table, places, source, matches)
                advance(len(table))
    return matches


def _read_predictions(source: Source, key: str, matches: Matches) -> Iterator[pl.DataFrame]:
    """Yield key and numbers of a prediction file, many rows at a time; nothing where it has no such key."""
    name, waiting, rows = source.key or key, [], 0
    try:
        for piece in read_file(InputFile(path=source.path, name=""), [name, *NUMBERS], lambda _: None, {}):
            waiting.append(_take_numbers(piece, name))
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


def _take_numbers(piece: Piece, key: str) -> pl.DataFrame:
    numbers = [read_number(name, strip=False, decimal_comma=False).cast(F32).alias(name) for name in NUMBERS]
    return piece.rows.select(pl.col(key).cast(TEXT).str.strip_chars().alias(KEY), *numbers)


def _match(table: pl.DataFrame, places: pl.DataFrame, source: Source, matches: Matches) -> None:
    """Take over the predictions for truths that have none yet."""
    found = table.join(places, on=KEY, how="inner", maintain_order="left")
    at = int(source.predicted_at.timestamp() * 1_000_000)
    late = found[KNOWN].to_numpy() < at
    rows = found[PLACE].to_numpy().astype(np.int64)
    matches.early[rows[late]] = True
    found, rows = found.filter(pl.Series(~late)), rows[~late]
    if not len(rows):
        return
    batch = _number(source, matches)
    distinct, first, times = np.unique(rows, return_index=True, return_counts=True)
    matches.doubled += int(np.count_nonzero((times > 1) | (matches.batch[distinct] == batch)))
    new = matches.batch[distinct] < 0
    matches.batch[distinct[new]] = batch
    matches.numbers[distinct[new]] = found.select(NUMBERS).to_numpy()[first[new]]


def _number(source: Source, matches: Matches) -> int:
    """Number a batch among those that matched."""
    for number, batch in enumerate(matches.batches):
        if batch.folder == source.folder:
            return number
    matches.batches.append(source)
    return len(matches.batches) - 1
