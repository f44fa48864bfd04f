"""Many models: one run that runs a flow for each model of a list that is due, some at a time."""

from prefect import flow

from linear_neuron.tasks.model_list.due_models import find_due_models
from linear_neuron.tasks.model_list.model_processes import run_models
from linear_neuron.tasks.model_list.read_models import Kind, ModelList
from linear_neuron.tasks.model_list.show_models import check_runs, show_models
from linear_neuron.tasks.steps import end_as, name_run, send_heartbeats


@flow(name="retrain-models", flow_run_name=name_run("retrain models"))
@send_heartbeats
def retrain_models(models: ModelList = ModelList()) -> str:
    """Retrain each model of a list that is due.

    Args:
        models: Which models of which file.

    Returns:
        How many models ran.
    """
    return _run("retrain", models)


@flow(name="predict-models", flow_run_name=name_run("predict models"))
@send_heartbeats
def predict_models(models: ModelList = ModelList()) -> str:
    """Predict with the champion of each model of a list that is due.

    Args:
        models: Which models of which file.

    Returns:
        How many models ran.
    """
    return _run("predict", models)


@flow(name="actuals-models", flow_run_name=name_run("actuals models"))
@send_heartbeats
def actuals_models(models: ModelList = ModelList()) -> str:
    """Read the actual values of each model of a list that is due.

    Args:
        models: Which models of which file.

    Returns:
        How many models ran.
    """
    return _run("actuals", models)


def _run(kind: Kind, models: ModelList) -> str:
    due = find_due_models(kind, models)
    runs = run_models(kind, due, models.concurrency) if due else {}
    show_models(models.file)
    said = check_runs(runs)
    return said if runs else end_as("Empty", "No model is due.", said)
