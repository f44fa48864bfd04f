"""Flags of commands that are no parameter of a flow, and inputs without a flag: their types, help and checks."""

from typing import Annotated, TypeVar

from cyclopts import Parameter, validators
from pydantic import ValidationError

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Actuals, Batch

Inputs = TypeVar("Inputs", Batch, Actuals)

# Commands that make no model, so that a name without a store is a mistake.
OF_A_MODEL = {
    *("predict", "actuals", "models", "history", "diff", "sql"),
    *("promote", "rollback", "reproduce", "verify", "clean", "forget"),
}

Json = Annotated[bool, Parameter(negative="", help="Print the same as JSON.")]
Version = Annotated[str, Parameter(help="Name of a complete version, such as 20261123T060000Z-1a2b3c.")]
Reason = Annotated[str, Parameter(help="Reason for the change; it is kept in the audit log.")]
By = Annotated[str, Parameter(help="Name of who decides; the audit log keeps it, and nobody checks it.")]
Every = Annotated[
    bool,
    Parameter(name="--all", negative="", help="List the models with and without a name instead, and where they are."),
]
Interval = Annotated[
    int,
    Parameter(
        help="Percent of the actual values that the interval should hold. From 50 to 99.",
        validator=validators.Number(gte=50, lte=99),
    ),
]
Host = Annotated[str, Parameter(help="Address to listen on. Any but loopback needs PREFECT_SERVER_API_AUTH_STRING.")]
Port = Annotated[int, Parameter(help="Port of the API and the UI.", validator=validators.Number(gte=1, lte=65535))]
Once = Annotated[bool, Parameter(negative="", help="Run weekly-retrain once, print its summary, and end.")]
ModelsFile = Annotated[
    str, Parameter(help="File with a list of models, such as models.yaml, that one deployment of each kind serves.")
]
Cron = Annotated[
    tuple[str, ...],
    Parameter(
        help="When deployments run, as DEPLOYMENT=CRON, such as 'daily-predict=30 6 * * *'; a CRON alone is of "
        "weekly-retrain. Without it they keep their schedules, also those that were edited in the UI."
    ),
]
Timezone = Annotated[
    str, Parameter(help="Time zone of this model's schedules, such as Europe/Berlin. Without it they keep theirs.")
]
WorkPool = Annotated[
    str,
    Parameter(
        help="Name of the work pool that runs are started on, such as one of Prefect's type process, docker or "
        "kubernetes. Without it deployments stay where they are; new ones are on the pool linear-neuron."
    ),
]
Image = Annotated[str, Parameter(help="Image with this package, for a pool that starts containers.")]
JobVariable = Annotated[
    tuple[str, ...],
    Parameter(
        help="What runs are started with, as KEY=VALUE, such as memory_request=2Gi or env.AWS_REGION=eu-north-1."
    ),
]


def show_default(value: object) -> str | None:
    """Show a default as a user would type it; None for one that is empty or off."""
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return None if value is False else text or None


def take_inputs(group: Inputs, inputs: tuple[str, ...]) -> Inputs:
    """Put the inputs that have no flag in the place of those of --inputs, checked by the same rules."""
    if not inputs:
        return group
    try:
        return type(group).model_validate(group.model_dump(exclude_unset=True) | {"inputs": list(inputs)})
    except ValidationError as error:
        raise UserError("The inputs cannot be used.") from error  # `explain` says which rule they break.
