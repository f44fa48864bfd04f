"""The versions in the store and the history of promotions, as rows and as tables for the terminal."""

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import command
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.registry.champion import find_statuses, read_champion, read_log
from linear_neuron.tasks.registry.versions import Summary, find_versions, read_summaries
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import draw_table, number

MODEL_COLUMNS = "version", "created (UTC)", "predicts", "recipe", "test RMSE", "least squares", "status", "size"
NUMBERS = {"test RMSE", "realized", "size"}  # columns whose cells are aligned to the right
HISTORY_COLUMNS = "at (UTC)", "action", "version", "replaced", "by"


def find_champion(store: Store, day: str = "") -> str:
    """Find the version that serves now, or that served at the end of a day (UTC).

    Raises:
        UserError: there was no champion.
    """
    if not day:
        champion = read_champion(store)
        if champion is None:
            raise UserError(f"{store.root} has no champion yet. Make one: {command()} retrain")
        return champion.version
    served = [entry for entry in read_log(store) if entry["action"] != "refused"]
    before = [entry["version"] for entry in served if entry["at"][:10] <= day]
    if not before:
        first = f"the first one served from {served[0]['at'][:10]}" if served else "there is none yet"
        raise UserError(f"{store.root} had no champion on {day}; {first}.")
    return str(before[-1])


def list_models(store: Store, newest: int = 0) -> list[dict[str, Any]]:
    """List every complete version, oldest first.

    A row's `status` is champion, previous, refused, promoted, left or empty. A damaged version has this status with
    "(damaged)" after it, and None for all that can't be read.

    Args:
        store: Where the versions are.
        newest: How many of the newest to list, together with the champion; 0 lists all.
    """
    statuses, complete = find_statuses(store), find_versions(store)
    summaries = dict(zip(complete, read_summaries(store, complete), strict=True))
    versions = list(complete)
    serving = [version for version in versions[: -newest or 0] if statuses.get(version, ("",))[0] == "champion"]
    return [
        _make_row(version, summaries[version], *statuses.get(version, ("", "")))
        for version in serving + versions[-newest:]
    ]


def _make_row(version: str, summary: Summary | None, status: str, reason: str) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "created_at": None, "target": None, "features": None, "recipe": None}
    row |= dict.fromkeys(("test_mse", "floor_mse", "test_rmse", "test_mae", "test_r2"))
    row |= {"status": status, "reason": reason, "bytes": None}
    with suppress(KeyError, TypeError, ValueError):
        if summary is not None:
            return row | {
                "created_at": summary.created_at.isoformat(timespec="seconds"),
                "target": summary.target,
                "features": summary.features,
                "recipe": Training(**summary.training).recipe_name,
                "test_mse": summary.test["neuron"]["mse"],
                "floor_mse": summary.test["least_squares"]["mse"],
                "test_rmse": _root(summary.test["neuron"]["mse"]),
                "test_mae": summary.test["neuron"].get("mae"),
                "test_r2": summary.test["neuron"].get("r2"),
                "bytes": summary.bytes,
            }
    return row | {"status": f"{status} (damaged)".strip()}


def render_models(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a table for the terminal, the newest version last, each with the reason of its status below."""
    realized = any("realised_mse" in row for row in rows)
    heads = [*MODEL_COLUMNS[:5], *["realized"] * realized, *MODEL_COLUMNS[5:]]
    cells = [_draw_cells(row, realized) for row in rows]
    reasons = [row["reason"] for row in rows]
    return _render(heads, cells, reasons) or f"There is no version yet. Make one: {command()} retrain\n"


def _draw_cells(row: dict[str, Any], realized: bool) -> list[str]:
    if row["bytes"] is None:
        return [row["version"], *[""] * (5 + realized), f"{row['status']}, see: {command()} verify", ""]
    mse = row.get("realised_mse")
    return [
        row["version"],
        _minute(row["created_at"]),
        _cut(f"{row['target']} from {', '.join(row['features'])}", 12 if realized else 22),
        row["recipe"],
        number(_root(row["test_mse"])),
        *["" if mse is None else number(_root(mse))] * realized,
        _compare(_root(row["test_mse"]), _root(row["floor_mse"])),
        row["status"],
        f"{row['bytes'] / 1000:.0f} kB",
    ]


def _root(mse: float | None) -> float | None:
    return None if mse is None else math.sqrt(mse)


def _compare(rmse: float | None, floor: float | None) -> str:
    """Write how far an error is above that of least squares, and the latter."""
    return f"{rmse / floor - 1:+.0%} ({number(floor)})" if rmse is not None and floor else number(floor)


def list_history(store: Store) -> list[dict[str, Any]]:
    """List every promotion, refusal and rollback, oldest first; `replaced` is the version that served before it."""
    rows, serving = [], None
    for entry in read_log(store):
        row = {name: entry.get(name, "") for name in ("at", "action", "version", "by", "reason")}
        rows.append({**row, "replaced": serving if entry["action"] != "refused" else None})
        serving = serving if entry["action"] == "refused" else entry["version"]
    return rows


def render_history(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a table for the terminal, the newest last, each with its reason below."""
    cells = [
        [_minute(row["at"]), row["action"], row["version"], row["replaced"] or "", _cut(row["by"], 38)] for row in rows
    ]
    reasons = [row["reason"] for row in rows]
    return _render(HISTORY_COLUMNS, cells, reasons) or "No version was promoted or refused yet.\n"


def _minute(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _render(heads: Sequence[str], rows: list[list[str]], reasons: list[str]) -> str:
    """Draw a table, and below each row its whole reason, which may be a command to copy; empty without rows."""
    head, *lines = draw_table(heads, rows, left=set(heads) - NUMBERS)
    pairs = zip(lines, reasons, strict=True)
    lines = [head, *(text for line, reason in pairs for text in (line, f"  {reason}") if text.strip())]
    return "\n".join(lines) + "\n" if rows else ""
