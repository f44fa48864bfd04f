"""Texts from outside, such as the names of columns and files, made ready to stand in Markdown and in plots."""

import re

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
