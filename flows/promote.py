"""Promote and roll back: which version serves, changed by one click."""

from operator import itemgetter

from prefect import flow

from linear_neuron.tasks.registry.promotion import promote_version, roll_back_champion
from linear_neuron.tasks.steps import name_run, send_heartbeats


@flow(name="promote", flow_run_name=name_run("promote", itemgetter("version")))
@send_heartbeats
def promote(version: str, reason: str = "by hand", by: str = "") -> str:
    """Make a version the champion: it predicts from now on.

    Args:
        version: Name of a complete version, such as 20261123T060000Z-1a2b3c.
        reason: Reason for the change; it is kept in the audit log.
        by: Name of who decides; the audit log keeps it, and nobody checks it.

    Returns:
        One sentence: who is champion, since when, and who was before.
    """
    return promote_version(version, reason, by)


@flow(name="rollback", flow_run_name=name_run("rollback"))
@send_heartbeats
def rollback(reason: str = "by hand", by: str = "") -> str:
    """Restore the previous champion; run again, it goes one more step back.

    Args:
        reason: Reason for the change; it is kept in the audit log.
        by: Name of who decides; the audit log keeps it, and nobody checks it.

    Returns:
        One sentence: who is champion, since when, and where a further rollback would go.
    """
    return roll_back_champion(reason, by)
