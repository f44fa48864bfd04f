"""The command line: every command, its flags and what it prints.

The flags of a command are the flows' own parameter models, unfolded. What a command needs is imported when it runs, so
that help and the commands that only look into the store start without Prefect, Polars and Keras.
"""

import logging
import os
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from linear_neuron.deployments.explain import explain
from linear_neuron.deployments.flags import (
    OF_A_MODEL,
    By,
    Cron,
    Every,
    Host,
    Image,
    Interval,
    JobVariable,
    Json,
    ModelsFile,
    Once,
    Port,
    Reason,
    Timezone,
    Version,
    WorkPool,
    show_default,
    take_inputs,
)
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.name import VARIABLE, check_name, get_name
from linear_neuron.tasks.parameters import (
    Actuals,
    Batch,
    Dataset,
    ExampleInputs,
    Period,
    Promotion,
    Retention,
    Training,
)
from linear_neuron.tasks.parameters.base import hide_signature
from linear_neuron.tasks.process import collect_rarely

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # no telemetry from the server, which also locks SQLite at start-up
    "DO_NOT_TRACK": "1",  # nor from the client
}

EVERY_COMMAND = Group("Every command", sort_key=1)

app = App(
    name="linear-neuron",
    help="Retrain a one-neuron Keras model on Prefect, and predict files with it.",
    help_format="plaintext",  # As markdown, text in <angle brackets> would be left out.
    version=lambda: metadata.version("linear-neuron"),
    default_parameter=Parameter(consume_multiple=1, negative_iterable="", show_default=show_default),
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
        verbose: Enable debug logging.
    """
    os.environ["LINEAR_NEURON_STORE"], os.environ[VARIABLE] = store, check_name(name)
    logging.getLogger("linear_neuron").setLevel(logging.DEBUG if verbose else logging.INFO)
    if get_name() and tokens and tokens[0] in OF_A_MODEL and not {"-h", "--help"} & set(tokens):
        from linear_neuron.tasks.registry.named_models import check_named_model

        check_named_model()
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
    """Train a new version of the model; the last line printed is the folder of the version.

    Args:
        force: Train even if nothing has changed since an existing version.
    """
    from linear_neuron.tasks.training.training_process import cool_down, warm_up

    warm_up()  # It imports Keras, which takes longer than all that this process does until it trains.
    from linear_neuron.tasks.registry.versions import read_version, will_be_unchanged
    from linear_neuron.tasks.storage.store import Store

    if not force and will_be_unchanged(Store(), dataset, training, table):
        cool_down()  # The flow looks again, and warms up another where something has changed since.
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.retrain import retrain as flow
    from linear_neuron.tasks.registry.champion import describe_status
    from linear_neuron.tasks.reporting.retrain_report import summarize

    began = datetime.now(UTC)
    location, store = run(flow, dataset, training, table, promotion, retention, force), Store()
    model = read_version(store, location.rpartition("/")[2])
    unchanged, status = model.created_at < began, describe_status(store, model.version)
    value = {"location": location, "unchanged": unchanged, "status": status, **model.model_dump(mode="json")}
    print_result(value, summarize(store, model, unchanged), json)


@app.command(usage="Usage: linear-neuron predict [OPTIONS] [INPUTS...]")
def predict(
    *inputs: Annotated[str, Parameter(help="Files to predict: the same as after --inputs.")],
    batch: Annotated[Batch, Parameter(name="*")] = Batch(),
    json: Json = False,
) -> None:
    """Predict files with the champion; the last line printed is the folder of the predictions."""
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.predict import predict as flow
    from linear_neuron.tasks.reporting.batch_report import summarize
    from linear_neuron.tasks.scoring.batch import read_manifest

    location = run(flow, take_inputs(batch, inputs))
    manifest = read_manifest(location)
    summary = summarize(manifest, location)
    print_result({"location": location, **manifest.model_dump(mode="json")}, summary, json)


@app.command
def actuals(
    *inputs: Annotated[str, Parameter(help="Files of actual values: the same as after --inputs.")],
    actuals: Annotated[Actuals, Parameter(name="*")] = Actuals(),
    json: Json = False,
) -> None:
    """Compare actual values with earlier predictions, and print the realized performance of each version."""
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.actuals import actuals as flow
    from linear_neuron.tasks.monitoring.performance import read_performance
    from linear_neuron.tasks.reporting.actuals_report import summarize
    from linear_neuron.tasks.storage.store import Store, to_json

    location = run(flow, take_inputs(actuals, inputs))
    results = read_performance(Store())
    value = {"location": location, "results": [result.model_dump(mode="json") for result in results]}
    sys.stdout.write(to_json(value).decode() if json else summarize(results, location))


@app.command
def backtest(
    *,
    period: Annotated[Period, Parameter(name="*")],
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    json: Json = False,
) -> None:
    """Train on what was known on past days, and print the error of each model on the rows after its day.

    Nothing is promoted or published; the last line is the folder with the table, the chart and the report.
    """
    from linear_neuron.tasks.training.training_process import warm_up

    warm_up()
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.backtest import backtest as flow
    from linear_neuron.tasks.reporting.backtest_report import read_backtest, summarize

    location = run(flow, period, dataset, training)
    manifest = read_backtest(location)
    print_result({"location": location, **manifest}, summarize(manifest, location), json)


@app.command
def models(*, on: str = "", html: str = "", every: Every = False, json: Json = False) -> None:
    """List the versions in the store: their test errors, and which one is champion.

    Args:
        on: File, folder, glob or URL of CSV or Parquet with features and target, on which each version is measured too.
        html: File to write as a page with the same table, and a chart of the errors over time.
    """
    from linear_neuron.tasks.registry.catalogue import list_models, render_models
    from linear_neuron.tasks.storage.store import Store

    if every:
        from linear_neuron.tasks.registry.named_models import list_named_models, render_named_models

        named = list_named_models()
        print_result(named, render_named_models(named), json)
        return
    rows, said = list_models(store := Store()), ""
    on = hide_signature(on)
    if on:
        from linear_neuron.tasks.monitoring.compare_versions import add_realized, describe_realized, measure_versions

        add_realized(rows, realized := measure_versions(store, [row["version"] for row in rows], on))
        said = describe_realized(realized, on)
        if not realized.mse:
            raise UserError(said.strip())
    if html:
        from linear_neuron.tasks.reporting.history import write_page

        write_page(store, rows, said, html)
    if json:
        from linear_neuron.tasks.reporting.uncertainty import add_uncertainty

        rows = add_uncertainty(store, rows)
    print_result(rows, render_models(rows) + said, json)


@app.command
def diff(
    old: Version,
    new: Version,
    /,
    *,
    on: Annotated[str, Parameter(help="File, folder, glob or URL of CSV or Parquet to predict by both.")] = "",
    json: Json = False,
) -> None:
    """Show how two versions differ: weights, predictions on a file, and the most that any prediction can move."""
    from linear_neuron.tasks.monitoring.difference import compare, render
    from linear_neuron.tasks.registry.versions import read_version
    from linear_neuron.tasks.storage.store import Store

    store = Store()
    found = compare(read_version(store, old), read_version(store, new), hide_signature(on))
    print_result(found.dump(), render(found), json)


@app.command
def history(*, json: Json = False) -> None:
    """List who promoted, refused or rolled back which version: when, why, and which version it replaced."""
    from linear_neuron.tasks.registry.catalogue import list_history, render_history
    from linear_neuron.tasks.storage.store import Store

    rows = list_history(Store())
    print_result(rows, render_history(rows), json)


@app.command
def sql(
    version: Version = "",
    /,
    *,
    dialect: Annotated[Literal["postgres", "duckdb", "sqlite"], Parameter(help="The database that reads it.")],
    table: Annotated[str, Parameter(help="Table or view with the columns: TABLE or SCHEMA.TABLE.")] = "inputs",
    interval: Interval = 90,
) -> None:
    """Print a version, or else the champion, as one SELECT; log, exp and powers differ from predict by up to 1e-6."""
    from linear_neuron.tasks.registry.catalogue import find_champion
    from linear_neuron.tasks.registry.versions import read_version
    from linear_neuron.tasks.scoring.sql_expression import write_select
    from linear_neuron.tasks.storage.store import Store

    model = read_version(store := Store(), version or find_champion(store))
    sys.stdout.write(write_select(model, dialect, table, interval))


@app.command
def promote(version: Version, /, *, reason: Reason = "by hand", by: By = "", json: Json = False) -> None:
    """Make a version the champion: it predicts from now on."""
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.promote import promote as flow

    _print_champion(run(flow, version, reason, by, quiet=True), json)


@app.command
def rollback(*, reason: Reason = "by hand", by: By = "", json: Json = False) -> None:
    """Restore the previous champion; each further rollback goes one more step back."""
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.promote import rollback as flow

    _print_champion(run(flow, reason, by, quiet=True), json)


def _print_champion(message: str, json: bool) -> None:
    from linear_neuron.tasks.registry.champion import read_champion
    from linear_neuron.tasks.storage.store import Store

    champion = read_champion(Store())
    print_result(champion and champion.model_dump(mode="json", exclude={"entry", "removing"}), f"{message}\n", json)


@app.command
def reproduce(version: Version, /) -> int:
    """Train a version again from its lineage, and compare the weights bit for bit; exit with 1 if they differ."""
    from linear_neuron.tasks.training.training_process import warm_up

    warm_up()
    from linear_neuron.deployments.runs import run
    from linear_neuron.flows.reproduce import reproduce as flow

    agrees, message = run(flow, version, quiet=True)
    sys.stdout.write(f"{message}\n")
    return 0 if agrees else 1


@app.command
def verify(*, output: tuple[str, ...] = (), deep: bool = True, json: Json = False) -> int:
    """Check every digest and which version is champion; name each file that differs and exit with 1.

    Args:
        output: More folders or URLs with batches, such as those given to `predict --output`.
        deep: Check digests, which reads every file. Without it, check only that each file exists and has its size.
    """
    from linear_neuron.tasks.registry.verify import verify
    from linear_neuron.tasks.storage.store import Store

    found = verify(Store(), output, deep=deep)
    print_result(found, "".join(f"{line}\n" for line in found) or "Every file is as its manifest says.\n", json)
    return 1 if found else 0


@app.command
def clean(*, retention: Retention = Retention(), dry_run: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Remove the versions and datasets that retention does not keep.

    Args:
        dry_run: Only print what would be removed.
    """
    from linear_neuron.tasks.registry.retention import clean_store
    from linear_neuron.tasks.storage.store import Store

    names = clean_store(Store(), retention, dry_run)
    lines = [f"{'would remove' if dry_run else 'removed'} {name}\n" for name in names]
    sys.stdout.write("".join(lines) or "There is nothing to remove.\n")


@app.command
def forget(
    key: Annotated[str, Parameter(help="Value of the key whose rows are to be found.")],
    /,
    *,
    key_column: Annotated[str, Parameter(name="--key")] = "",
    output: tuple[str, ...] = (),
    yes: Annotated[bool, Parameter(negative="")] = False,
    reason: Reason = "by hand",
    json: Json = False,
) -> None:
    """List where the rows of one key are (snapshots, batches, actual values, rejects), and remove them with --yes.

    Args:
        key_column: Column of the key. Without it, that of each table as it was read.
        output: More folders or URLs with batches, such as those given to `predict --output`.
        yes: Remove the rows, and log that in the store. What was trained on them stays, and is named.
    """
    from linear_neuron.tasks.monitoring.forget import Search, describe, forget
    from linear_neuron.tasks.storage.store import Store

    search = Search(Store(), key, key_column, output)
    places = forget(search, reason) if yes else search.run()
    print_result(places._asdict(), describe(places, removed=yes), json)


@app.command
def up(*, host: Host = "127.0.0.1", port: Port = 4200, once: Once = False) -> None:
    """Start a Prefect server with its UI, the deployments and a worker, in the foreground; Ctrl-C stops them all."""
    from linear_neuron.deployments import stack

    stack.up(host, port, once)


@app.command
def deploy(
    *,
    models: ModelsFile = "",
    cron: Cron = (),
    timezone: Timezone = "",
    work_pool: WorkPool = "",
    image: Image = "",
    job_variable: JobVariable = (),
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    batch: Annotated[Batch, Parameter(name="*")] = Batch(),
) -> None:
    """Register the work pool, the deployments, their schedules and the automations at a Prefect server.

    With --name only those of that model, with the parameters given here; with --models only those of a list of models.
    """
    from linear_neuron.deployments import deploy
    from linear_neuron.deployments.pools import Infrastructure

    where = Infrastructure(work_pool, image, job_variable)
    groups = {
        "dataset": dataset,
        "training": training,
        "table": table,
        "promotion": promotion,
        "retention": retention,
        "batch": batch,
    }
    named = {group: values.model_dump(mode="json", exclude_unset=True) for group, values in groups.items()}
    given = {group: fields for group, fields in named.items() if fields}
    deploy.run(get_name(), given, list(cron), timezone, where, models)


@app.command
def undeploy(*, models: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Delete the deployments of the model that --name names, and so their schedules; its store stays.

    Args:
        models: Delete those that serve a list of models instead.
    """
    from linear_neuron.deployments import deploy

    deploy.remove(get_name(), models)


def print_result(value: object, text: str, json: bool = False) -> None:
    """Print a result for people, or as JSON."""
    from linear_neuron.tasks.storage.store import to_json

    sys.stdout.write(to_json(value).decode() if json else text)


def main() -> None:
    """Run a command. What goes wrong ends it with one sentence, and status 1 or 2 as in tasks/errors.py."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    collect_rarely()
    try:
        sys.exit(app.meta(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value"))
    except (UserError, CycloptsError) as error:
        sys.stderr.write(f"linear-neuron: {explain(error)}\n")
        sys.exit(1 if isinstance(error, WorkError) else 2)


if __name__ == "__main__":
    main()
