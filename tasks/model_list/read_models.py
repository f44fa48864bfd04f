"""The list of models that one deployment of each kind serves: read from a file, and checked as a form would be."""

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError
from upath import UPath

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import check_name, name_folder
from linear_neuron.tasks.parameters import (
    Actuals,
    Batch,
    Dataset,
    ExampleInputs,
    Parameters,
    Promotion,
    Retention,
    Training,
)
from linear_neuron.tasks.parameters.base import SIGNED
from linear_neuron.tasks.storage.store import locate
from linear_neuron.tasks.text import describe_rule, one_line

Kind = Literal["retrain", "predict", "actuals"]

NEVER = "never"


def _check_cron(cron: str) -> str:
    if cron != NEVER and not _is_schedule(cron):
        raise ValueError("must be a cron line, such as 0 6 * * MON, or never")
    return cron


def _check_timezone(timezone: str) -> str:
    if timezone and not _is_schedule("0 6 * * MON", timezone):
        raise ValueError("must be a time zone, such as Europe/Berlin")
    return timezone


def _is_schedule(cron: str, timezone: str | None = None) -> bool:
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValidationError:
        return False
    return True


Cron = Annotated[str, AfterValidator(_check_cron)]


class Due(Parameters):
    """When each kind of run of a model is due."""

    retrain: Cron = "0 6 * * MON"
    """Cron line of retrain, or never. It is also due after an alarm of drift."""

    predict: Cron = "0 7 * * *"
    """Cron line of predict, or never. It is also due after a change of champion."""

    actuals: Cron = "0 8 * * *"
    """Cron line of actuals, or never."""

    timezone: Annotated[str, AfterValidator(_check_timezone)] = ""
    """Time zone of the cron lines, such as Europe/Berlin. Empty means LINEAR_NEURON_TIMEZONE, or UTC."""

    @property
    def zone(self) -> str:
        """The time zone that counts."""
        return self.timezone or os.environ.get("LINEAR_NEURON_TIMEZONE") or "UTC"


class Entry(Parameters):
    """A model of the list: its name, the parameters of its flows, and when they are due."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the model, such as sales; its store, inbox and events are named by it."""

    dataset: Dataset
    """Which rows to learn from, and which of their columns."""

    training: Training = Training()
    """The recipe."""

    table: ExampleInputs = ExampleInputs()
    """The small table of predictions."""

    promotion: Promotion = Promotion()
    """Whether a new version may serve."""

    retention: Retention = Retention()
    """Which old versions are kept."""

    batch: Batch = Batch()
    """Which files to predict, and how; without inputs the folder inbox-NAME."""

    actuals: Actuals = Actuals()
    """Which files say what became known; without inputs the folder actuals-NAME."""

    due: Due = Due()
    """When each kind of run is due."""

    def list_parameters(self, kind: Kind) -> dict[str, Any]:
        """List the parameters of the flow of this kind."""
        if kind == "retrain":
            groups = ("dataset", "training", "table", "promotion", "retention")
            return {group: getattr(self, group) for group in groups}
        group, folder = {"predict": ("batch", "inbox"), "actuals": ("actuals", "actuals")}[kind]
        given: Batch | Actuals = getattr(self, group)
        if "inputs" not in given.model_fields_set:
            given = given.model_copy(update={"inputs": [name_folder(folder, self.name)]})
        return {group: given}


class ModelList(Parameters):
    """Which models of which file to run."""

    file: str = Field("models.yaml", min_length=1)
    """File with the list of models; it is read at each run, where the run is. See docs/many-models.md."""

    only: list[str] = Field([])
    """Names of models to run now, due or not. Empty means those that are due."""

    every: bool = False
    """Run every model of the file now, due or not."""

    concurrency: int = Field(2, ge=1, le=64)
    """How many models run at a time, each in a process of its own that is used again for the next one."""


def read_models(file: str) -> list[Entry]:
    """Read the models of a file.

    Raises:
        UserError: the file can't be read or is no list; or all mistakes in it, a line for each that names the file,
            the model, the field and the value.
    """
    path = locate(file)
    models: list[Entry] = []
    mistakes: list[str] = []
    for number, fields in enumerate(_read_list(path), 1):
        name = fields.get("name") if isinstance(fields, dict) else None
        where = f"{path}, " + (f"model {one_line(name)}" if name else f"entry {number}")
        try:
            models.append(_read_entry(fields, [model.name for model in models]))
        except ValidationError as error:
            mistakes += [f"{where}: {_name_field(rule['loc'])}{describe_rule(rule)}." for rule in error.errors()]
        except UserError as error:
            mistakes.append(f"{where}: {error}")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return models


def _read_list(path: UPath) -> list[Any]:
    try:
        entries = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UserError(f"The list of models {path} can't be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {one_line(error)}.") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} has no list of models; each begins as `- name: sales` and has a dataset.")
    return entries


def _name_field(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location)).replace('from_', 'from')}: " if location else ""


def _read_entry(fields: Any, names: list[str]) -> Entry:
    model = Entry.model_validate(fields)
    if check_name(model.name) == "":
        raise UserError(f"the name {model.name} is that of the model without a name; use another one.")
    if model.name in names:
        raise UserError("an earlier entry has the same name; give each model its own.")
    check_signatures(model.model_dump(mode="json", exclude_unset=True, include={"dataset", "batch", "actuals"}))
    return model


def check_signatures(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse signed URLs, since nothing that a server keeps has their signature, and it ends before long.

    Raises:
        UserError: names the URL without its signature.
    """
    values = [value for fields in given.values() for value in fields.values()]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    if signed := [text for text in texts if isinstance(text, str) and text in SIGNED]:
        raise UserError(
            f"{signed[0]} is a signed URL, whose signature no deployment keeps, so no run of its could read it; "
            "name a file, a bucket that the worker has keys of, or a query."
        )


def choose_models(models: Iterable[Entry], only: list[str], file: str) -> list[Entry]:
    """Choose models by name; all where none is named.

    Raises:
        UserError: the file has no model of such a name.
    """
    known = {model.name: model for model in models}
    if unknown := [name for name in only if name not in known]:
        raise UserError(f"{file} has no model {', '.join(unknown)}.")
    return [model for model in known.values() if not only or model.name in only]
