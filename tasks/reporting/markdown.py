"""Markdown and HTML: the parts of which every report is made."""

import base64
from collections.abc import Iterable
from typing import Any

from markdown_it import MarkdownIt

from tasks.model import ModelVersion
from tasks.text import as_text

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e6e6e6; }}
td, th {{ text-align: left; min-width: 4rem; font-variant-numeric: tabular-nums; }}
th {{ overflow-wrap: break-word; max-width: 12rem; }} td {{ overflow-wrap: anywhere; }}
td:first-child {{ white-space: nowrap; }} img {{ max-width: 100%; }}
pre {{ overflow-x: auto; font-size: .8rem; }}
</style></head><body>
{body}
</body></html>
"""


def number(value: float | None) -> str:
    """Format a number with two decimals, four where it is below 1, three digits where these would be zeros.

    A dash stands for None.
    """
    if value is None:
        return "-"
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def amount(value: float, label: str) -> str:
    """Format a number in the unit that its label ends with: 11.304 of `median price [$K]` is `$11.3K`."""
    unit = label.rpartition("[$")[2].rstrip("]")
    return f"${value:.1f}{unit}" if unit != label else number(value)


def as_table(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a markdown table."""
    lines = [
        [name and as_cell(name) for name in head],
        ["---"] * len(head),
        *([as_cell(value) for value in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_cell(value: Any) -> str:
    """Write a value into one cell of a table; an empty one is "none"."""
    if isinstance(value, dict):
        value = [f"{key} {item}" for key, item in value.items()]
    text = ", ".join(map(as_text, value)) if isinstance(value, list | tuple) else as_text(value)
    return text.replace("|", "\\|") or "none"  # A bar would end the cell even in code.


def as_picture(title: str, png: bytes) -> str:
    """Write a picture that travels inside the text, as a data URI."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def describe_interval(model: ModelVersion, percent: int) -> str:
    """Say how wide the prediction interval is, and how often that of 90% held on the test rows."""
    width = model.intervals[str(percent)]
    if width is None:
        return (
            f"The model had too few validation rows for a {percent}% interval, "
            "so its columns are empty in files of predictions."
        )
    coverage = model.coverage
    held = "" if coverage is None else f"; on the model's test rows its 90% interval held {coverage:.0%} of the time"
    return f"The interval is the prediction ±{width:.2f} ({percent}%, split-conformal){held}."


def render_page(markdown: str, title: str) -> str:
    """Render markdown as one self-contained HTML page."""
    converter = MarkdownIt("commonmark").enable("table")
    return PAGE.format(title=title, body=converter.render(markdown))
