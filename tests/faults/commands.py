"""What is run to be killed: the flows, as plain functions outside of a flow run."""

import threading
from datetime import datetime, timedelta, tzinfo
from typing import Any

# Imported here and not when a child first needs them, so that a step is one of the product and not of Python.
import s3fs  # noqa: F401
from botocore.loaders import JSONFileLoader
from botocore.session import get_session

import tasks.registry.retention as retention
import tasks.reporting.csv_files
import tasks.reporting.plots  # noqa: F401
from flows.predict import predict as predict_flow
from flows.promote import promote as promote_flow
from flows.promote import rollback as rollback_flow
from flows.retrain import retrain as retrain_flow
from tasks.errors import UserError
from tasks.parameters import Batch, Dataset, Retention, Training
from tasks.storage.store import Store

__all__ = ["UserError", "clean", "predict", "promote", "retrain", "rollback"]


def promote(version: str) -> str:
    return promote_flow.fn(version)


def rollback() -> str:
    return rollback_flow.fn()


def predict(**batch: Any) -> str:
    return predict_flow.fn(Batch(**batch))


def retrain(force: bool = False, **training: Any) -> str:
    return str(retrain_flow.fn(Dataset(source="package"), Training(**training), force=force))


def clean(days_later: int = 0, **wishes: Any) -> str:
    """Clean the store, as if so many days had passed."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return super().now(tz) + timedelta(days=days_later)

    vars(retention)["datetime"] = Later
    return " ".join(retention.clean_store(Store(), Retention(**wishes)))


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
