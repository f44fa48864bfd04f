"""What the model of a step of a backtest is worth on the rows that came after it."""

import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.dataset.history import KnownRows, Step
from tasks.model import LinearModel
from tasks.parameters import Dataset, ExampleInputs, Training
from tasks.registry.fingerprint import fingerprint
from tasks.registry.versions import find_version, read_version
from tasks.steps import get_logger, task
from tasks.storage.store import Store
from tasks.training.interval import interval_half_widths, measure_coverage
from tasks.training.metrics import MODELS, fit_least_squares, measure_models

PERCENT = 90  # of the rows that the interval should hold


@dataclass(frozen=True)
class StepResult:
    """A model, and how wrong it was on the rows of its step."""

    step: Step
    sha256: str  # of the rows known when it was trained
    known: int  # how many those are
    fitted: int  # on how many of them it was fitted
    version: str  # of the store that came out the same; empty where it was trained for the backtest
    model: LinearModel
    errors: dict[str, dict[str, float | None]]  # what `measure_models` says of the rows of the step
    coverage: float | None  # share of these rows within the 90% interval


@dataclass(frozen=True)
class RecalledModel:
    """A model that training would only make again."""

    model: LinearModel
    version: str  # of the store; empty where it is that of a step before


@task("Look for a model of the same rows")
def recall_model(
    known: KnownRows, dataset: Dataset, training: Training, results: list[StepResult]
) -> RecalledModel | None:
    """Find the model that was made of these rows: by the step before, or for a version in the store."""
    for result in results[-1:]:
        if result.sha256 == known.sha256:
            get_logger().info("No row became known since %s, so its model is taken again", result.step.start)
            return RecalledModel(result.model, result.version)
    store = Store()
    version = find_version(store, fingerprint(known.sha256, dataset, training, ExampleInputs()))
    if version is None:
        return None
    get_logger().info("%s was made of these rows, so its model is taken", version)
    return RecalledModel(read_version(store, version).linear_model, version)


@task("Measure on the rows after")
def measure_step(step: Step, known: KnownRows, model: LinearModel, version: str) -> StepResult:
    """Measure the errors of the neuron, the mean predictor and least squares of that day; remove the day's rows."""
    split, rows = known.split, step.rows
    predicted = model.predict(rows.x)
    errors = measure_models(rows, predicted, float(split.train.y.mean()), fit_least_squares(split.train))
    width = interval_half_widths(split.validation.y, model.predict(split.validation.x))[str(PERCENT)]
    coverage = measure_coverage(rows.y, predicted, width)
    counts = sum(map(len, split.parts.values())), len(split.train)
    shutil.rmtree(known.folder)
    said = ", ".join(f"{name} {errors[name]['mse']:.4f}" for name in MODELS)
    get_logger().info("From %s to %s, %d rows, MSE: %s", step.start, step.end, len(rows), said)
    return StepResult(step, known.sha256, *counts, version, model, errors, coverage)


def total_errors(results: list[StepResult]) -> dict[str, float]:
    """Compute each model's mean squared error over the rows of all steps."""
    sizes = [len(result.step.rows) for result in results]
    return {
        name: float(np.average([_mse(result.errors[name]) for result in results], weights=sizes)) for name in MODELS
    }


def _mse(errors: dict[str, Any]) -> float:
    return float(errors["mse"])
