"""What is run to be killed: the flows, as plain functions outside of a flow run."""

import os
import threading
from dataclasses import replace
from typing import Any

# Imported here and not when a child first needs them, so that a step is one of the product and not of Python.
import s3fs
from botocore.loaders import JSONFileLoader
from botocore.session import get_session

import tasks.reporting.csv_files
import tasks.reporting.plots  # noqa: F401
from flows.actuals import actuals as actuals_flow
from flows.predict import predict as predict_flow
from flows.promote import promote as promote_flow
from flows.promote import rollback as rollback_flow
from flows.retrain import retrain as retrain_flow
from tasks.dataset import boston
from tasks.dataset.download import fetch_file
from tasks.errors import UserError
from tasks.parameters import Actuals, Batch, Dataset, Retention, Training
from tasks.registry.retention import clean_store
from tasks.storage.store import IN_TIME, WHOLE, Store, digest
from tests.faults.faults import set_clock, skip_waits

__all__ = ["UserError", "actuals", "clean", "fetch", "impatiently", "predict", "promote", "retrain", "rollback"]


def promote(version: str) -> str:
    return promote_flow.fn(version)


def rollback() -> str:
    return rollback_flow.fn()


def predict(**batch: Any) -> str:
    return predict_flow.fn(Batch(**batch))


def actuals(**actuals: Any) -> str:
    return actuals_flow.fn(Actuals(**actuals))


def retrain(force: bool = False, **training: Any) -> str:
    return str(retrain_flow.fn(Dataset(source="package"), Training(**training), force=force))


def retrain_table(**dataset: Any) -> str:
    return str(retrain_flow.fn(Dataset(**dataset)))


def clean(days_later: int = 0, **wishes: Any) -> str:
    """Clean the store, as if so many days had passed."""
    if days_later:
        set_clock(days_later)
    return " ".join(clean_store(Store(), Retention(**wishes)))


def fetch(url: str) -> str:
    """Fetch the dataset from some address, and say which source had it; what takes a minute takes a second here."""
    skip_waits()
    data, origin = fetch_file(Store(), replace(boston.FILE, url=url), "auto", timeout=0.5, deadline=1.5)
    assert digest(data) == boston.FILE.sha256
    return origin.source


def impatiently(work: str, port: int, **arguments: Any) -> str:
    """Run a command on the object store at another port; what takes minutes takes seconds here."""
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    s3fs.S3FileSystem.read_timeout = 1
    IN_TIME["timeout"] = WHOLE["timeout"] = 3
    skip_waits()
    return str(globals()[work](**arguments))


def warm_up_client() -> None:
    """Read the descriptions of S3 once for all children; that takes longer than what they ask it for."""
    read, known = JSONFileLoader.load_file, {}

    def load_file(self: Any, path: str) -> Any:
        if path not in known:
            known[path] = read(self, path)
        return known[path]

    JSONFileLoader.load_file = load_file
    get_session().create_client("s3")


warm_up_client()
assert threading.active_count() == 1, "a process with threads must not fork"
