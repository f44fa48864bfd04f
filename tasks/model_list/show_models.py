"""What people see of a list of models: one table of all, and which runs failed."""

from linear_neuron.tasks.errors import WorkError
from linear_neuron.tasks.model_list.read_models import read_models
from linear_neuron.tasks.registry.last_runs import LastRun
from linear_neuron.tasks.registry.named_models import describe_model
from linear_neuron.tasks.steps import show_table, task
from linear_neuron.tasks.text import end_sentence, list_first, plural

KEY = "models"
SHOWN = 10  # failures that the state of a run has in full; the table has all
COLUMNS = ("model", "champion", "test RMSE", "alarm", "retrain", "predict", "actuals")


@task("Show all models")
def show_models(file: str) -> None:
    """Show a table of the models of a file, also of those that were not due."""
    rows = [describe_model(model.name) for model in read_models(file)]
    show_table(
        [{column: row.get(column) for column in COLUMNS} for row in rows],
        KEY,
        f"The models of {file}, and how they are",
    )


def check_runs(runs: dict[str, LastRun]) -> str:
    """Say how many models ran.

    Raises:
        WorkError: some failed; names them, and why.
    """
    failed = {name: run for name, run in runs.items() if run.failed}
    if failed:
        reasons = [f"{name}: {end_sentence(run.message or run.state)}" for name, run in failed.items()]
        raise WorkError(f"{len(failed)} of {plural(len(runs), 'model')} failed. {list_first(reasons, SHOWN, ' ')}")
    return f"{plural(len(runs), 'model')} ran."
