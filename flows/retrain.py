"""Retrain: from the dataset to a published version of the model, and to a new champion if it is good enough."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from linear_neuron.tasks.dataset.sources import download
from linear_neuron.tasks.dataset.split import check_features, split
from linear_neuron.tasks.features.auto import choose
from linear_neuron.tasks.lineage import note_table, note_version, trace
from linear_neuron.tasks.monitoring.drift import watch_rows
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Promotion, Retention, Training
from linear_neuron.tasks.registry.promotion import apply_decisions, check_age, compare, find_refusal
from linear_neuron.tasks.registry.retention import clean
from linear_neuron.tasks.registry.versions import NewVersion, UnchangedVersion, begin, publish
from linear_neuron.tasks.reporting.approval import offer_versions
from linear_neuron.tasks.reporting.history import show_history
from linear_neuron.tasks.reporting.retrain_report import (
    draw,
    import_libraries,
    report,
    show_unchanged,
    write_predictions,
)
from linear_neuron.tasks.steps import end_as, name_run, send_heartbeats
from linear_neuron.tasks.training.describe import describe
from linear_neuron.tasks.training.findings import look
from linear_neuron.tasks.training.fit_data import prepare_fit
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.train import prepare, train


def describe_run(given: dict[str, Any]) -> str:
    """Say what a run is about, such as `RM notebook 2026-11-23`."""
    dataset, training = given["dataset"], given["training"]
    recipe = training.resolve(dataset.is_own).recipe_name
    return f"{'+'.join(dataset.entries)} {recipe} {datetime.now(UTC):%Y-%m-%d}"


@flow(name="retrain", flow_run_name=name_run("retrain", describe_run))
@send_heartbeats
@trace
def retrain(
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    force: bool = False,
) -> str:
    """Train one neuron on a dataset and publish it as a version of the model, with its report and predictions.

    Args:
        dataset: Which rows to learn from, and which of their columns.
        training: The recipe; the defaults are those of the tutorial.
        table: The small table of predictions that people like to look at.
        promotion: Whether the new version may serve.
        retention: Which old versions are kept.
        force: Train even if nothing has changed since an existing version.

    Returns:
        The version's folder or URL; in a state named Unchanged if it is one that was there already, and Refused if the
        new one is not promoted.
    """
    training = training.resolve(dataset.is_own)
    dataset, auto = choose(dataset)
    snapshot = download(dataset)
    note_table(dataset, snapshot)
    rows = split(snapshot, dataset, training.validation_split)
    apply_decisions(rows, promotion)  # those of runs that were killed
    watch_rows(snapshot, rows, dataset)
    check_age(promotion)
    new_version = begin(snapshot.origin.sha256, dataset, training, table, force)
    prepare(needed=isinstance(new_version, NewVersion))
    if isinstance(new_version, UnchangedVersion):
        show_unchanged(new_version.version)
        offer_versions()
        return end_as("Unchanged", f"Nothing has changed since {new_version.version}.", new_version.location)
    import_libraries()  # while the training process imports Keras
    folder = new_version.folder
    rows = check_features(rows)
    data = prepare_fit(rows, training)
    findings = look(data, snapshot, dataset, auto)  # while the training process imports Keras
    evaluation = evaluate(data, train(data, training, folder), table)
    write_predictions(data.split, evaluation, folder)
    draw(data.split, evaluation, folder)
    model = describe(new_version, snapshot, evaluation, auto, findings)
    decision = compare(model, evaluation.predicted["test"], rows, promotion, evaluation.rolled)
    report(model, evaluation, decision, rows, folder, findings)
    publish(model.version, folder)
    note_version(model)
    apply_decisions(rows, promotion)
    clean(retention)
    show_history()
    offer_versions()
    if refusal := find_refusal(model.version):
        return end_as("Refused", refusal, new_version.location)
    return new_version.location
