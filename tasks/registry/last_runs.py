"""The last run of each kind that a list of models started, in the model's store: when it began, and how it ended."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from linear_neuron.tasks.storage.store import Store

FILE = "runs.json"


class LastRun(BaseModel):
    """When a run began and how it ended."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    state: str  # the name of the run's state, such as Completed, Unchanged, Refused, Failed or Crashed
    message: str = ""  # why, in a sentence

    @property
    def failed(self) -> bool:
        """Whether the run did not do its work."""
        return self.state in ("Failed", "Crashed", "Cancelled", "TimedOut")


RUNS = TypeAdapter(dict[str, LastRun])


def read_runs(store: Store) -> dict[str, LastRun]:
    """Read the last run of each kind; none where the file is missing or damaged, so that all kinds are due."""
    return _parse(store.read(store.root / FILE))


def _parse(data: bytes | None) -> dict[str, LastRun]:
    try:
        return RUNS.validate_json(data or b"{}")
    except ValidationError:
        return {}


def record_run(store: Store, kind: str, run: LastRun) -> None:
    """Record a run as the last one of its kind."""
    store.update(store.root / FILE, lambda data: RUNS.dump_json(_parse(data) | {kind: run}, indent=1))
