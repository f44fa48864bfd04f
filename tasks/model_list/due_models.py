"""Which models of a list are due, by what their own stores say."""

import asyncio
from datetime import UTC, datetime

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model_list.read_models import NEVER, Entry, Kind, ModelList, choose_models, read_models
from linear_neuron.tasks.name import find_store
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.last_runs import read_runs
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.store import Store


@task("Find which models are due")
def find_due_models(kind: Kind, chosen: ModelList) -> list[Entry]:
    """Read the file, and choose the models that are to run now.

    Raises:
        UserError: the file can't be read, has a mistake, or has no model of a name that is asked for.
    """
    models = read_models(chosen.file)
    if chosen.only or chosen.every:
        return choose_models(models, chosen.only, chosen.file)
    now = datetime.now(UTC)
    due = [model for model in models if _is_due_or_unknown(model, kind, now)]
    get_logger().info("%s of %s models are due", f"{len(due):,}", f"{len(models):,}")
    return due


def _is_due_or_unknown(model: Entry, kind: Kind, now: datetime) -> bool:
    """Whether a run is due; it is where the store can't be read, so that the run says why."""
    try:
        return is_due(model, kind, Store(find_store(model.name)), now)
    except UserError:
        return True


def is_due(model: Entry, kind: Kind, store: Store, now: datetime) -> bool:
    """Whether a run of a kind is due.

    It is if a time of its cron line has passed since the last one began, and if there was none. Retrain is also due
    after an alarm of drift, and predict after a change of champion; nothing but retrain is due without a champion.

    Args:
        model: The model, whose cron lines count.
        kind: The kind of run.
        store: The model's store.
        now: The moment.
    """
    cron = getattr(model.due, kind)
    champion = read_champion(store) if kind != "retrain" else None
    if cron == NEVER or (kind != "retrain" and champion is None):
        return False
    if (last := read_runs(store).get(kind)) is None or _find_next(cron, model.due.zone, last.at) <= now:
        return True
    if champion is not None:
        return kind == "predict" and champion.since > last.at
    drifted = [alarm["at"] for alarm in read_alarms(store) if alarm["action"] == "drift.detected"]
    return bool(drifted) and datetime.fromisoformat(drifted[-1]) > last.at


def _find_next(cron: str, timezone: str, after: datetime) -> datetime:
    """Find the first time of a cron line after a moment."""
    from prefect.server.schemas.schedules import CronSchedule  # The client's schedules hold no clock.

    (date,) = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1, start=after))
    return datetime.fromtimestamp(date.timestamp(), UTC)
