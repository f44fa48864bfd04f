"""The values of a batch: its files, what became of them, and its manifest."""

from datetime import datetime
from itertools import zip_longest
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch

WORK = ".work"  # folder in a batch's, of what is removed when its manifest stands


class InputFile(BaseModel):
    """A file to predict, and the name that its outputs go by in the batch."""

    model_config = ConfigDict(frozen=True)

    path: str  # an absolute path or a URL
    name: str  # relative to the folder that all inputs share, without suffixes
    size: int = 0  # bytes
    error: str = ""  # why it can't be predicted, where that is known before it is read

    @property
    def kind(self) -> Literal["csv", "parquet"]:
        """What the file is, by its name."""
        return "parquet" if self.path.lower().endswith(".parquet") else "csv"


class Chunk(BaseModel):
    """What one step scores of a file: all of it, or the range of a large one that starts and ends between records."""

    model_config = ConfigDict(frozen=True)

    source: InputFile
    start: int = 0  # in bytes, or in rows of a Parquet file
    stop: int | None = None  # None is the whole file
    line: int = 2  # number of the first line of a range of CSV
    size: int = 0  # bytes to read
    sha256: str = ""  # of a range of CSV as it was when it was cut
    file_sha256: str = ""  # of the file that a range belongs to

    @property
    def name(self) -> str:
        """What its outputs are called: those of a range are put together and removed later."""
        return self.source.name if self.stop is None else f"{WORK}/{self.source.name}.{self.start:015}"

    def to_csv(self, batch: Batch) -> bool:
        """Whether its predictions are written as CSV."""
        return (self.source.kind if batch.format == "same" else batch.format) == "csv"


class Counts(BaseModel):
    """What became of some rows."""

    predicted: int = 0
    rejects: dict[str, int] = {}  # reason -> rows
    extrapolated: int = 0  # of the predicted
    histogram: list[int] = []  # of predictions: below the first edge of the training targets', in its bins, above

    @property
    def rejected(self) -> int:
        """Rows without a prediction."""
        return sum(self.rejects.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rows(self) -> int:
        """All rows."""
        return self.predicted + self.rejected

    def add(self, other: "Counts") -> None:
        """Counts other rows in."""
        self.predicted += other.predicted
        self.extrapolated += other.extrapolated
        for reason, rows in other.rejects.items():
            self.rejects[reason] = self.rejects.get(reason, 0) + rows
        pairs = zip_longest(self.histogram, other.histogram, fillvalue=0)
        self.histogram = [mine + theirs for mine, theirs in pairs]

    def check(self, max_rejects: float) -> None:
        """Refuses what is mostly dirt.

        Raises:
            UserError: the share of rejected rows is above the limit.
        """
        if self.rejected > max_rejects * self.rows:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejects.items()))
            raise UserError(
                f"{self.rejected:,} of {self.rows:,} rows can't be predicted ({reasons}), "
                f"a greater share than the {max_rejects:g} that --max-rejects allows"
            )


class FileResult(Counts):
    """What became of a part of a file, or of all of it."""

    source: InputFile
    start: int = 0
    stop: int | None = None
    sha256: str = ""  # of the file
    outputs: dict[str, dict[str, Any]] = {}  # name in the batch's folder -> sha256 and bytes
    error: str = ""


class Manifest(BaseModel):
    """The content of a batch's `manifest.json`."""

    batch: str
    version: str  # of the model
    created_at: datetime
    settings: Batch
    total: Counts
    inputs: list[FileResult]
    files: dict[str, dict[str, Any]]  # name in the batch's folder -> sha256 and bytes

    @property
    def failed(self) -> list[FileResult]:
        """The files that could not be predicted."""
        return [result for result in self.inputs if result.error]


class BatchRun(BaseModel):
    """A batch as every step of it sees it."""

    model_config = ConfigDict(frozen=True)

    location: str  # the batch's folder or URL
    batch: Batch
    neuron: ModelVersion


class Plan(BaseModel):
    """What is left to do of a batch."""

    groups: list[list[Chunk]]  # to be scored, a group a step
    kept: list[FileResult]  # of what is done, or can't be done
