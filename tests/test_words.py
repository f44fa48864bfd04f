"""Code and pages use the words of the field; CONTRIBUTING.md names some of them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXTS = ("*.py", "*.md", "*.yaml", "Makefile")
INSTEAD = {
    r"mend(s|ed|ing)?": "fix, repair",
    r"anew": "again",
    r"dealt": "split, shuffled",
    r"stands|standing": "is; status, decision",
    r"told": "shown, given, named",
    r"says so": "name what it says",
    r"so many": "this many, or the number",
    r"to the bit": "bit for bit",
    r"came out again|made again": "was reproduced, is rebuilt",
    r"truths|true values?": "actual values",
    r"realised": "realized",
    r"judge(s|d)?": "measure, decide",
    r"dirt": "rejects, damage",
}
WORDS = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
# What a text may say all the same: words of data and of other people.
ALLOWED = {
    "tests/test_words.py": WORDS,
}


def list_texts() -> list[str]:
    names = subprocess.run(["git", "ls-files", "-z", *TEXTS], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in names.stdout.split("\0") if name and not name.startswith("tests/data/store-0.1.0")]


def find_words(name: str, text: str) -> list[str]:
    """Find the words of a text that have a better one, each with its line."""
    if name in ALLOWED:
        text = ALLOWED[name].sub("", text)
    return [
        f"{name}:{number}: {found[0]!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for found in WORDS.finditer(line)
    ]


def test_words_have_no_better_one() -> None:
    found = [
        word for name in list_texts() if (ROOT / name).exists() for word in find_words(name, (ROOT / name).read_text())
    ]
    assert not found, f"use other words ({INSTEAD}):\n" + "\n".join(found)
