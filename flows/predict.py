"""Predict: from files of inputs to files of predictions."""

from pathlib import PurePath

from prefect import flow, runtime

from tasks.name import entitle
from tasks.parameters import Batch
from tasks.reporting.predict import report_batch
from tasks.scoring.batch import check_failures, invalidate_manifest, publish_batch, start_batch
from tasks.scoring.drift import watch_batch
from tasks.scoring.groups import score_groups
from tasks.scoring.inputs import find_inputs
from tasks.scoring.load import load_predictions
from tasks.scoring.plan import plan_batch
from tasks.steps import end_as


def run_name() -> str:
    """Name the run, such as `predict inbox`, so that runs can be told apart in a list."""
    inputs = runtime.flow_run.get_parameters()["batch"].inputs
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return entitle(f"predict {PurePath(inputs[0]).name}{more}")


@flow(name="predict", flow_run_name=run_name)
def predict(batch: Batch = Batch()) -> str:
    """Predict files with the champion: for each a file of predictions and one of rejects, and a manifest for all.

    Args:
        batch: Which files to predict, and how.

    Returns:
        Where the predictions are: their folder or URL.
    """
    root, files = find_inputs(batch)
    if not files:
        return end_as("Empty", "There is no file to predict.", root)
    batch_run = start_batch(batch, root)
    groups, kept = plan_batch(files, batch_run)
    invalidate_manifest(groups, batch_run)
    results = score_groups(groups, kept, batch_run)
    manifest = publish_batch(results, files, batch_run)
    load_predictions(manifest, batch_run)
    watch_batch(manifest, batch_run)
    report_batch(manifest, batch_run)
    check_failures(manifest, batch_run)
    return batch_run.location
