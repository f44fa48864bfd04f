"""What is in the store."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.registry.champion import read_champion, read_log
from tasks.registry.versions import list_versions, read_manifest, read_version
from tasks.storage.store import Store


def list_models(store: Store) -> list[dict[str, Any]]:
    """A row a complete version, oldest first; `status` is champion, previous, refused, promoted or nothing."""
    champion = read_champion(store)
    last = {entry["version"]: entry["action"] for entry in read_log(store)}
    rows = []
    for version in list_versions(store):
        neuron, test = read_version(store, version), read_version(store, version).metrics["test"]
        status = last.get(version, "")
        if champion:
            status = {champion.version: "champion", champion.previous: "previous"}.get(version, status)
        rows.append(
            {
                "version": version,
                "created_at": neuron.created_at.isoformat(timespec="seconds"),
                "features": neuron.features,
                "test_mse": test["neuron"]["mse"],
                "floor_mse": test["least_squares"]["mse"],
                "status": status,
                "bytes": sum(file["bytes"] for file in read_manifest(store, version)["files"].values()),
            }
        )
    return rows


def render_models(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for the terminal, the newest version last."""
    table = Table(box=None, pad_edge=False)
    for head in ("version", "age", "features", "test MSE", "against the floor", "status", "size"):
        table.add_column(head, justify="right" if head in ("test MSE", "size") else "left", no_wrap=True)
    for row in rows:
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
