"""Alarms: what people should know of the champion, raised once, and again where it lasts.

An alarm is an event that automations react to, a line of the store's `alarms.jsonl`, and in its run an artifact and a
warning in the log.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from upath import UPath

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.name import entitle, get_name, name_champion
from linear_neuron.tasks.registry.audit_log import ALARMS, append, is_logged, make_entry, read_lines
from linear_neuron.tasks.steps import announce, get_logger, show_markdown
from linear_neuron.tasks.storage.store import Store, digest, parse_json, to_json
from linear_neuron.tasks.text import as_text

Alarm = Literal[
    "drift.detected",  # inputs or predictions are no longer distributed as the training rows were
    "coverage.low",  # the interval holds fewer of the actuals than chance explains
    "error.high",  # the errors on the actuals are above those on the test rows
    "champion.old",
    "challenger.refused",
    "approval.awaited",  # promotion is manual
]

LOOKS = "looks.json"  # how often the data of a version was looked at for an alarm, which decides what a look may spend
AGAIN = timedelta(days=30)  # after which an alarm about the same version may be raised again


class Round(NamedTuple):
    """What an alarm that was raised before leaves to look at."""

    since: datetime | None  # only what came later counts; None before the first alarm
    key: str  # what makes the next alarm another one


def raise_alarm(
    store: Store, alarm: Alarm, version: str, reason: str, key: str = "", figures: dict[str, Any] | None = None
) -> bool:
    """Raise an alarm about a version, unless it was raised before.

    A run that is killed between the event and the line of the log raises it again: twice is better than never.

    Args:
        store: Where the version is.
        alarm: Its kind, by which the event is named: `linear-neuron.drift.detected`.
        version: The version that it is about.
        reason: One sentence for people.
        key: What makes it another alarm of the same kind about the same version, such as the name of a batch.
        figures: Numbers for programs.

    Returns:
        Whether it is new.
    """
    name = f"{alarm} {version} {key}".rstrip()
    if is_logged(store, name, ALARMS):
        return False
    entry = make_entry(name, alarm, version, reason, figures=figures or {})
    get_logger().warning("Alarm %s: %s", alarm, entitle(reason))
    show_markdown(f"**{alarm}**: {as_text(reason)}", key="alarms", description=f"Alarm of {version}")
    announce(f"linear-neuron.{alarm}", name_champion(get_name()), entitle(version), {"model": get_name(), **entry})
    append(store, entry, ALARMS)
    return True


def open_round(store: Store, alarm: Alarm, version: str) -> Round | None:
    """Find from when on data counts for an alarm about a version; None while one that was raised is still new."""
    try:
        raised = [entry for entry in read_alarms(store) if (entry["action"], entry["version"]) == (alarm, version)]
    except UserError as error:
        get_logger().warning("Earlier alarms are not known: %s", error)
        raised = []
    if not raised:
        return Round(None, "")
    last = datetime.fromisoformat(raised[-1]["at"])
    return Round(last, f"again {len(raised)}") if datetime.now(UTC) - last >= AGAIN else None


def count_look(store: Store, alarm: str, version: str, data: bytes) -> int:
    """Count the looks at the data of a version, from 1; another look at the same data is the same look.

    So a run that is killed after it has counted spends nothing twice.
    """
    name, seen, path = f"{alarm} {version}", digest(data)[:16], store.root / LOOKS

    def add(content: bytes | None) -> bytes:
        looks = _parse_looks(content, path)
        before = looks.get(name, {"count": 0, "last": ""})
        if before["last"] != seen:
            looks[name] = {"count": before["count"] + 1, "last": seen}
        return to_json(looks)

    store.update(path, add)
    return int(_parse_looks(store.read(path), path)[name]["count"])


def _parse_looks(content: bytes | None, path: UPath) -> dict[str, dict[str, Any]]:
    """Parse the file of looks; a damaged one is begun again, which spends more than the budget, so it is logged."""
    looks: dict[str, dict[str, Any]] = {}
    try:
        for name, look in parse_json(b"{}" if content is None else content, path).items():
            looks[name] = {"count": max(1, int(look["count"])), "last": str(look["last"])}
    except (DamagedError, AttributeError, KeyError, TypeError, ValueError, OverflowError):
        get_logger().warning("%s is damaged, so looks are counted from 1 again", path)
    return looks


def read_alarms(store: Store) -> list[dict[str, Any]]:
    """Read every alarm, oldest first: `at`, `action` (its kind), `version`, `by`, `reason`, `figures`.

    Raises:
        UserError: a line is damaged.
    """
    return read_lines(store, ALARMS)
