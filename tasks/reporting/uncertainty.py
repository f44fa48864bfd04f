"""How certain the weights are, as a section of a report and as facts of a list of versions."""

from typing import Any

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.versions import read_versions
from linear_neuron.tasks.reporting.page import as_table
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import as_text, list_first, number

SHOWN = 60  # columns in the table of a report; model.json has all
INFLATED = 10.0  # variance inflation factor above which a weight shares its effect with others
METHODS = {
    "HC3": "They hold for unequal variances too (HC3).",
    "HC1": "They hold for unequal variances too (HC1, since a row alone decides a weight, where HC3 has no value).",
    "classical": "They hold for equal variances alone: there are too many rows and columns to look at each row again.",
}


def describe_uncertainty(model: ModelVersion) -> list[str]:
    """Describe standard errors, 95% intervals and variance inflation as a section, or say why there are none."""
    heading = "## How certain the weights are"
    if not model.uncertainty:
        return [heading, f"Not known: {as_text(model.uncertainty_reason)}."] if model.uncertainty_reason else []
    rows = [
        [
            name,
            number(found.weight),
            number(found.error),
            f"{number(found.low)} to {number(found.high)}",
            "-" if found.inflation is None else f"{found.inflation:,.1f}",
        ]
        for name, found in list(model.uncertainty.items())[:SHOWN]
    ]
    more = len(model.uncertainty) - len(rows)
    text = f"Standard errors are those of the model that serves. {METHODS[model.uncertainty_method]} "
    text += "They hold if rows are independent of each other. "
    if model.terms:
        text += (
            "The weight of a level is what it adds beside the average row. A dash is where other columns explain one "
            "wholly, as all levels of a category do; of columns that are no such levels only their sum is known. "
        )
    return [
        heading,
        as_table(["column", "weight", "standard error", "95% interval", "variance inflation"], rows),
        *([f"{more:,} more are in `model.json`."] if more else []),
        text + describe_inflation(model),
    ]


def describe_inflation(model: ModelVersion) -> str:
    """Name the columns whose weights are uncertain because they correlate with others."""
    high = [name for name, found in model.uncertainty.items() if (found.inflation or 0) > INFLATED]
    if all(found.inflation is None for found in model.uncertainty.values()):
        return "Here that is all of them."
    if not high:
        return f"No variance inflation factor is above {INFLATED:g}, so no weight borrows much from correlated columns."
    names = list_first(list(map(as_text, high)), 5)
    return (
        f"A variance inflation factor above {INFLATED:g} says that others nearly explain a column, so that its weight "
        f"alone says little: {names}."
    )


def add_uncertainty(store: Store, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the uncertainty of each version to the rows of `models --json`."""
    versions = read_versions(store, [row["version"] for row in rows])
    return [row | list_uncertainty(model) for row, model in zip(rows, versions, strict=True)]


def list_uncertainty(model: ModelVersion | None) -> dict[str, Any]:
    """List the uncertainty of a version as `models --json` shows it; None where the version is damaged."""
    names = ("uncertainty", "uncertainty_method", "uncertainty_reason")
    return dict.fromkeys(names) if model is None else model.model_dump(mode="json", include=set(names))
