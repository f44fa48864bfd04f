"""Retrain: from the dataset to a published version of the model, and to a new champion if it deserves to be one."""

from datetime import UTC, datetime

from prefect import flow, runtime
from prefect.states import Completed

from tasks.dataset.download import download
from tasks.dataset.split import extract_features, split
from tasks.parameters import Dataset, ExampleInputs, Promotion, Retention, Training
from tasks.registry.promotion import apply_decision, compare
from tasks.registry.retention import clean
from tasks.registry.versions import begin, publish
from tasks.reporting.retrain import report
from tasks.training.describe import describe
from tasks.training.metrics import evaluate
from tasks.training.process import warm_up
from tasks.training.train import train


def run_name() -> str:
    """Such as `retrain RM notebook 2026-11-23`, so that a list of runs tells a story."""
    parameters = runtime.flow_run.get_parameters()
    features = "+".join(parameters["dataset"].features)
    return f"retrain {features} {parameters['training'].recipe} {datetime.now(UTC):%Y-%m-%d}"


@flow(name="retrain", flow_run_name=run_name)
def retrain(
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    force: bool = False,
) -> str:
    """Trains one neuron on a dataset and publishes it as a version of the model, with its report and predictions.

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
    data = download(dataset)
    all_columns = split(data, dataset, training.validation_split)
    draft = begin(data, dataset, training, table, force)
    if draft.unchanged:
        message = f"Nothing has changed since {draft.version}."
        # Prefect takes a returned state for the run's own, and its data for the result.
        return Completed(name="Unchanged", message=message, data=draft.location)  # type: ignore[return-value]

    warm_up()
    # Only what trains pays for the import of pandas and matplotlib.
    from tasks.reporting.csv_files import write_predictions
    from tasks.reporting.plots import draw

    rows = extract_features(all_columns, dataset)
    trained = train(rows, training, draft)
    evaluation = evaluate(rows, trained)
    predicted = write_predictions(rows, trained, table, draft)
    draw(rows, trained, evaluation, draft)
    neuron = describe(draft, data, rows, training, trained, evaluation)
    decision = compare(neuron, all_columns, promotion)
    report(draft, neuron, trained, predicted, decision)
    publish(draft)
    apply_decision(draft.version, decision)
    clean(retention)
    return draft.location
