"""What the tests of scoring share."""

from pathlib import Path
from typing import Any

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.tables.inputs import InputFile

SOURCE = InputFile(path="/inbox/a.csv", name="a")


def part(start: int, **changes: object) -> FileResult:
    """Make the result of a range in which a row was predicted."""
    return FileResult(source=SOURCE, start=start, stop=start + 10, sha256="0", predicted=1).model_copy(update=changes)


class Scoring:
    """Scores one file, and holds what came out."""

    def __init__(self, folder: Path, neuron: ModelVersion) -> None:
        self.folder, self.neuron = folder, neuron

    def __call__(self, content: bytes, name: str = "a.csv", **batch: Any) -> FileResult:
        path = self.folder / name
        path.write_bytes(content)
        batch = {"max_rejects": 1, **batch}
        job = BatchRun(location=str(self.folder / "out"), batch=Batch(inputs=[str(path)], **batch), model=self.neuron)
        return score_chunk(Chunk(source=InputFile(path=str(path), name="a")), job)

    def batch_run(self) -> BatchRun:
        return BatchRun(location=str(self.folder / "out"), batch=Batch(), model=self.neuron)

    def read(self, name: str) -> bytes:
        return (self.folder / "out" / name).read_bytes()

    @property
    def predictions(self) -> bytes:
        return self.read("a.predictions.csv")

    @property
    def rejects(self) -> str:
        return self.read("a.rejects.csv").decode()

    @property
    def outputs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "out").iterdir())
