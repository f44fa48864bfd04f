"""The columns of prediction files: which of an input's are read, and which are added to them."""

import json
from typing import Any

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.scoring.manifest import BatchRun
from tasks.tables.contract import ADDED, F32, TEXT, find_columns, require_columns

NAMES = {"shadow": "shadow_prediction"}  # what to add -> the column, where that has another name


def list_added(batch_run: BatchRun) -> dict[str, Any]:
    """List the columns that every prediction file of a batch has beside its input's: name -> type, in their order."""
    batch, model = batch_run.batch, batch_run.model
    wanted: dict[str, Any] = {"model_version": TEXT, "shadow": F32}
    explained: dict[str, dict[str, Any]] = {
        "none": {},
        "top": {"top_feature": TEXT, "top_contribution": F32},
        "all": {"base_prediction": F32} | {f"contribution_{feature}": F32 for feature in model.features},
    }
    return ADDED | {NAMES.get(name, name): wanted[name] for name in batch.add} | explained[batch.explain]


def find_inputs(columns: list[str], batch_run: BatchRun) -> tuple[list[str], list[str]]:
    """Find the columns of the features among those of a file, in the model's order; and the same for the shadow.

    Raises:
        UserError: one is missing or stands twice, or so does that of --key, or one has the name of one to be added.
    """
    batch = batch_run.batch
    if batch.key:
        try:
            require_columns(columns, [batch.key])
        except UserError as error:
            raise UserError(f"for --key, {error}") from None
    names = find_columns(columns, batch_run.model.features, batch.mapping, list_added(batch_run))
    if not (shadow := batch_run.shadow):
        return names, []
    try:
        return names, find_columns(columns, shadow.features, batch.mapping, ())
    except UserError as error:
        raise UserError(f"for the shadow {shadow.version}, {error}") from None


def describe_model(model: ModelVersion) -> dict[str, str]:
    """Write the model as the metadata of a Parquet file: its version, and all that a prediction takes as JSON."""
    weights = dict(zip(model.features, model.weights, strict=True))
    formula = {"target": model.target, "weights": weights, "bias": model.bias}
    return {
        "linear_neuron.model_version": model.version,
        "linear_neuron.model": json.dumps(formula, ensure_ascii=False),
    }
