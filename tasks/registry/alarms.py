"""Alarms: what people should know of the champion, each said once.

An alarm is an event that automations react to, a line of the store's `alarms.jsonl`, and in its run an artifact and a
warning in the log.
"""

from typing import Any, Literal

from tasks.name import entitle, get_name, name_champion
from tasks.registry.log import ALARMS, append, is_logged, make_entry, read_lines
from tasks.steps import announce, get_logger, show_markdown
from tasks.storage.store import Store
from tasks.text import as_text

Alarm = Literal[
    "drift.detected",  # inputs or predictions are no longer distributed as the training rows were
    "coverage.low",  # the interval holds fewer of the actuals than chance explains
    "error.high",  # the error on the actuals is above that on the test rows
    "champion.old",
    "challenger.refused",
    "approval.awaited",  # promotion is manual
]


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


def read_alarms(store: Store) -> list[dict[str, Any]]:
    """Read every alarm, oldest first: `at`, `action` (its kind), `version`, `by`, `reason`, `figures`.

    Raises:
        UserError: a line is damaged.
    """
    return read_lines(store, ALARMS)
