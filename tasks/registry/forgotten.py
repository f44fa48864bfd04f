"""The log of forgotten rows: which snapshot became which, when and by whom. It never holds a key."""

import secrets
from typing import Any, NamedTuple

from linear_neuron.tasks.registry.audit_log import append, make_entry, read_lines
from linear_neuron.tasks.storage.store import Store

LOG = "forgotten.jsonl"
ACTION = "forgot"


def log_forgotten(store: Store, reason: str, rows: int, files: int, snapshots: dict[str, dict[str, Any]]) -> None:
    """Add a line about a removal that is about to happen.

    Args:
        store: Where the log is.
        reason: Why the rows go.
        rows: How many rows are removed.
        files: From how many files.
        snapshots: sha256 of a snapshot -> `to` and `numbers`, as in `Replaced`.
    """
    entry = make_entry(secrets.token_hex(8), ACTION, "", reason, rows=rows, files=files, snapshots=snapshots)
    append(store, entry, LOG)


class Replaced(NamedTuple):
    """What a snapshot became when rows of it were forgotten."""

    to: str  # sha256 of the snapshot without them; empty where no row was left
    numbers: list[int]  # of the rows that were removed, rising, as this snapshot counts them
    at: str


def read_replaced(store: Store) -> dict[str, Replaced]:
    """Read what each snapshot that lost rows became, by its sha256.

    Raises:
        UserError: the log is damaged.
    """
    lines = read_lines(store, LOG)
    return {
        sha256: Replaced(facts["to"], facts["numbers"], line["at"])
        for line in lines
        for sha256, facts in line.get("snapshots", {}).items()
    }


def trace(replaced: dict[str, Replaced], sha256: str) -> list[Replaced]:
    """List what a snapshot became, step by step; nothing where it has all its rows."""
    steps = []
    while step := replaced.get(sha256):
        steps.append(step)
        sha256 = step.to
    return steps


def find_last(replaced: dict[str, Replaced], sha256: str) -> str:
    """Find the snapshot that has what is left of one; empty where nothing is."""
    steps = trace(replaced, sha256)
    return steps[-1].to if steps else sha256


def number_before(steps: list[Replaced], rows: list[int]) -> list[int]:
    """Number rows of the last snapshot as the first one counted them."""
    for step in reversed(steps):
        for gone in step.numbers:
            rows = [row + (row >= gone) for row in rows]
    return rows
