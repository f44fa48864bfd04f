"""What is in the store."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.errors import UserError
from tasks.registry.champion import find_standings
from tasks.registry.versions import list_versions, read_manifest, read_version
from tasks.storage.store import Store


def list_models(store: Store) -> list[dict[str, Any]]:
    """List every complete version, oldest first; `status` is champion, previous, refused, promoted or nothing.

    Of a damaged version nothing else is known, so the other values are None, and its status says so.
    """
    standings = find_standings(store)
    return [_make_row(store, version, standings.get(version, ("", ""))[0]) for version in list_versions(store)]


def _make_row(store: Store, version: str, status: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("version", "created_at", "features", "test_mse", "floor_mse", "status", "bytes")
    )
    row |= {"version": version, "status": status}
    try:
        model, files = read_version(store, version), read_manifest(store, version)["files"]
        test = model.metrics["test"]
        return row | {
            "created_at": model.created_at.isoformat(timespec="seconds"),
            "features": model.features,
            "test_mse": test["neuron"]["mse"],
            "floor_mse": test["least_squares"]["mse"],
            "bytes": sum(file["bytes"] for file in files.values()),
        }
    except (UserError, KeyError, TypeError):
        return row | {"status": f"{status} (damaged)".strip()}


def render_models(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a table for the terminal, the newest version last."""
    table = Table(box=None, pad_edge=False)
    for head in ("version", "age", "features", "test MSE", "against the floor", "status", "size"):
        table.add_column(head, justify="right" if head in ("test MSE", "size") else "left", no_wrap=True)
    for row in rows:
        if row["bytes"] is None:
            table.add_row(row["version"], "", "", "", "", f"{row['status']}, see: linear-neuron verify", "")
            continue
        age = datetime.now(UTC) - datetime.fromisoformat(row["created_at"])
        table.add_row(
            row["version"],
            f"{age.days} d" if age.days else f"{age.seconds // 3600} h {age.seconds // 60 % 60} min",
            ", ".join(row["features"]),
            f"{row['test_mse']:.2f}",
            f"{row['test_mse'] / row['floor_mse'] - 1:+.0%} ({row['floor_mse']:.2f})",
            row["status"],
            f"{row['bytes'] / 1000:.0f} kB",
        )
    with (console := Console(width=160, file=StringIO())).capture() as lines:
        console.print(table)
    return lines.get() if rows else "There is no version yet; make one by: linear-neuron retrain\n"
