"""The values of a batch: its chunks, what became of them, its manifest, and the run that makes them."""

import json
import math
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    computed_field,
    field_validator,
)

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.columns import ADDED, find_columns, require_columns
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.tables.rejects import F32, TEXT

WORK = ".work"  # folder inside a batch's, for what is removed once the manifest is written
OLDER = ".older"  # folder inside a batch's, for predictions of inputs that have been replaced by others since
OUTPUT = re.compile(r"\.(predictions|rejects)(\.\d{15})?\.(csv|tsv|parquet)$")  # how names end; parts have a number
MOST_UNSEEN = 200  # levels of a category that are counted by name, and were not seen in training
NAMES = {"shadow": "shadow_prediction"}  # what to add -> the column, where that has another name


def is_predictions(name: str) -> bool:
    """Whether an output has predictions, and not rejects."""
    found = OUTPUT.search(name)
    return bool(found) and found[1] == "predictions"  # type: ignore[index]


def leads_out(name: str) -> bool:
    """Whether a name leads out of the batch's folder, or to a folder in it that is the batch's own."""
    path = PurePosixPath(name)
    return path.is_absolute() or not path.parts or ".." in path.parts or path.parts[0] in (WORK, OLDER)


class Chunk(BaseModel):
    """What is scored at once: a whole file, or a range of a large one that starts and ends between records."""

    model_config = ConfigDict(frozen=True)

    source: InputFile
    start: int = 0  # in bytes, or in rows of a Parquet file
    stop: int | None = None  # None is the whole file
    line: int = 2  # number of the first line of a range of CSV
    size: int = 0  # bytes to read
    sha256: str = ""  # of a range of CSV and the header, as they were when it was cut
    file_sha256: str = ""  # of the file that a range belongs to

    def to_csv(self, batch: Batch) -> bool:
        """Whether its predictions are written as CSV."""
        return (self.source.kind if batch.format == "same" else batch.format) != "parquet"

    def is_joined(self, batch: Batch) -> bool:
        """Whether its outputs are joined with those of other ranges and removed, and do not stay."""
        return self.stop is not None and not batch.parts

    def output_names(self, batch: Batch) -> tuple[str, str]:
        """Name its predictions and its rejects; what tabs separate keeps the suffix .tsv."""
        kind = "parquet" if not self.to_csv(batch) else "tsv" if self.source.kind == "tsv" else "csv"
        name, number, part = self.source.name, f".{self.start:015}", ""
        if self.is_joined(batch):
            name = f"{WORK}/{name}{number}"
        elif self.stop is not None:
            part = number  # No whole file has an output of this name, since its number comes before the kind.
        return f"{name}.predictions{part}.{kind}", f"{name}.rejects{part}.csv"

    def new_result(self, error: str = "") -> "FileResult":
        """Begin its result, with nothing counted yet."""
        return FileResult(
            source=self.source, start=self.start, stop=self.stop, sha256=self.file_sha256, error=error, reported=False
        )


def add_into(totals: dict[str, int], more: dict[str, int]) -> None:
    """Add numbers to those of the same name."""
    for name, number in more.items():
        totals[name] = totals.get(name, 0) + number


def add_lists(one: list[int], other: list[int]) -> list[int]:
    """Add up numbers at the same index."""
    return [sum(pair) for pair in zip_longest(one, other, fillvalue=0)]


def add_levels(totals: dict[str, int], more: Iterable[tuple[str, int]]) -> None:
    """Add rows to those of the same level; new levels only as long as there are few."""
    for level, rows in more:
        if level in totals or len(totals) < MOST_UNSEEN:
            totals[level] = totals.get(level, 0) + rows


def add_cells(one: list[list[float]], other: list[list[float]]) -> list[list[float]]:
    """Add up the sums of cells at the same index; there may be none yet."""
    return [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)] if one else other


class Counts(BaseModel):
    """What became of some rows."""

    predicted: int = 0
    rejects: dict[str, int] = {}  # reason -> rows
    extrapolated: int = 0  # of the predicted
    shadow_moved: int = 0  # of the predicted, those that the shadow puts further away than half the interval
    shadow_missing: int = 0  # of the predicted, those that the shadow can't predict
    bins: dict[
        str, list[int]
    ] = {}  # column -> its values of the predicted, in the ten bins of the training rows; or by its levels, others last
    prediction_bins: list[int] = []  # the same of the predictions
    sums: dict[str, float] = {}  # feature -> sum over the predicted; none if a run of an older version had some of them
    nulls: dict[str, int] = {}  # column -> rows that were rejected since it has no value, or none that is a number
    filled: dict[str, int] = {}  # column, or term -> of the predicted, those in which it has no value
    unseen: dict[str, dict[str, int]] = {}  # category -> level that was not seen in training -> rows of the predicted
    unseen_rows: int = 0  # of the predicted, those with such a level
    cells: dict[
        str, list[list[float]]
    ] = {}  # term -> rows, sum and sum of squares of its values, by level or interval; see `TermModel.count`
    expected_squares: float | None = None  # sum of the squared errors that the predicted are expected to have
    histogram: list[int] = []  # predictions below the first edge of the training targets', in its bins, and above

    @property
    def rejected(self) -> int:
        """Rows without a prediction."""
        return sum(self.rejects.values())

    @property
    def missing(self) -> dict[str, int]:
        """Column -> rows in which it has no value, whether they were rejected or predicted."""
        found = dict(self.nulls)
        add_into(found, self.filled)
        return found

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rows(self) -> int:
        return self.predicted + self.rejected

    @computed_field  # type: ignore[prop-decorator]
    @property
    def expected_rmse(self) -> float | None:
        """The RMSE that the predicted are expected to have, in target units; None where the version does not say it."""
        if not self.predicted or self.expected_squares is None:
            return None
        return math.sqrt(self.expected_squares / self.predicted)

    def add(self, other: "Counts") -> None:
        """Count other rows in."""
        self.sums = self._add_sums(other)
        self.expected_squares = self._add_squares(other)
        self.predicted += other.predicted
        self.extrapolated += other.extrapolated
        self.shadow_moved += other.shadow_moved
        self.shadow_missing += other.shadow_missing
        add_into(self.rejects, other.rejects)
        add_into(self.nulls, other.nulls)
        add_into(self.filled, other.filled)
        self.unseen_rows += other.unseen_rows
        for category, levels in other.unseen.items():
            add_levels(self.unseen.setdefault(category, {}), levels.items())
        for term, cells in other.cells.items():
            self.cells[term] = add_cells(self.cells.get(term, []), cells)
        for feature, counts in other.bins.items():
            self.bins[feature] = add_lists(self.bins.get(feature, []), counts)
        self.prediction_bins = add_lists(self.prediction_bins, other.prediction_bins)
        self.histogram = add_lists(self.histogram, other.histogram)

    def _add_sums(self, other: "Counts") -> dict[str, float]:
        """Add up the sums, of which there are none if a run of an older version had some of the rows."""
        if (self.predicted and not self.sums) or (other.predicted and not other.sums):
            return {}
        names = dict.fromkeys([*self.sums, *other.sums])
        return {name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in names}

    def _add_squares(self, other: "Counts") -> float | None:
        """Add up the expected squares; None if some of the rows have none."""
        known = [counts.expected_squares for counts in (self, other) if counts.predicted]
        return None if not known or None in known else math.fsum(filter(None, known))

    def find_excess(self, max_rejects: float) -> str:
        """Say why a file has too many rejects; empty where no greater share than the limit was rejected."""
        if self.rejected <= max_rejects * self.rows:
            return ""
        return (
            f"{self.rejected:,} of {self.rows:,} rows can't be predicted ({self.describe_rejects()}), "
            f"a greater share than the {max_rejects:g} that --max-rejects allows"
        )

    def describe_rejects(self) -> str:
        """List the reasons with their rows, such as `empty 2, not a number 1`."""
        return ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejects.items()))


class FileResult(Counts):
    """What became of a file, or of a range of it. Its fields are those of `inputs` in `manifest.json`."""

    source: InputFile
    start: int = 0
    stop: int | None = None  # None is the whole file
    sha256: str = ""  # of the file
    predicted_at: datetime | None = None  # when its predictions were written; older manifests do not say
    interval_factor: float = 1.0  # by which the model's interval was multiplied, where it follows actual values
    decimals: dict[str, str] = {}  # column -> the decimal mark that was found in its text
    outputs: dict[str, dict[str, Any]] = {}  # name in the batch's folder -> sha256 and bytes
    error: str = ""
    lasting: bool = False  # whether the error is the file's own, so that trying again is of no use before it changes
    reported: bool = True  # whether a run has ended Failed for the error; older runs did not say it

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: InputFile) -> InputFile:
        if leads_out(source.name):
            raise ValueError(f"{source.name!r} leads out of the batch's folder")
        return source

    @field_validator("outputs")
    @classmethod
    def _check_outputs(cls, outputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in outputs:
            if leads_out(re.sub(rf"^({re.escape(WORK)}|{re.escape(OLDER)}/[^/]+)/", "", name)) or not OUTPUT.search(
                name
            ):
                raise ValueError(f"{name!r} is no output in the batch's folder")
        return outputs

    def fail_for_excess(self, max_rejects: float) -> bool:
        """Make it a failure if too much was rejected, and say whether it is one."""
        if excess := self.find_excess(max_rejects):
            self.outputs, self.error, self.lasting = {}, excess, True
        return bool(excess)

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is while the input does."""
        return not self.error or self.lasting

    @property
    def predictions(self) -> list[str]:
        """The outputs with predictions: none of a file that failed, and more than one where they are in parts."""
        return [] if self.error else list(filter(is_predictions, self.outputs))

    def move_to(self, folder: str) -> "FileResult":
        """Return the result with its outputs in another folder of the batch's."""
        return self.model_copy(update={"outputs": {f"{folder}/{name}": facts for name, facts in self.outputs.items()}})

    @property
    def position(self) -> tuple[str, int]:
        """Where it comes among the results of a batch."""
        return self.source.identity, self.start


def add_up(results: list[FileResult]) -> Counts:
    """Add up the counts of files; those of a file that failed count for nothing."""
    total = Counts()
    for result in results:
        if not result.error:
            total.add(result)
    return total


class Drift(BaseModel):
    """How a column differs from the training rows."""

    model_config = ConfigDict(frozen=True)

    column: str
    psi: float
    floor: float  # PSI that chance alone exceeds once in a thousand times
    nulls: float  # share of the rows
    known_nulls: float  # the same when the model was trained
    drifted: bool


class Manifest(BaseModel):
    """The content of a batch's `manifest.json`."""

    batch: str
    version: str  # of the model
    created_at: datetime
    settings: Batch
    total: Counts
    inputs: list[FileResult]  # of all runs of the batch; of each input the latest
    replaced: list[FileResult] = []  # earlier results of inputs that have changed since; their outputs are in OLDER
    asked: list[str] = []  # identities of the inputs that the last run was to predict; manifests of 0.1.0 have none
    interval_factor: float = 1.0  # of the last run; the results of each file have their own
    drift: list[Drift] = []  # of what the last run was to predict; older manifests have none

    @field_validator("settings", mode="wrap")
    @classmethod
    def _read_settings(cls, settings: Any, check: ValidatorFunctionWrapHandler) -> Batch:
        """Read the settings of an older version as they are, whose rules for the same values were others."""
        try:
            return check(settings)  # type: ignore[no-any-return]
        except ValidationError as error:
            if any(mistake["type"].endswith(("_type", "_parsing")) for mistake in error.errors()):
                raise
            odd = {str(mistake["loc"][0]) for mistake in error.errors()}
            known = check({name: value for name, value in settings.items() if name not in odd})
            kept = {name: settings[name] for name in odd & Batch.model_fields.keys()}
            return known.model_copy(update=kept)  # type: ignore[no-any-return]

    def of_last_run(self) -> "Manifest":
        """Leave out the files that the last run was not asked for."""
        if not self.asked:
            return self
        asked = set(self.asked)
        inputs = [result for result in self.inputs if result.source.identity in asked]
        return self.model_copy(update={"inputs": inputs, "total": add_up(inputs)})

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Every output: its name in the batch's folder -> sha256 and bytes."""
        return {name: facts for result in [*self.inputs, *self.replaced] for name, facts in result.outputs.items()}

    def merge(self, other: "Manifest", known: list[FileResult]) -> None:
        """Take over what another run has written since this one read what was `known`, but for the inputs it was asked.

        Args:
            other: the manifest as it is now.
            known: what this run read; what of it is not in its own results has been dropped on purpose.
        """
        read = {result.source.identity: result for result in known}
        new = [result for result in other.inputs if read.get(result.source.identity) != result]
        newer = {result.source.identity: result for result in new if result.source.identity not in self.asked}
        kept = [result for result in self.inputs if result.source.identity not in newer]
        self.inputs = sorted([*kept, *newer.values()], key=lambda result: result.position)
        names = {name for result in self.replaced for name in result.outputs}
        self.replaced += [result for result in other.replaced if not names & result.outputs.keys()]
        self.total = add_up(self.inputs)

    @property
    def failed(self) -> list[FileResult]:
        """The files that could not be predicted."""
        return [result for result in self.inputs if result.error]


class BatchRun(BaseModel):
    """A batch as every step of it sees it: where it is written, with which models, and what of it is done already."""

    model_config = ConfigDict(frozen=True)

    location: str  # the batch's folder or URL
    batch: Batch
    model: ModelVersion
    shadow: ModelVersion | None = None  # predicts beside the model, only to be compared with it
    interval_factor: float = 1.0  # by which the model's interval has been multiplied
    earlier: list[FileResult] = []  # of runs before this one
    replaced: list[FileResult] = []  # what the manifest has of these

    @property
    def home(self) -> Store:
        """The batch's folder, written to as a store is."""
        return Store(self.location)

    @cached_property
    def done(self) -> dict[tuple[str, int, int | None], FileResult]:
        """Identity, start and stop -> the newest earlier result that is kept while its input is the same."""
        final = [item for item in self.earlier if item.is_final]
        # A range is of a file that a killed run has begun, perhaps with another interval.
        kept = [item for item in final if item.stop is None or item.interval_factor == self.interval_factor]
        return {(item.source.identity, item.start, item.stop): item for item in kept}

    @property
    def added(self) -> dict[str, Any]:
        """The columns that every prediction file has beside its input's: name -> type, in their order."""
        wanted: dict[str, Any] = {"model_version": TEXT, "shadow": F32}
        explained: dict[str, dict[str, Any]] = {
            "none": {},
            "top": {"top_feature": TEXT, "top_contribution": F32},
            "all": {"base_prediction": F32} | {f"contribution_{feature}": F32 for feature in self.model.features},
        }
        chosen = {NAMES.get(name, name): wanted[name] for name in self.batch.add}
        return ADDED | chosen | explained[self.batch.explain]

    def find_features(self, columns: list[str]) -> tuple[list[str], list[str]]:
        """Find the columns that the model reads among those of a file, in its order; and those of the shadow.

        Raises:
            UserError: one is missing or there twice, or so is that of --key, or one has the name of an added one.
        """
        batch = self.batch
        if batch.key:
            try:
                require_columns(columns, [batch.key])
            except UserError as error:
                raise UserError(f"for --key, {error}") from None
        names = find_columns(columns, list(self.model.kinds), batch.mapping, self.added)
        if not self.shadow:
            return names, []
        try:
            return names, find_columns(columns, list(self.shadow.kinds), batch.mapping, ())
        except UserError as error:
            raise UserError(f"for the shadow {self.shadow.version}, {error}") from None

    def list_numbers(self, names: list[str], shadow_names: list[str]) -> list[str]:
        """List those columns of a file that are read as numbers, of what `find_features` found."""
        read = [*zip(self.model.kinds.values(), names, strict=True)]
        read += zip(self.shadow.kinds.values() if self.shadow else [], shadow_names, strict=True)
        return list(dict.fromkeys(name for kind, name in read if kind == "number"))


def describe_model(model: ModelVersion) -> dict[str, str]:
    """Write the model as the metadata of a Parquet file: its version, and all that a prediction takes as JSON."""
    formula: dict[str, Any] = {"target": model.target} | ({"link": model.link} if model.link != "identity" else {})
    if model.terms:
        formula |= {"terms": [term.model_dump(exclude_defaults=True) for term in model.terms], "base": model.base}
    else:
        formula |= {"weights": dict(zip(model.features, model.weights, strict=True)), "bias": model.bias}
    return {
        "linear_neuron.model_version": model.version,
        "linear_neuron.model": json.dumps(formula, ensure_ascii=False),
    }
