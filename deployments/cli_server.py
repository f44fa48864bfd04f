"""The two commands that are about a server: `up` starts one, and `deploy` says what one is to run."""

from typing import Annotated

from cyclopts import Parameter, validators

from tasks.name import get_name
from tasks.parameters import Batch, Dataset, ExampleInputs, Promotion, Retention, Training


def up(
    *,
    host: Annotated[
        str, Parameter(help="Address to listen on. Any but loopback needs PREFECT_SERVER_API_AUTH_STRING.")
    ] = "127.0.0.1",
    port: Annotated[
        int, Parameter(help="Port of the API and the UI.", validator=validators.Number(gte=1, lte=65535))
    ] = 4200,
    once: Annotated[
        bool, Parameter(negative="", help="Run weekly-retrain a single time, print what came out, and end.")
    ] = False,
) -> None:
    """Start a Prefect server with its UI, the deployments and a worker, in the foreground; Ctrl-C stops them all."""
    from deployments import stack

    stack.up(host, port, once)


def deploy(
    *,
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    table: ExampleInputs = ExampleInputs(),
    promotion: Promotion = Promotion(),
    retention: Retention = Retention(),
    batch: Annotated[Batch, Parameter(name="*")] = Batch(),
) -> None:
    """Register the work pool, the deployments and the automations at a server, as the files have them.

    With --name only the deployments of that model, with the parameters that are named here as their defaults.
    """
    from deployments import deploy

    groups = {
        "dataset": dataset,
        "training": training,
        "table": table,
        "promotion": promotion,
        "retention": retention,
        "batch": batch,
    }
    named = {group: values.model_dump(mode="json", exclude_unset=True) for group, values in groups.items()}
    deploy.run(get_name(), {group: fields for group, fields in named.items() if fields})
