"""The command line: the flows' own parameter models, unfolded into flags."""

import os
import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from tasks.errors import UserError
from tasks.parameters import Dataset, Table, Training

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # no telemetry from the server, which also locks SQLite at start-up
    "DO_NOT_TRACK": "1",  # nor from the client
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # an empty home on a busy machine takes more than 20
}
StoreFlag = Annotated[
    str, Parameter(env_var="LINEAR_NEURON_STORE", help="Folder or URL (s3://bucket/prefix) of the model store.")
]

app = App(
    name="linear-neuron",
    help="Retrain a one-neuron Keras model on Prefect, and predict files with it.",
    default_parameter=Parameter(consume_multiple=True),
)


@app.command
def retrain(
    *,
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: Table = Table(),
    store: StoreFlag = "store",
) -> None:
    """Train a new version of the model, and print the folder it is published in as the last line."""
    os.environ["LINEAR_NEURON_STORE"] = store
    from flows.retrain import retrain as flow
    from tasks.report import summarize
    from tasks.store import Store

    place = flow(dataset, training, table)
    sys.stdout.write(summarize(place, Store().neuron(place.rpartition("/")[2])))


def main() -> None:
    """Runs a command; a mistake of the user's ends it with one sentence and status 2."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        app(exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        sys.stderr.write(f"linear-neuron: {_explain(error)}\n")
        sys.exit(2)


def _explain(error: Exception) -> str:
    """One line; where a value broke a parameter's rule, the flag, the rule and the value."""
    if isinstance(rules := error.__cause__, ValidationError):
        group = rules.title.lower()
        told = [
            f"--{group}.{'.'.join(map(str, rule['loc'])).replace('_', '-')}: {rule['msg']}, not {rule['input']!r}"
            for rule in rules.errors()
        ]
        return "; ".join(told) + "."
    return " ".join(str(error).split())
