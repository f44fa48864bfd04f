"""An index of the versions: what `models`, `retrain` and `clean` ask of all of them, in a single file.

It is a copy that may be lost. A row counts only while the version's files have the tag that it was made with; any other
is made anew from the version.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tasks.errors import StoreError
from tasks.storage.store import Store

FILE = "models.json"


class Summary(BaseModel):
    """What is asked of many versions at once."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    dataset: str  # sha256 of its rows
    created_at: datetime
    target: str
    features: list[str]
    training: dict[str, Any]
    test: dict[str, Any]  # the metrics of its test rows
    bytes: int


class Row(BaseModel):
    """A version's summary, and the tag that its files had."""

    tag: str
    summary: Summary


ROWS = TypeAdapter(dict[str, Row])


def read_rows(store: Store) -> dict[str, Row]:
    """Read the rows of all versions; none where the index is missing or damaged."""
    try:
        return ROWS.validate_json(store.read(store.root / FILE) or b"{}")
    except ValidationError:
        return {}


def write_rows(store: Store, rows: dict[str, Row]) -> None:
    """Write the rows for the next who asks; whoever may only read the store does without."""
    with suppress(StoreError):
        store.write(store.root / FILE, ROWS.dump_json(rows))
