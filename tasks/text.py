"""Text for people: names from outside made safe for Markdown and plots, short lists, and terminal tables."""

import math
import re
from collections.abc import Collection, Sequence
from typing import Any

HUGE = 1e12  # from which on a number has a power of ten
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# What Markdown, HTML or a reader that makes links by itself could take for more than text.
SPECIAL = re.compile(r"[!#&*<>@\\^`{|}~]|\]\(|://|www\.|\$.*\$|\b_|_\b", re.IGNORECASE)


def one_line(text: object) -> str:
    """Write a text from outside, such as the name of a column or a file, without breaks and control characters."""
    return CONTROL.sub(" ", str(text)).strip()


def as_text(text: object) -> str:
    """Write a text from outside so that all readers of Markdown show it as it is: as code where it needs to be."""
    line = one_line(text)
    return as_code(line) if SPECIAL.search(line) else line


def as_code(text: object) -> str:
    """Write a text as code, in which no character means anything."""
    line = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in (line[:1], line[-1:]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def end_sentence(text: str) -> str:
    """Put one full stop at the end of a sentence, unless it asks something."""
    text = text.rstrip(".")
    return text if text.endswith("?") else f"{text}."


def plural(count: int, noun: str) -> str:
    """Write a count with its noun, such as `1 file` or `2,000 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def number(value: float | None, beside: float | None = None) -> str:
    """Format a number with the digits that people read: two decimals, four below 1, and none from 1,000 on.

    Below 0.001 and from 1e12 on it has three or four digits and a power of ten. None is a dash. With `beside` it has
    the decimals of that number, with which it is compared.
    """
    if value is None:
        return "-"
    size = abs(value if beside is None else beside)
    if 0 < size < 0.001:
        return f"{value:.3g}"
    if size >= HUGE:
        return f"{value:.4g}"
    return f"{value:,.{4 if size < 1 else 2 if size < 1000 else 0}f}"


def signed(value: float, beside: float | None = None) -> str:
    """Format a number as `number` does, with its sign."""
    return ("" if value < 0 else "+") + number(value, beside)


def distinguish(one: float, other: float) -> tuple[str, str]:
    """Format two numbers that are compared, with more digits where they would look the same but are not."""
    if one == other or number(one) != number(other):
        return number(one), number(other)
    if not 1 <= abs(one) < HUGE:
        return f"{one:.6g}", f"{other:.6g}"
    decimals = max(0, 5 - math.floor(math.log10(abs(one))))
    return f"{one:,.{decimals}f}", f"{other:,.{decimals}f}"


def list_first(items: Sequence[object], shown: int, separator: str = ", ") -> str:
    """List the first items and count the others, such as `a, b and 3 more`."""
    listed = separator.join(map(str, items[:shown]))
    mark = separator.strip(", ")  # A comma is not needed before "and".
    return f"{listed}{mark} and {len(items) - shown:,} more" if len(items) > shown else listed


def split_hint(name: str, known: Collection[str]) -> str:
    """Advise on a name that is several known ones with commas between; empty for any other."""
    parts = [part.strip() for part in name.split(",")]
    return f"; give each name by itself: {' '.join(parts)}" if len(parts) > 1 and set(parts) <= set(known) else ""


def draw_table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> list[str]:
    """Draw a table for the terminal: a line of heads and one for each row, aligned to the right.

    The columns whose heads are in `left` are aligned to the left. Rich takes seconds for thousands of rows.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if head in left else cell.rjust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in (heads, *rows)
    ]


def describe_rule(rule: Any) -> str:
    """Describe which rule of a parameter a value broke, as pydantic names it, and the value unless it may be secret."""
    if rule["type"] == "too_short":
        return f"needs {plural(rule['ctx']['min_length'], 'value')} or more"
    shown = {"missing": ", not left out", "secret": ", not what was given"}.get(
        rule["type"], f", not {rule['input']!r}"
    )
    return str(rule["msg"]).removeprefix("Value error, ") + shown
