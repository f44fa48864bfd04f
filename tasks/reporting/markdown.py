"""Markdown and HTML: the parts of which every report is made."""

from typing import Any

from markdown_it import MarkdownIt

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e6e6e6; }}
td, th {{ text-align: left; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
td:first-child {{ white-space: nowrap; }} img {{ max-width: 100%; }}
pre {{ overflow-x: auto; font-size: .8rem; }}
</style></head><body>
{body}
</body></html>
"""


def number(value: float | None) -> str:
    """Four significant places at least, or a dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def as_table(head: list[str], rows: list[list[Any]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _flat(value: Any) -> str:
    """A value in one cell of a table."""
    if isinstance(value, dict):
        value = [f"{key} {item}" for key, item in value.items()]
    return (", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)).replace("|", "/") or "none"


def render_page(markdown: str, title: str) -> str:
    """The markdown as one self-contained HTML page."""
    converter = MarkdownIt("commonmark").enable("table")
    return PAGE.format(title=title, body=converter.render(markdown))
