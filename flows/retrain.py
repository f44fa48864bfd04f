"""Retrain: from the dataset to a published version of the model."""

from datetime import UTC, datetime

from prefect import flow, runtime

from tasks.download import download
from tasks.features import extract_features
from tasks.metrics import evaluate
from tasks.neuron import train
from tasks.parameters import Dataset, Table, Training
from tasks.plots import draw
from tasks.predictions import write_predictions
from tasks.report import report
from tasks.split import split
from tasks.versions import begin, describe, publish


def run_name() -> str:
    """Such as `retrain RM notebook 2026-11-23`, so that a list of runs tells a story."""
    parameters = runtime.flow_run.get_parameters()
    features = "+".join(parameters["dataset"].features)
    return f"retrain {features} {parameters['training'].recipe} {datetime.now(UTC):%Y-%m-%d}"


@flow(name="retrain", flow_run_name=run_name)
def retrain(dataset: Dataset = Dataset(), training: Training = Training(), table: Table = Table()) -> str:
    """Trains one neuron on a dataset and publishes it as a version of the model, with its report and predictions.

    Args:
        dataset: Which rows to learn from, and which of their columns.
        training: The recipe; the defaults are those of the tutorial.
        table: The small table of predictions that people like to look at.

    Returns:
        Where the version was published: its folder or URL.
    """
    data = download(dataset)
    rows = extract_features(split(data, dataset, training.validation_split), dataset)
    version, folder = begin()
    trained = train(rows, training, folder)
    evaluation = evaluate(rows, trained)
    predicted = write_predictions(rows, trained, table, folder)
    draw(rows, trained, evaluation, folder)
    neuron = describe(version, data, rows, training, trained, evaluation, folder)
    report(neuron, trained, predicted, folder)
    return publish(version, folder)
