"""What is in the store."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from tasks.errors import UserError
from tasks.parameters import Training
from tasks.registry.champion import find_standings, read_log
from tasks.registry.versions import list_versions, read_manifest, read_version
from tasks.storage.store import Store

WIDTH = 120  # columns of the terminal that the tables fit into


def list_models(store: Store) -> list[dict[str, Any]]:
    """List every complete version, oldest first; `status` is champion, previous, refused, promoted or nothing.

    Of a damaged version nothing else is known, so the other values are None, and its status says so.
    """
    standings = find_standings(store)
    return [_make_row(store, version, *standings.get(version, ("", ""))) for version in list_versions(store)]


def _make_row(store: Store, version: str, status: str, reason: str) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "created_at": None, "target": None, "features": None, "recipe": None}
    row |= {"test_mse": None, "floor_mse": None, "status": status, "reason": reason, "bytes": None}
    try:
        model, files = read_version(store, version), read_manifest(store, version)["files"]
        test = model.metrics["test"]
        return row | {
            "created_at": model.created_at.isoformat(timespec="seconds"),
            "target": model.target,
            "features": model.features,
            "recipe": Training(**model.training).recipe,
            "test_mse": test["neuron"]["mse"],
            "floor_mse": test["least_squares"]["mse"],
            "bytes": sum(file["bytes"] for file in files.values()),
        }
    except (UserError, KeyError, TypeError, ValueError):
        return row | {"status": f"{status} (damaged)".strip()}


def render_models(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a table for the terminal, the newest version last, and below each why it has its status."""
    table = Table(box=None, pad_edge=False)
    for head in ("version", "created (UTC)", "predicts", "recipe", "test MSE", "least squares", "status", "size"):
        side: Literal["right", "left"] = "right" if head in ("test MSE", "size") else "left"
        table.add_column(head, justify=side, no_wrap=True, max_width=22 if head == "predicts" else None)
    for row in rows:
        if row["bytes"] is None:
            table.add_row(row["version"], "", "", "", "", "", f"{row['status']}, see: linear-neuron verify", "")
            continue
        table.add_row(
            row["version"],
            _minute(row["created_at"]),
            f"{row['target']} from {', '.join(row['features'])}",
            row["recipe"],
            f"{row['test_mse']:.2f}",
            f"{row['test_mse'] / row['floor_mse'] - 1:+.0%} ({row['floor_mse']:.2f})",
            row["status"],
            f"{row['bytes'] / 1000:.0f} kB",
        )
    reasons = [row["reason"] for row in rows]
    return _render(table, reasons) if rows else "There is no version yet; make one by: linear-neuron retrain\n"


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
    table = Table(box=None, pad_edge=False)
    for head in ("at (UTC)", "what", "version", "in the place of", "by"):
        table.add_column(head, no_wrap=True)
    for row in rows:
        table.add_row(_minute(row["at"]), row["action"], row["version"], row["replaced"] or "", row["by"])
    reasons = [row["reason"] for row in rows]
    return _render(table, reasons) if rows else "No version was promoted or refused yet.\n"


def _minute(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M}"


def _render(table: Table, reasons: list[str]) -> str:
    """Draw a table in 120 columns, and below each row its reason."""
    with (console := Console(width=WIDTH, file=StringIO())).capture() as lines:
        console.print(table)
    head, *rows = lines.get().splitlines()
    below = [f"  {reason if len(reason) <= WIDTH - 2 else reason[: WIDTH - 3] + '…'}" for reason in reasons]
    parts = [line for row, reason in zip(rows, below, strict=True) for line in (row.rstrip(), reason) if line.strip()]
    return "\n".join([head.rstrip(), *parts]) + "\n"
