"""Predict: from files of inputs to files of predictions."""

from prefect import flow

from linear_neuron.tasks.lineage import note_batch, trace
from linear_neuron.tasks.monitoring.drift import find_batch_drift, watch_batch
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.reporting.batch_report import report_batch
from linear_neuron.tasks.scoring.batch import check_files, open_batch, publish_batch, set_aside, sum_up
from linear_neuron.tasks.scoring.done import move_done
from linear_neuron.tasks.scoring.load import load_predictions
from linear_neuron.tasks.scoring.plan import find_inputs, plan_batch
from linear_neuron.tasks.scoring.run import score_groups
from linear_neuron.tasks.steps import end_as, name_paths, name_run, send_heartbeats


@flow(name="predict", flow_run_name=name_run("predict", lambda given: name_paths(given["batch"].inputs)))
@send_heartbeats
@trace
def predict(batch: Batch = Batch()) -> str:
    """Predict files with the champion: for each a file of predictions and one of rejects, and a manifest for all.

    Args:
        batch: Which files to predict, and how.

    Returns:
        Where the predictions are: their folder or URL.
    """
    inputs = find_inputs(batch)
    if not inputs.files:
        return end_as("Empty", "There is no file to predict.", inputs.root)
    with open_batch(batch, inputs) as batch_run:
        groups, kept = plan_batch(inputs.files, batch_run)
        replaced = set_aside(groups, kept, batch_run)
        results = score_groups(groups, kept, batch_run)
        manifest = find_batch_drift(sum_up(results, replaced, inputs.files, batch_run), batch_run.model)
        manifest = publish_batch(manifest, batch_run)
        load_predictions(manifest, batch_run)
        note_batch(manifest, batch_run)
        move_done(manifest, batch_run)
        watch_batch(manifest, bool(batch.output))
        report_batch(manifest, batch_run)
        check_files(manifest, batch_run)
    return batch_run.location
