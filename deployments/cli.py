"""The command line: the flows' own parameter models, unfolded into flags."""

import logging
import os
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter

from deployments.cli_actuals import actuals
from deployments.cli_backtest import backtest
from deployments.cli_base import Json, Version, print_result
from deployments.cli_models import history, models, sql
from deployments.cli_server import deploy, up
from deployments.mistakes import explain
from tasks.errors import UserError, WorkError
from tasks.garbage import collect_rarely
from tasks.name import VARIABLE, check_name
from tasks.parameters import Batch, Dataset, ExampleInputs, Promotion, Retention, Training

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # no telemetry from the server, which also locks SQLite at start-up
    "DO_NOT_TRACK": "1",  # nor from the client
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; automations.yaml waits for three of them
}


def _show_default(value: object) -> str | None:
    """Say a default as one would type it, and nothing of one that is empty or off."""
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return None if value is False else text or None


Reason = Annotated[str, Parameter(help="Why, for those who read the history later.")]
EVERY_COMMAND = Group("Every command", sort_key=1)

app = App(
    name="linear-neuron",
    help="Retrain a one-neuron Keras model on Prefect, and predict files with it.",
    help_format="plaintext",  # As markdown, what stands in <angle brackets> would be left out.
    version=lambda: metadata.version("linear-neuron"),
    default_parameter=Parameter(consume_multiple=True, negative_iterable="", show_default=_show_default),
)
app.register_install_completion_command(help="Have this shell complete the commands and their flags.")


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    store: Annotated[str, Parameter(env_var="LINEAR_NEURON_STORE", group=EVERY_COMMAND)] = "store",
    name: Annotated[str, Parameter(env_var=VARIABLE, group=EVERY_COMMAND)] = "",
    verbose: Annotated[bool, Parameter(negative="", group=EVERY_COMMAND)] = False,
) -> object:
    """Run a command.

    Args:
        store: Folder or URL (s3://bucket/prefix) of the model store.
        name: Which of several models, such as sales; its store is the folder or prefix beside it, such as store-sales.
        verbose: Say all that happens.
    """
    os.environ["LINEAR_NEURON_STORE"], os.environ[VARIABLE] = store, check_name(name)
    logging.getLogger("linear_neuron").setLevel(logging.DEBUG if verbose else logging.INFO)
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


@app.command
def retrain(
    *,
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Train a new version of the model, and print the folder it is published in as the last line.

    Args:
        force: Train even if nothing has changed since an existing version.
    """
    from tasks.training.process import cool_down, warm_up

    warm_up()  # It imports Keras, which takes longer than all that this process does until it trains.
    from tasks.registry.versions import read_version, will_be_unchanged
    from tasks.storage.store import Store

    if not force and will_be_unchanged(Store(), dataset, training, table):
        cool_down()  # The flow looks again, and warms up another where something has changed since.
    from deployments.runs import run
    from flows.retrain import retrain as flow
    from tasks.registry.champion import describe_standing
    from tasks.reporting.retrain import summarize

    began = datetime.now(UTC)
    location, store = run(flow, dataset, training, table, promotion, retention, force), Store()
    model = read_version(store, location.rpartition("/")[2])
    unchanged, standing = model.created_at < began, describe_standing(store, model.version)
    value = {"location": location, "unchanged": unchanged, "standing": standing, **model.model_dump(mode="json")}
    print_result(value, summarize(store, model, unchanged), json)


@app.command
def promote(version: Version, /, *, reason: Reason = "by hand", json: Json = False) -> None:
    """Make a version the champion, which serves from then on."""
    from deployments.runs import run
    from flows.promote import promote as flow

    _print_champion(run(flow, version, reason, quiet=True), json)


@app.command
def rollback(*, reason: Reason = "by hand", json: Json = False) -> None:
    """Make the champion before the champion again; each further rollback goes one more step back."""
    from deployments.runs import run
    from flows.promote import rollback as flow

    _print_champion(run(flow, reason, quiet=True), json)


def _print_champion(message: str, json: bool) -> None:
    from tasks.registry.champion import read_champion
    from tasks.storage.store import Store

    champion = read_champion(Store())
    print_result(champion and champion.model_dump(mode="json", exclude={"entry", "removing"}), f"{message}\n", json)


@app.command
def reproduce(version: Version, /) -> int:
    """Train a version again from its lineage, and say whether the weights agree to the bit; if not, exit with 1."""
    from tasks.training.process import warm_up

    warm_up()
    from deployments.runs import run
    from flows.reproduce import reproduce as flow

    agrees, message = run(flow, version, quiet=True)
    sys.stdout.write(f"{message}\n")
    return 0 if agrees else 1


@app.command
def clean(*, retention: Retention = Retention(), dry_run: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Remove the versions and datasets that retention does not keep.

    Args:
        dry_run: Only print what would be removed.
    """
    from tasks.registry.retention import clean_store
    from tasks.storage.store import Store

    names = clean_store(Store(), retention, dry_run)
    lines = [f"{'would remove' if dry_run else 'removed'} {name}\n" for name in names]
    sys.stdout.write("".join(lines) or "There is nothing to remove.\n")


@app.command
def verify(*, output: tuple[str, ...] = (), deep: bool = True, json: Json = False) -> int:
    """Check every digest and the champion's pointer; exit with 1 and name each file that differs.

    Args:
        output: More folders or URLs with batches, such as those given to `predict --output`.
        deep: Check digests, which reads every file. Without, only that all is there and has its size.
    """
    from tasks.registry.verify import verify
    from tasks.storage.store import Store

    found = verify(Store(), output, deep=deep)
    print_result(found, "".join(f"{line}\n" for line in found) or "Every file is as its manifest says.\n", json)
    return 1 if found else 0


@app.command(usage="Usage: linear-neuron predict [OPTIONS] [INPUTS...]")
def predict(
    *inputs: Annotated[str, Parameter(help="What to predict: the same as after --inputs.")],
    batch: Annotated[Batch, Parameter(name="*")] = Batch(),
    json: Json = False,
) -> None:
    """Predict files with the champion, and print the folder of the predictions as the last line."""
    from deployments.runs import run
    from flows.predict import predict as flow
    from tasks.registry.versions import read_version
    from tasks.reporting.predict import summarize
    from tasks.scoring.batch import read_manifest
    from tasks.storage.store import Store

    location = run(flow, batch.model_copy(update={"inputs": list(inputs)} if inputs else {}))
    manifest = read_manifest(location)
    summary = summarize(manifest, read_version(Store(), manifest.version), location)
    print_result({"location": location, **manifest.model_dump(mode="json")}, summary, json)


for command in (models, history, sql, actuals, backtest, up, deploy):
    app.command(command)


def main() -> None:
    """Run a command. What goes wrong ends it with one sentence, and status 1 or 2 as in tasks/errors.py."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    collect_rarely()
    try:
        sys.exit(app.meta(exit_on_error=False, print_error=False, result_action="return_value"))
    except (UserError, CycloptsError) as error:
        sys.stderr.write(f"linear-neuron: {explain(error)}\n")
        sys.exit(1 if isinstance(error, WorkError) else 2)


if __name__ == "__main__":
    main()
