"""What is run to be killed: the flows, as plain functions outside of a flow run."""

import os
import tempfile
import threading
from dataclasses import replace
from itertools import repeat
from typing import Any

# Imported here and not when a child first needs them, so that a step is one of the product and not of Python.
import pandas  # noqa: F401
import s3fs
from botocore.loaders import JSONFileLoader
from botocore.session import get_session

import linear_neuron.tasks.reporting.plots
import linear_neuron.tasks.scoring.plan
import linear_neuron.tasks.scoring.run
import linear_neuron.tasks.tables.csv
from linear_neuron.flows.actuals import actuals as actuals_flow
from linear_neuron.flows.backtest import backtest as backtest_flow
from linear_neuron.flows.predict import predict as predict_flow
from linear_neuron.flows.promote import promote as promote_flow
from linear_neuron.flows.promote import rollback as rollback_flow
from linear_neuron.flows.retrain import retrain as retrain_flow
from linear_neuron.tasks.dataset import boston
from linear_neuron.tasks.dataset.boston import fetch_file
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.forget import Search, describe, forget
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset, Period, Retention, Training
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.scoring.run import score_group
from linear_neuron.tasks.storage.store import IN_TIME, WHOLE, Store, digest
from tests.faults.faults import DATABASE, set_clock, skip_waits

__all__ = ["UserError", "actuals", "clean", "fetch", "impatiently", "predict", "promote", "retrain", "rollback"]


def promote(version: str) -> str:
    return promote_flow.fn(version)


def rollback() -> str:
    return rollback_flow.fn()


def predict(**batch: Any) -> str:
    return predict_flow.fn(Batch(**batch))


def predict_query(**batch: Any) -> str:
    """Predict the rows of a query on a database in the folder for temporary files, and load them into a table of it."""
    os.environ["LINEAR_NEURON_CONNECTION_SALES"] = f"sqlite:///{tempfile.gettempdir()}/{DATABASE}"
    return predict_flow.fn(Batch(connection="sales", into="predicted", **batch))


def predict_into(address: str, **batch: Any) -> str:
    """Predict files, and load the predictions into a table of a database."""
    os.environ["LINEAR_NEURON_CONNECTION_SALES"] = address
    return predict_flow.fn(Batch(connection="sales", into="predicted", **batch))


def predict_ranges(**batch: Any) -> str:
    """Predict files in ranges, by the steps that the workers of a cluster run, in this process."""
    vars(linear_neuron.tasks.scoring.plan)["RANGE_BYTES"] = vars(linear_neuron.tasks.tables.csv)["BLOCK_BYTES"] = 1000
    vars(linear_neuron.tasks.scoring.run)["_run_groups"] = lambda groups, batch_run: map(
        score_group, groups, repeat(batch_run)
    )
    vars(linear_neuron.tasks.scoring.plan)["GROUP_FILES"] = 2
    return predict_flow.fn(Batch(runner="dask", **batch))


def actuals(**actuals: Any) -> str:
    return actuals_flow.fn(Actuals(**actuals))


def retrain(force: bool = False, **training: Any) -> str:
    return str(retrain_flow.fn(Dataset(source="package"), Training(**training), force=force))


def retrain_table(**dataset: Any) -> str:
    return str(retrain_flow.fn(Dataset(**dataset)))


def backtest(period: dict[str, Any], **dataset: Any) -> str:
    return backtest_flow.fn(Period(**period), Dataset(**dataset))


def clean(days_later: int = 0, **wishes: Any) -> str:
    """Clean the store, as if `days_later` days had passed."""
    if days_later:
        set_clock(days_later)
    return " ".join(clean_store(Store(), Retention(**wishes)))


def forget_key(key: str) -> str:
    return describe(forget(Search(Store(), key, "", ()), "asked for"), removed=True)


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
