"""The versions in the store and the history of promotions, as rows and as tables for the terminal."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tasks.errors import UserError
from tasks.name import command
from tasks.parameters import Training
from tasks.registry.champion import find_standings, read_champion, read_log
from tasks.registry.summaries import Summary
from tasks.registry.versions import find_versions, read_summaries
from tasks.storage.store import Store

WIDTH = 120  # columns of the terminal that the tables fit into


def find_champion(store: Store, day: str = "") -> str:
    """Find the version that serves now, or that served at the end of a day (UTC).

    Raises:
        UserError: there was no champion.
    """
    if not day:
        champion = read_champion(store)
        if champion is None:
            raise UserError(f"{store.root} has no champion yet; make one by: {command()} retrain")
        return champion.version
    served = [entry for entry in read_log(store) if entry["action"] != "refused"]
    before = [entry["version"] for entry in served if entry["at"][:10] <= day]
    if not before:
        first = f"the first one serves since {served[0]['at'][:10]}" if served else "there is none yet"
        raise UserError(f"{store.root} had no champion on {day}; {first}.")
    return str(before[-1])


def list_models(store: Store, newest: int = 0) -> list[dict[str, Any]]:
    """List every complete version, oldest first; or, where `newest` is not 0, so many and the champion.

    Their `status` is champion, previous, refused, promoted, left or nothing.

    Of a damaged version nothing else is known, so the other values are None, and its status says so.
    """
    standings, complete = find_standings(store), find_versions(store)
    summaries = dict(zip(complete, read_summaries(store, complete), strict=True))
    versions = list(complete)
    serving = [version for version in versions[: -newest or 0] if standings.get(version, ("",))[0] == "champion"]
    return [
        _make_row(version, summaries[version], *standings.get(version, ("", "")))
        for version in serving + versions[-newest:]
    ]


def _make_row(version: str, summary: Summary | None, status: str, reason: str) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "created_at": None, "target": None, "features": None, "recipe": None}
    row |= {"test_mse": None, "floor_mse": None, "status": status, "reason": reason, "bytes": None}
    with suppress(KeyError, TypeError, ValueError):
        if summary is not None:
            return row | {
                "created_at": summary.created_at.isoformat(timespec="seconds"),
                "target": summary.target,
                "features": summary.features,
                "recipe": Training(**summary.training).recipe_name,
                "test_mse": summary.test["neuron"]["mse"],
                "floor_mse": summary.test["least_squares"]["mse"],
                "bytes": summary.bytes,
            }
    return row | {"status": f"{status} (damaged)".strip()}


def render_models(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a table for the terminal, the newest version last, and below each why it has its status."""
    realised = any("realised_mse" in row for row in rows)
    heads = ["version", "created (UTC)", "predicts", "recipe", "test MSE", "least squares", "status", "size"]
    heads[5:5] = ["realised"] * realised
    cells = [_draw_cells(row, realised) for row in rows]
    reasons = [row["reason"] for row in rows]
    return _render(heads, cells, reasons) or f"There is no version yet; make one by: {command()} retrain\n"


def _draw_cells(row: dict[str, Any], realised: bool) -> list[str]:
    if row["bytes"] is None:
        return [row["version"], *[""] * (5 + realised), f"{row['status']}, see: {command()} verify", ""]
    mse = row.get("realised_mse")
    return [
        row["version"],
        _minute(row["created_at"]),
        _cut(f"{row['target']} from {', '.join(row['features'])}", 12 if realised else 22),
        row["recipe"],
        f"{row['test_mse']:.2f}",
        *["" if mse is None else f"{mse:.2f}"] * realised,
        f"{row['test_mse'] / row['floor_mse'] - 1:+.0%} ({row['floor_mse']:.2f})",
        row["status"],
        f"{row['bytes'] / 1000:.0f} kB",
    ]


def list_history(store: Store) -> list[dict[str, Any]]:
    """List every promotion, refusal and rollback, oldest first; `replaced` is the version that served before it."""
    rows, serving = [], None
    for entry in read_log(store):
        row = {name: entry.get(name, "") for name in ("at", "action", "version", "by", "reason")}
        rows.append({**row, "replaced": serving if entry["action"] != "refused" else None})
        serving = serving if entry["action"] == "refused" else entry["version"]
    return rows


def render_history(rows: list[dict[str, Any]]) -> str:
    """Draw the rows for the terminal, the newest last, and below each its reason."""
    heads = ["at (UTC)", "what", "version", "in the place of", "by"]
    cells = [
        [_minute(row["at"]), row["action"], row["version"], row["replaced"] or "", _cut(row["by"], 38)] for row in rows
    ]
    return _render(heads, cells, [row["reason"] for row in rows]) or "No version was promoted or refused yet.\n"


def _minute(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _render(heads: list[str], rows: list[list[str]], reasons: list[str]) -> str:
    """Draw a table, and below each row its reason; empty where there is no row.

    This is done by hand since Rich takes seconds for thousands of rows.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row, reason in zip([heads, *rows], ["", *reasons], strict=True):
        cells = [
            cell.rjust(width) if head in ("test MSE", "realised", "size") else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        lines += ["  ".join(cells).rstrip()] + [_cut(f"  {reason}", WIDTH)] * bool(reason)
    return "\n".join(lines) + "\n" if rows else ""
