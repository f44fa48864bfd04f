"""Retrain: from the dataset to a published version of the model, and to a new champion if it deserves to be one."""

from datetime import UTC, datetime

from prefect import flow, runtime

from tasks.dataset.sources import download
from tasks.dataset.split import extract_features, split
from tasks.name import entitle
from tasks.parameters import Dataset, ExampleInputs, Promotion, Retention, Training
from tasks.registry.drift import watch_rows
from tasks.registry.promotion import apply_decisions, check_age, compare
from tasks.registry.retention import clean
from tasks.registry.versions import NewVersion, UnchangedVersion, begin, publish
from tasks.reporting.history import show_history
from tasks.reporting.retrain import draw, prepare, report, write_predictions
from tasks.steps import end_as
from tasks.training.describe import describe
from tasks.training.metrics import evaluate
from tasks.training.train import train


def run_name() -> str:
    """Name the run, such as `retrain RM notebook 2026-11-23`, so that runs can be told apart in a list."""
    parameters = runtime.flow_run.get_parameters()
    features = "+".join(parameters["dataset"].features)
    training = parameters["training"].resolve(parameters["dataset"].is_own)
    return entitle(f"retrain {features} {training.recipe_name} {datetime.now(UTC):%Y-%m-%d}")


@flow(name="retrain", flow_run_name=run_name)
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
        The version's folder or URL; in a state named Unchanged if it is one that was there already.
    """
    training = training.resolve(dataset.is_own)
    snapshot = download(dataset)
    all_columns = split(snapshot, dataset, training.validation_split)
    apply_decisions(all_columns, promotion)  # those of runs that were killed
    watch_rows(snapshot, all_columns, dataset)
    check_age(promotion)
    new_version = begin(snapshot.origin.sha256, dataset, training, table, force)
    prepare(needed=isinstance(new_version, NewVersion))
    if isinstance(new_version, UnchangedVersion):
        return end_as("Unchanged", f"Nothing has changed since {new_version.version}.", new_version.location)
    folder = new_version.folder
    rows = extract_features(all_columns, dataset)
    evaluation = evaluate(rows, train(rows, training, folder), table)
    write_predictions(rows, evaluation, folder)
    draw(rows, evaluation, folder)
    model = describe(new_version, snapshot, rows, evaluation)
    decision = compare(model, evaluation.predicted["test"], all_columns, promotion)
    report(model, evaluation, decision, all_columns, folder)
    publish(model.version, folder)
    apply_decisions(all_columns, promotion)
    clean(retention)
    show_history()
    return new_version.location
