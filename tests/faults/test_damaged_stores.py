"""A store that every command has written to: whichever of its files is damaged, commands answer in a sentence."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import promote
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.forget import Search, forget
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset, Period, Retention
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store

DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x15]) + data[len(data) // 2 + 1 :],
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "deep": lambda _: b"[" * 100_000,
    "folder": None,
    "missing": None,
}
KINDS = {
    "champion": "champion.json",
    "log": "promotions.jsonl",
    "log of forgotten rows": "forgotten.jsonl",
    "factors": "factors.json",
    "looks": "looks.json",
    "pending decision": "pending/*.json",
    "snapshot with levels": "datasets/*.npy",
    "model": "models/*/model.json",
    "manifest of a version": "models/*/manifest.json",
    "test rows": "models/*/predictions_test.csv",
    "index of actuals": "actuals/index.json",
    "actuals": "actuals/*.parquet",
    "rejects of actuals": "actuals/*.rejects.csv",
    "manifest of a backtest": "backtests/*/manifest.json",
    "steps of a backtest": "backtests/*/backtest.csv",
    "manifest of a batch": "predictions/*/manifest.json",
    "predictions": "predictions/*/a.predictions.csv",
    "replaced predictions": "predictions/*/.older/*/a.predictions.csv",
    "rejects": "predictions/*/b.rejects.csv",
}
REBUILT = ("factors", "looks", "pending decision")  # what needs no copy to restore it from
LOST = ("champion", "log of forgotten rows", "factors", "looks", "index of actuals")  # what nothing else names
MANIFESTS = ("manifest of a version", "manifest of a backtest", "manifest of a batch")
UNSIGNED = ("champion", "log", "log of forgotten rows", *MANIFESTS)  # of which a changed byte may be a good one


class Place(NamedTuple):
    """Where the store, its table, its inputs and its actual values are."""

    root: Path

    @property
    def dataset(self) -> Dataset:
        return Dataset(
            source=str(self.root / "table.csv"),
            features=["area"],
            categories=["city"],
            missing="fill",
            key="id",
            target="price",
            time="sold_on",
        )

    def batch(self, **more: Any) -> Batch:
        return Batch(inputs=[str(self.root / "inbox")], key="id", **more)

    def restore(self, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Restore the store from its copy, and return its folder."""
        shutil.rmtree(root := self.root / "store")
        shutil.copytree(self.root / "copy", root)
        monkeypatch.setenv("LINEAR_NEURON_STORE", str(root))
        return root

    @property
    def actuals(self) -> Actuals:
        return Actuals(inputs=[str(self.root / "sold")])


def write_rows(path: Path, first: int, after: int, more: str = "") -> None:
    """Write sales of which some lack the area or the city."""
    rows = [
        f"k{n},2026-{1 + n // 28:02}-{1 + n % 28:02},{40 + n * 37 % 120 if n % 9 else ''},"
        f"{'ABC'[n % 3] * (n % 11 > 0)},{2 * (n * 37 % 120) + 10 * (n % 3) + n % 7}"
        for n in range(first, after)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["id,sold_on,area,city,price", *rows, more]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store with a file of every kind, two days old, beside a copy of it."""
    place = Place(root := tmp_path_factory.mktemp("place"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(root / "store"))
        write_rows(root / "table.csv", 0, 112)
        retrain.fn(place.dataset)
        write_rows(root / "inbox" / "b.csv", 140, 160, "x,y,z,A,1\n")
        for after in (140, 141):
            write_rows(root / "inbox" / "a.csv", 112, after)
            predict.fn(place.batch())
        write_rows(root / "sold" / "a.csv", 112, 150, "k999,,,,1\nk1000,,,,x\n")
        actuals.fn(place.actuals)
        write_rows(root / "sold" / "b.csv", 145, 158)
        actuals.fn(place.actuals)
        backtest.fn(Period.model_validate({"from": "2026-03-01", "to": "2026-04-01"}), place.dataset)
        forget(Search(Store(), "k5", "", ()), "asked for")
        assert verify(Store()) == []
    version = next((root / "store" / "models").iterdir()).name
    (root / "store" / "pending").mkdir(exist_ok=True)
    (root / "store" / "pending" / f"{version}.json").write_text('{"decision": null, "promotion": {}}')
    for path in (root / "store").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 200_000,) * 2)
    shutil.copytree(root / "store", root / "copy")
    return place


def list_commands(place: Place, version: str) -> dict[str, Callable[[], object]]:
    """List what is done to a damaged store, in this order."""
    return {
        "models": lambda: list_models(Store()),
        "predict": lambda: predict.fn(place.batch()),
        "predict, following": lambda: predict.fn(place.batch(interval_follow="actuals")),
        "actuals": lambda: actuals.fn(place.actuals),
        "clean": lambda: clean_store(Store(), Retention()),
        "retrain": lambda: retrain.fn(place.dataset),
        "promote": lambda: promote.fn(version),
        "forget": lambda: forget(Search(Store(), "k120", "id", ()), "asked for"),
    }


CASES = [
    (kind, damage)
    for kind, pattern in KINDS.items()
    for damage in DAMAGES
    if (kind in LOST if damage == "missing" else ".json" in pattern or damage in ("truncated", "flipped", "folder"))
]


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_commands_on_a_store_with_a_damaged_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str, damage: str
) -> None:
    root = place.restore(monkeypatch)
    path = sorted(root.glob(KINDS[kind]))[0]
    datasets = sorted((root / "datasets").iterdir())
    if change := DAMAGES[damage]:
        path.write_bytes(change(path.read_bytes()))
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    recorded = {*(root / "actuals").iterdir()}
    found = verify(Store())
    if kind not in REBUILT and not (kind in UNSIGNED and damage == "flipped"):
        assert 1 <= len(found) <= 2, found
        assert all(str(root) in fault or "dataset" in fault for fault in found)
    version = next((root / "models").iterdir()).name
    for name, command in list_commands(place, version).items():
        try:
            command()
        except UserError as error:
            assert "\n" not in str(error), name  # noqa: PT017
            assert str(path.parent) in str(error), name  # noqa: PT017
            assert kind not in REBUILT or damage == "folder", name
            assert not (kind in REBUILT and "The store refuses" in str(error)), name  # noqa: PT017
            if damage == "folder":
                assert "remove it" in str(error) or "restore" in str(error)  # noqa: PT017
    assert set(datasets) <= {*(root / "datasets").iterdir()} | {path}, "no snapshot of a version was removed"
    assert [it.name for it in (root / "models").iterdir()] == [version], "nothing was trained again"
    if kind == "index of actuals":
        assert recorded <= {*(root / "actuals").iterdir()} | {path}, "no recorded file was removed"
    if kind in ("snapshot with levels", "test rows", "replaced predictions"):
        assert str(path) in "".join(verify(Store())), "no command may list a damaged file as a whole one"


def test_a_store_that_is_only_read_predicts_elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    root = place.restore(monkeypatch)
    (root / ".lock").unlink(missing_ok=True)
    (root / ".lock").mkdir()  # No permission stops the tests of root.
    location = predict.fn(place.batch(output=str(place.root / "out")))
    assert verify(Store(), [location]) == []
    with pytest.raises(UserError, match=r"\.lock is a folder, but must be a file; remove it, or move it away"):
        predict.fn(place.batch())
