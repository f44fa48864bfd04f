"""Run the commands of a page of the documentation, and compare what they print with what the page shows.

Blocks marked `console` hold commands after `$ ` and their output; a line of three dots means any lines. Blocks marked
`pycon` are sessions of Python. A comment that begins with `<!-- setup` holds commands that the reader does not see.
All of a page runs in one shell, in an empty folder. Versions, times, sizes and addresses are masked on both sides.

`python -m tests.pages docs/predicting.md` runs a page and writes into it what was printed. A version has one name on a
page: the one that it has where it is shown first.
"""

import difflib
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.deployments.helpers import CLEAN, free_port

ROOT = Path(__file__).parents[1]
HOME = "/home/you"  # what pages show instead of the folder that they are run in
SERVED = {"make up": "linear-neuron up --port $PORT", "make run": "linear-neuron up --once --port $PORT"}
NOT_RUN = ("make test", "make lint", "make bench", "git clone")  # commands of the project itself, without output
BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$|^<!-- (setup)\n(.*?)^-->$", re.DOTALL | re.MULTILINE)
MASKS = (
    (r"\d{8}T\d{6}Z-[0-9a-f]{6}-[0-9a-f]{8}", "BATCH"),
    (r"\d{8}T\d{6}Z-[0-9a-f]{6}", "VERSION"),
    (r"\b[MTWFS]\w\w \d{4}-\d\d-\d\d (\d\d:\d\d)", r"DAY \1"),
    (r"forgotten on \d{4}-\d\d-\d\d", "forgotten on DAY"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?", "TIME"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9.]+ (kB|MB|B)\b", "SIZE"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\((network|package)\)", "(SOURCE)"),
    (r"\s+", " "),
)
VERSION = re.compile(MASKS[1][0])
NUMBER = re.compile(r"(?<![\d.])(?:\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+(?!\d))")
CLOSE = 5e-4  # of a number: on another processor a training ends with other last digits, measured up to 3.4e-4
NEXT_RUNS = re.compile(r"(^Next run of .*\n)+", re.MULTILINE)  # in the order of their dates, which depends on today


class Step(NamedTuple):
    """A command of a page, the lines that it prints there, and where they are in the page's text."""

    typed: str
    printed: list[str]
    span: tuple[int, int]


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    stdout: str
    stderr: str


def read_steps(page: Path) -> list[Step]:
    """Read the commands of a page in order; a session of Python is one command, which prints its failures."""
    text, steps = page.read_text(), list[Step]()
    for block in BLOCK.finditer(text):
        kind, body = block[1] or block[3], block[2] or block[4]
        start = block.start(2) if block[1] else block.start(4)
        if kind == "console":
            steps += _read_console(body, start)
        else:
            typed = (
                body
                if kind == "setup"
                else f"cat > session.txt <<'SESSION'\n{body}SESSION\npython -m doctest session.txt"
            )
            steps.append(Step(typed, [], (start, start)))
    return steps


def _read_console(body: str, start: int) -> list[Step]:
    """Split a block into commands, each with the lines up to the next; a here-document belongs to its command."""
    steps, end, position = list[Step](), "", start
    for line in body.splitlines():
        position += len(line) + 1
        if end:
            typed, _, _ = steps[-1]
            steps[-1] = Step(f"{typed}\n{line}", [], (position, position))
            end = "" if line == end or (end == "\\" and not line.endswith(end)) else end
        elif line.startswith("$ "):
            steps.append(Step(line[2:], [], (position, position)))
            here = re.search(r"<<'(\w+)'", line)
            end = here[1] if here else line[-1] if line.endswith("\\") else ""
        else:
            steps[-1].printed.append(line)
            steps[-1] = steps[-1]._replace(span=(steps[-1].span[0], position))
    return steps


def run_steps(steps: list[Step], folder: Path, commands: Path = Path(sys.executable).parent) -> list[Outcome]:
    """Run commands in one shell in a folder; a server that is started goes on until the last has ended.

    Args:
        steps: the commands.
        folder: where they run.
        commands: the folder with `linear-neuron`.
    """
    script = ["trap '[ -z \"$UP\" ] || { kill -INT $UP; wait $UP; }' EXIT"]
    results = folder.with_name(f"{folder.name}-results")
    results.mkdir()
    (folder / "docs").symlink_to(ROOT / "docs")  # with the example that the README predicts
    for number, step in enumerate(steps):
        files = f">{results}/{number}.out 2>{results}/{number}.err"
        if step.typed.split("  #")[0].strip() in ("make up", "linear-neuron up"):
            script.append(f"{SERVED['make up']} {files} & UP=$!")
            script.append(
                f'until grep -q "Worker \'" {results}/{number}.* 2>/dev/null; do kill -0 $UP || break; sleep 0.2; done'
            )
        elif not step.typed.startswith(NOT_RUN):
            script.append(f"{{ {_translate(step.typed)}\n}} {files}")
        script.append(f"echo $? > {results}/{number}.status")
    environment = CLEAN | {
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PORT": str(free_port()),
        "PREFECT_HOME": str(results / "prefect"),
        "COLUMNS": "120",
        "LOGNAME": "you",
    }
    subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, env=environment, check=False, timeout=580)

    def read(number: int, kind: str) -> str:
        path = results / f"{number}.{kind}"
        return path.read_text(errors="replace").replace(str(folder), HOME) if path.exists() else ""

    return [Outcome(int(read(n, "status") or -1), read(n, "out"), read(n, "err")) for n in range(len(steps))]


def _translate(typed: str) -> str:
    for command, meaning in SERVED.items():
        if typed.split("  #")[0].strip() == command:
            return meaning
    return typed.replace("$PWD/.venv/bin:", "")


def mask(text: str) -> str:
    """Replace what differs from run to run."""
    text = NEXT_RUNS.sub(lambda found: "".join(sorted(found[0].splitlines(keepends=True))), text + "\n")
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text.strip()


def agrees(printed: list[str], text: str) -> bool:
    """Compare the lines of a page with what was printed; numbers with decimals or thousands need only be close."""
    parts = (
        "\n".join(printed).split("\n...\n")
        if printed[:1] != ["..."]
        else ["", *"\n".join(printed[1:]).split("\n...\n")]
    )
    if parts[-1].endswith("\n..."):
        parts = [*parts[:-1], parts[-1].removesuffix("\n..."), ""]
    masked = [mask(part) for part in parts]
    texts = (map(re.escape, NUMBER.split(part)) for part in masked)
    found = re.fullmatch(".*?".join(f"({NUMBER.pattern})".join(words) for words in texts), mask(text))
    numbers = [number for part in masked for number in NUMBER.findall(part)]
    return found is not None and all(map(_are_close, numbers, found.groups()))


def _are_close(shown: str, printed: str) -> bool:
    one, other = (float(number.replace(",", "")) for number in (shown, printed))
    return math.isclose(one, other, rel_tol=CLOSE)


def find_difference(step: Step, outcome: Outcome) -> str:
    """Say how what a command did differs from its page, or nothing."""
    if step.typed.startswith(NOT_RUN):
        return ""
    said = [outcome.stdout, outcome.stderr + outcome.stdout]
    if step.printed:
        if any(agrees(step.printed, text) for text in said):
            return ""
        lines = difflib.unified_diff(step.printed, choose(step, outcome).splitlines(), "page", "printed", lineterm="")
        return f"$ {step.typed}\n" + "\n".join(lines) + f"\n(status {outcome.status})\n{outcome.stderr}"
    return "" if outcome.status == 0 else f"$ {step.typed}\nstatus {outcome.status}\n{said[1]}"


def choose(step: Step, outcome: Outcome) -> str:
    """Choose what a page shows of a command: its results, or all that it printed where it starts a server or fails."""
    both = outcome.stderr + outcome.stdout
    if not outcome.stdout or step.typed.split("  #")[0].strip() in SERVED:
        return both
    return outcome.stdout


def renew(step: Step, outcome: Outcome) -> list[str]:
    """Put what was printed in the place of the lines of a page, and leave out as much as the page leaves out."""
    lines = choose(step, outcome).strip("\n").splitlines()
    if "..." not in step.printed:
        return lines
    parts = [part.splitlines() for part in f"\n{chr(10).join(step.printed)}\n".split("\n...\n")]
    parts = [[line for line in part if line] for part in parts]
    kept: list[str] = []
    for number, part in enumerate(parts):
        if number:
            kept.append("...")
        if number == 0:
            found = lines[: len(part)]
        elif number == len(parts) - 1:
            found = lines[len(lines) - len(part) :]
        else:
            near = [difflib.get_close_matches(line, lines, 1, 0.3) for line in part]
            found = [match[0] for match in near if match]
        kept += found
    return kept


def renew_names(step: Step, outcome: Outcome, names: dict[str, str]) -> list[str]:
    """Renew the lines of a page where they differ from what was printed, and name each version as the page does.

    Args:
        step: the command, and its lines on the page.
        outcome: what it printed.
        names: of a version in this run -> on the page, which this step adds to.
    """
    differs = bool(find_difference(step, outcome)) and outcome.status >= 0
    lines = renew(step, outcome)
    new, shown = (VERSION.findall("\n".join(found)) for found in (lines, lines if differs else step.printed))
    if len(new) != len(shown):
        return step.printed
    for version, name in zip(new, shown, strict=True):
        names.setdefault(version, name)
    left = iter(new)
    return [VERSION.sub(lambda _: names[next(left)], line) for line in (lines if differs else step.printed)]


def main(pages: list[str]) -> None:
    """Write into pages what their commands print."""
    for name in pages:
        page = Path(name)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "home")
            folder.mkdir()
            steps = read_steps(page)
            outcomes = run_steps(steps, folder)
        text, names, end = page.read_text(), dict[str, str](), 0
        parts: list[str] = []
        for step, outcome in zip(steps, outcomes, strict=True):
            if difference := find_difference(step, outcome):
                print(difference)  # noqa: T201
            if step.printed:
                lines = "".join(f"{line}\n" for line in renew_names(step, outcome, names))
                parts += [text[end : step.span[0]], lines]
                end = step.span[1]
        page.write_text("".join([*parts, text[end:]]))


if __name__ == "__main__":
    main(sys.argv[1:])
