"""The command line: the flows' own parameter models, unfolded into flags."""

import os
import sys
import time
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, validators
from pydantic import ValidationError

from deployments.server import begin_server
from tasks.errors import UserError
from tasks.parameters import Batch, Dataset, ExampleInputs, Promotion, Retention, Training

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # no telemetry from the server, which also locks SQLite at start-up
    "DO_NOT_TRACK": "1",  # nor from the client
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
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    force: bool = False,
    profile: bool = False,
    store: StoreFlag = "store",
) -> None:
    """Train a new version of the model, and print the folder it is published in as the last line.

    Args:
        force: Train even if nothing has changed since an existing version.
        profile: Say where the time went.
    """
    began = time.time()
    os.environ["LINEAR_NEURON_STORE"] = store
    from tasks.registry.versions import find_unchanged, read_version
    from tasks.reporting.retrain import prepare, summarize
    from tasks.storage.store import Store

    wait_for_server = begin_server()
    if force or not find_unchanged(Store(), dataset, training, table):
        prepare()  # The flow does so too; here it need not wait for the server.
    from flows.retrain import retrain as flow
    from tasks.registry.champion import describe_standing

    wait_for_server()
    state = flow(dataset, training, table, promotion, retention, force, return_state=True)
    location = state.result()
    if profile and state.state_details.flow_run_id:
        from deployments.profile import describe_phases

        sys.stdout.write(describe_phases(state.state_details.flow_run_id, began))
    version = location.rpartition("/")[2]
    sys.stdout.write(summarize(location, read_version(Store(), version), describe_standing(Store(), version)))


@app.command
def models(*, json: bool = False, store: StoreFlag = "store") -> None:
    """List the versions in the store: how good each is, and which one serves.

    Args:
        json: Print the same as JSON.
    """
    from tasks.registry.catalogue import list_models, render_models
    from tasks.storage.store import Store, to_json

    rows = list_models(Store(store))
    sys.stdout.write(to_json(rows).decode() if json else render_models(rows))


@app.command
def promote(version: str, *, reason: str = "by hand", store: StoreFlag = "store") -> None:
    """Make a version the champion, which serves from then on.

    Args:
        version: Its name, as `linear-neuron models` prints it.
        reason: Why, for those who read promotions.jsonl later.
    """
    os.environ["LINEAR_NEURON_STORE"] = store
    wait_for_server = begin_server()
    from flows.promote import promote as flow

    wait_for_server()
    sys.stdout.write(flow(version, reason) + "\n")


@app.command
def rollback(*, reason: str = "by hand", store: StoreFlag = "store") -> None:
    """Make the champion before the champion again.

    Args:
        reason: Why, for those who read promotions.jsonl later.
    """
    os.environ["LINEAR_NEURON_STORE"] = store
    wait_for_server = begin_server()
    from flows.promote import rollback as flow

    wait_for_server()
    sys.stdout.write(flow(reason) + "\n")


@app.command
def reproduce(version: str, *, store: StoreFlag = "store") -> int:
    """Train a version again from its lineage, and say whether the weights agree to the bit; if not, exit with 1.

    Args:
        version: Its name, as `linear-neuron models` prints it.
    """
    os.environ["LINEAR_NEURON_STORE"] = store
    wait_for_server = begin_server()
    from flows.reproduce import reproduce as flow

    wait_for_server()
    agrees, message = flow(version)
    sys.stdout.write(message + "\n")
    return 0 if agrees else 1


@app.command
def clean(*, retention: Retention = Retention(), dry_run: bool = False, store: StoreFlag = "store") -> None:
    """Remove the versions and datasets that retention does not keep.

    Args:
        dry_run: Only print what would be removed.
    """
    from tasks.registry.retention import clean_store
    from tasks.storage.store import Store

    for name in clean_store(Store(store), retention, dry_run):
        sys.stdout.write(f"{'would remove' if dry_run else 'removed'} {name}\n")


@app.command
def verify(*, store: StoreFlag = "store") -> int:
    """Check every digest and the champion's pointer; exit with 1 and name each file that differs."""
    from tasks.registry.verify import verify
    from tasks.storage.store import Store

    found = verify(Store(store))
    sys.stdout.write("".join(f"{line}\n" for line in found) or "Every file is as its manifest says.\n")
    return 1 if found else 0


@app.command
def predict(
    *inputs: Annotated[str, Parameter(help=Batch.model_fields["inputs"].description)],
    batch: Annotated[Batch, Parameter(name="*")] = Batch(),
    store: StoreFlag = "store",
) -> None:
    """Predict files with the champion, and print the folder of the predictions as the last line."""
    os.environ["LINEAR_NEURON_STORE"] = store
    wait_for_server = begin_server()
    from flows.predict import predict as flow
    from tasks.reporting.predict import summarize
    from tasks.scoring.batch import read_manifest

    wait_for_server()
    location = flow(batch.model_copy(update={"inputs": list(inputs)} if inputs else {}))
    sys.stdout.write(summarize(read_manifest(location), location))


@app.command
def up(
    *,
    host: Annotated[str, Parameter(help="Address to listen on; any but loopback needs an auth string.")] = "127.0.0.1",
    port: Annotated[
        int, Parameter(help="Port of the API and the UI.", validator=validators.Number(gte=1, lte=65535))
    ] = 4200,
    store: StoreFlag = "store",
) -> None:
    """Start a Prefect server with its UI, the deployments and a worker, in the foreground; Ctrl-C stops them all."""
    os.environ["LINEAR_NEURON_STORE"] = store
    from deployments import stack

    stack.up(host, port)


@app.command
def deploy() -> None:
    """Register the work pool, the deployments and the automations at PREFECT_API_URL, as the files have them."""
    from deployments import deploy

    deploy.run()


def main() -> None:
    """Runs a command; a mistake of the user's ends it with one sentence and status 2."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        sys.exit(app(exit_on_error=False, print_error=False))
    except (UserError, CycloptsError) as error:
        sys.stderr.write(f"linear-neuron: {_explain(error)}\n")
        sys.exit(2)


def _explain(error: Exception) -> str:
    """One line; where a value broke a parameter's rule, the flag, the rule and the value."""
    if isinstance(rules := error.__cause__, ValidationError):
        group = "" if rules.title == Batch.__name__ else f"{rules.title.lower()}."  # A batch's flags have no prefix.
        message = [
            f"--{group}{'.'.join(map(str, rule['loc'])).replace('_', '-')}: {rule['msg']}, not {rule['input']!r}"
            for rule in rules.errors()
        ]
        return "; ".join(message) + "."
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
