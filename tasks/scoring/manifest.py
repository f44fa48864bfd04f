"""The values of a batch: its files, what became of them, and its manifest."""

import re
from datetime import datetime
from functools import cached_property
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field, field_validator

from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.tables.inputs import InputFile

WORK = ".work"  # folder inside a batch's, for what is removed once the manifest is written
PREDICTIONS = re.compile(r"\.predictions(\.\d{15})?\.(csv|tsv|parquet)$")  # how their names end; parts have a number


def is_predictions(name: str) -> bool:
    """Whether an output has predictions, and not rejects."""
    return bool(PREDICTIONS.search(name))


def leads_out(name: str) -> bool:
    """Whether a name of an output leads out of the batch's folder, or to where its unfinished work is."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or path.parts[:1] == (WORK,)


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
        """Name its predictions and its rejects; what stands apart by tabs stays so, and so does its name."""
        kind = "parquet" if not self.to_csv(batch) else "tsv" if self.source.kind == "tsv" else "csv"
        name, place, part = self.source.name, f".{self.start:015}", ""
        if self.is_joined(batch):
            name = f"{WORK}/{name}{place}"
        elif self.stop is not None:
            part = place  # No whole file has an output of this name, since there a number stands before the kind.
        return f"{name}.predictions{part}.{kind}", f"{name}.rejects{part}.csv"

    def new_result(self, error: str = "") -> "FileResult":
        """Begin its result, with nothing counted yet."""
        return FileResult(source=self.source, start=self.start, stop=self.stop, sha256=self.file_sha256, error=error)


def add_into(totals: dict[str, int], more: dict[str, int]) -> None:
    """Add numbers to those of the same name."""
    for name, number in more.items():
        totals[name] = totals.get(name, 0) + number


def add_lists(one: list[int], other: list[int]) -> list[int]:
    """Add up numbers at the same place."""
    return [sum(pair) for pair in zip_longest(one, other, fillvalue=0)]


class Counts(BaseModel):
    """What became of some rows."""

    predicted: int = 0
    rejects: dict[str, int] = {}  # reason -> rows
    extrapolated: int = 0  # of the predicted
    shadow_moved: int = 0  # of the predicted, those that the shadow puts further away than half the interval
    shadow_missing: int = 0  # of the predicted, those that the shadow can't predict
    bins: dict[str, list[int]] = {}  # feature -> its values of the predicted, in the ten bins of the training rows
    prediction_bins: list[int] = []  # the same of the predictions
    sums: dict[str, float] = {}  # feature -> sum over the predicted; none if a run of an older version had some of them
    nulls: dict[str, int] = {}  # feature -> rows that were rejected since it is no number
    histogram: list[int] = []  # predictions below the first edge of the training targets', in its bins, and above

    @property
    def rejected(self) -> int:
        """Rows without a prediction."""
        return sum(self.rejects.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rows(self) -> int:
        return self.predicted + self.rejected

    def add(self, other: "Counts") -> None:
        """Count other rows in."""
        known = (self.sums or not self.predicted) and (other.sums or not other.predicted)
        names = dict.fromkeys([*self.sums, *other.sums]) if known else ()
        self.sums = {name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in names}
        self.predicted += other.predicted
        self.extrapolated += other.extrapolated
        self.shadow_moved += other.shadow_moved
        self.shadow_missing += other.shadow_missing
        add_into(self.rejects, other.rejects)
        add_into(self.nulls, other.nulls)
        for feature, counts in other.bins.items():
            self.bins[feature] = add_lists(self.bins.get(feature, []), counts)
        self.prediction_bins = add_lists(self.prediction_bins, other.prediction_bins)
        self.histogram = add_lists(self.histogram, other.histogram)

    def find_excess(self, max_rejects: float) -> str:
        """Say why a file is mostly dirt; empty where no greater share than the limit was rejected."""
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
    outputs: dict[str, dict[str, Any]] = {}  # name in the batch's folder -> sha256 and bytes
    error: str = ""
    lasting: bool = False  # whether the error is the file's own, so that trying again is of no use before it changes

    @field_validator("outputs")
    @classmethod
    def _outputs_stay_inside(cls, outputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in outputs:
            if leads_out(name.removeprefix(f"{WORK}/")):
                raise ValueError(f"{name!r} leads out of the batch's folder")
        return outputs

    def fail_for_excess(self, max_rejects: float) -> bool:
        """Make it a failure if too much was rejected, and say whether it is one."""
        if excess := self.find_excess(max_rejects):
            self.outputs, self.error, self.lasting = {}, excess, True
        return bool(excess)

    @property
    def is_final(self) -> bool:
        return not self.error or self.lasting


def add_up(results: list[FileResult]) -> Counts:
    """Add up the counts of files; those of a file that failed count for nothing."""
    total = Counts()
    for result in results:
        if not result.error:
            total.add(result)
    return total


class Manifest(BaseModel):
    """The content of a batch's `manifest.json`."""

    batch: str
    version: str  # of the model
    created_at: datetime
    settings: Batch
    total: Counts
    inputs: list[FileResult]  # of all runs of the batch
    asked: list[str] = []  # paths of the inputs that the last run was to predict; manifests of 0.1.0 do not say

    def of_last_run(self) -> "Manifest":
        """Leave out the files that the last run was not asked for."""
        if not self.asked:
            return self
        asked = set(self.asked)
        inputs = [result for result in self.inputs if result.source.path in asked]
        return self.model_copy(update={"inputs": inputs, "total": add_up(inputs)})

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Every output: its name in the batch's folder -> sha256 and bytes."""
        return {name: facts for result in self.inputs for name, facts in result.outputs.items()}

    @property
    def failed(self) -> list[FileResult]:
        """The files that could not be predicted."""
        return [result for result in self.inputs if result.error]


class BatchRun(BaseModel):
    """A batch as every step of it sees it: where it is written, with which model, and what of it is done already."""

    model_config = ConfigDict(frozen=True)

    location: str  # the batch's folder or URL
    batch: Batch
    model: ModelVersion
    shadow: ModelVersion | None = None  # predicts beside the model, only to be compared with it
    earlier: list[FileResult] = []  # of runs before this one

    @cached_property
    def done(self) -> dict[tuple[str, int, int | None], FileResult]:
        """Path, start and stop -> the newest earlier result that need not be made again while its input is the same."""
        return {(item.source.path, item.start, item.stop): item for item in self.earlier if item.is_final}
