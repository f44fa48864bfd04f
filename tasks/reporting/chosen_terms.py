"""What became of each column of a table of which nobody named any term, in the report and in the terminal."""

from linear_neuron.tasks.features.auto import write_flags
from linear_neuron.tasks.model import ColumnChoice, ModelVersion
from linear_neuron.tasks.reporting.page import as_table
from linear_neuron.tasks.text import as_code, list_first, one_line

NAMES = {"number": "Numbers", "category": "Categories", "time": "Times", "left out": "Left out"}
SHOWN = 8  # columns of each kind that the terminal shows


def describe_columns(model: ModelVersion) -> list[str]:
    """Describe what became of each column, and write the flags that name the same terms; empty where all were named."""
    if model.auto is None:
        return []
    rows = [[choice.column, choice.kind, choice.entries, choice.reason or "-"] for choice in model.auto.columns]
    return [
        "## Columns of the table",
        f"Nobody named terms, so they were chosen: every usable column as what it is. These flags name the same, "
        f"whatever the table becomes: {as_code(write_flags(model.auto))}",
        as_table(["column", "used as", "terms", "why"], rows),
    ]


def summarize_columns(model: ModelVersion) -> str:
    """Summarize the same in a few lines for the terminal."""
    if model.auto is None:
        return ""
    lines = []
    for kind, name in NAMES.items():
        found = [choice for choice in model.auto.columns if choice.kind == kind]
        if found:
            shown = list_first([_show(choice) for choice in found], SHOWN, "; " if kind == "left out" else ", ")
            lines.append(f"{name:<14}{len(found)}: {shown}")
    return "\n".join([*lines, f"To pin them   {write_flags(model.auto)}", ""])


def _show(choice: ColumnChoice) -> str:
    name = one_line(choice.column)
    if choice.kind == "time":
        return ", ".join(map(one_line, choice.entries))
    return f"{name} ({one_line(choice.reason)})" if choice.reason else name
