"""Markdown and HTML: the parts of which every report is made."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.text import as_text, number, signed

# A page runs no script and loads nothing, whatever a name in it may be.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
NUMBER = re.compile(r"(below )?[-+±]?\$?\d[\d,]*(\.\d+)?(e[-+]?\d+)?[%KM]?( to [-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?)?")
COMPARED = re.compile(r", on [\d,]+ rows that neither has learned from; .*?(?=;|\. |\.?$)")  # in a reason
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --line: #e6e6e6; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; overflow-wrap: anywhere; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }}
td, th {{ text-align: left; vertical-align: top; min-width: 4rem; font-variant-numeric: tabular-nums; }}
th {{ overflow-wrap: break-word; max-width: 7.5rem; }} td:last-child {{ overflow-wrap: anywhere; }}
code {{ overflow-wrap: anywhere; }}
td:first-child, td[style*=right] {{ white-space: nowrap; }} img {{ max-width: 100%; border-radius: 4px; }}
pre {{ overflow-x: auto; font-size: .8rem; }}
@media (max-width: 40rem) {{
  body {{ margin: 1rem auto; }} table {{ font-size: .85rem; }} td, th {{ padding-right: .5rem; min-width: 3rem; }}
  td:first-child:not([style*=right]) {{ white-space: normal; min-width: 7rem; overflow-wrap: anywhere; }}
  td:last-child:not([style*=right]) {{ min-width: 12rem; }}
}}
@media (prefers-color-scheme: dark) {{
  :root {{ --line: #3a3f45; }} body {{ color: #ddd; background: #16191d; }} a {{ color: #7ab8ff; }}
}}
</style></head><body>
{body}
</body></html>
"""


def amount(value: float, label: str) -> str:
    """Format a number in the unit that its label ends with: 11.304 of `median price [$K]` is `$11.3K`."""
    unit = label.rpartition("[$")[2].rstrip("]")
    return f"${value:.1f}{unit}" if unit != label else number(value)


def as_table(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a markdown table."""
    cells = [[as_cell(value) for value in row] for row in rows]
    columns = zip(*cells, strict=True) if cells else [()] * len(head)
    lines = [
        [name and as_cell(name) for name in head],
        ["---:" if are_numbers(column) else "---" for column in columns],
        *cells,
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def are_numbers(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, and dashes for those that are missing, so that it is aligned to the right."""
    return any(map(NUMBER.fullmatch, cells)) and all(cell == "-" or NUMBER.fullmatch(cell) for cell in cells)


def list_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """List what is known of something, one value a name: groups are unfolded, and what is empty is left out."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict) and (
            name == "details" or any(isinstance(item, dict | list) for item in value.values())
        ):
            found |= list_facts(value)
        elif value not in (None, "", {}, [], ()):
            found[name] = value
            if name in ("rows", "until"):
                found[name] = f"{value:,}" if name == "rows" else show_time(datetime.fromtimestamp(value / 1e6, UTC))
            elif name == "read_at":  # Not known_at, which names a column.
                found[name] = show_time(value)
    return found


def show_time(at: datetime | str) -> str:
    """Write a moment as people read it, such as `2026-12-01 03:10 UTC`."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def shorten_reason(reason: str) -> str:
    """Leave out of the reason of a decision the rows and resamples that were compared; its figures have them."""
    return COMPARED.sub("", reason)


def as_cell(value: Any) -> str:
    """Write a value into one cell of a table; an empty one is "none"."""
    if isinstance(value, dict):
        value = [f"{key} {item}" for key, item in value.items()]
    text = ", ".join(map(as_text, value)) if isinstance(value, list | tuple) else as_text(value)
    return text.replace("|", "\\|") or "none"  # A bar would end the cell even in code.


def as_picture(title: str, picture: bytes, kind: str = "png") -> str:
    """Write a picture, a PNG or `svg+xml`, that travels inside the text as a data URI."""
    return f"![{title}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"


def describe_constraints(training: dict[str, Any]) -> str:
    """Describe what least squares, like the neuron, keeps to; empty for plain least squares."""
    ridge = f"the same ridge (l2 {training['l2']:g})" if training.get("l2") else ""
    kept = " and ".join(filter(None, [ridge, "the same signs" if training.get("signs") else ""]))
    return f" under {kept}" if kept else ""


def describe_link(model: ModelVersion) -> str:
    """Describe what a prediction is where the logarithm of the target is learned; empty where it is not."""
    if model.link != "log":
        return ""
    name = as_text(model.target)
    return (
        f"The logarithm of {name} is learned. Predictions, intervals and errors are in units of {name}: a prediction "
        f"is the median of {name} if errors of the logarithm are symmetric, and lies below its mean. Each term is a "
        "factor: weights and effects are those of the logarithm, of which 0.01 is about 1%."
    )


def describe_interval(model: ModelVersion, percent: int) -> str:
    """Describe the width of the prediction interval, on what condition it holds, and its coverage on the test rows."""
    bins = model.interval_bins
    if None in ([model.intervals[str(percent)]] if bins is None else bins.lower[str(percent)]):
        return (
            f"The model had too few validation rows for a {percent}% interval, "
            "so its columns are empty in files of predictions."
        )
    coverage = model.coverage
    held = "" if coverage is None else f"; on the model's test rows its 90% interval held {coverage:.0%} of the time"
    if bins is None:
        width = number(model.intervals[str(percent)])
        return f"The interval is the prediction ±{width} ({percent}%, split-conformal){held}."
    errors = [(low, high) for low, high in zip(bins.lower[str(percent)], bins.upper[str(percent)], strict=True)]
    levels = [f"from {number(edge)} on" for edge in bins.edges]
    levels = [f"below {number(bins.edges[0])}", *levels] if levels else ["at every level"]
    shown = ", ".join(
        f"{signed(low or 0)} to {signed(high or 0)} {level}" for level, (low, high) in zip(levels, errors, strict=True)
    )
    return (
        f"The {percent}% interval is the prediction {shown}; it holds if new rows are like those it is calibrated on "
        f"({model.interval_rows})." + describe_coverage(model)
    )


def describe_coverage(model: ModelVersion) -> str:
    """Describe what the candidate's interval held of the test rows, on average and by decile of the prediction."""
    if model.coverage is None:
        return ""
    text = f" The candidate's 90% interval, calibrated on validation rows, held {model.coverage:.0%} of the test rows"
    deciles = [f"{share:.0%}" for share in model.coverage_deciles if share is not None]
    return f"{text}; by decile of the prediction, lowest first: {', '.join(deciles)}." if deciles else f"{text}."


def describe_models(model: ModelVersion) -> str:
    """Say in a line which figures are the candidate's, and what the model that serves has learned from."""
    if model.candidate is None or model.learned is None:
        return ""
    known = f"{model.candidate.rows:,} train rows" + name_newest(model.candidate.newest)
    learned = f"{model.learned.rows:,} rows" + name_newest(model.learned.newest)
    past = model.past.get("past", "all")
    kept = "" if past == "all" else f", with the past {past}"
    return (
        f"Test figures are the candidate's, fitted on {known}; predictions come from the served model, the same recipe "
        f"fitted on {learned}{kept}."
    )


def name_newest(newest: datetime | None) -> str:
    """Name the day of the newest row, where it is known."""
    return f" up to {newest:%Y-%m-%d}" if newest else ""


def render_page(markdown: str, title: str) -> str:
    """Render markdown as one self-contained HTML page; HTML in it is shown as text."""
    converter = MarkdownIt("commonmark", {"html": False}).enable("table")
    return PAGE.format(title=escape(title), policy=POLICY, body=converter.render(markdown))
