"""Promote and roll back: which version serves, changed by one click."""

from prefect import flow, runtime

from tasks.name import entitle
from tasks.registry.promotion import promote_version, roll_back_champion


def run_name() -> str:
    """Name the run, such as `sales: promote 20261123T060000Z-1a2b3c` for the model sales."""
    return entitle(f"promote {runtime.flow_run.get_parameters()['version']}")


@flow(name="promote", flow_run_name=run_name)
def promote(version: str, reason: str = "by hand") -> str:
    """Make a version the champion, which serves from then on.

    Args:
        version: Name of a complete version, such as 20261123T060000Z-1a2b3c.
        reason: Why, for those who read the history later.

    Returns:
        One sentence: who is champion, since when, and who was before.
    """
    return promote_version(version, reason)


@flow(name="rollback", flow_run_name=lambda: entitle("rollback"))
def rollback(reason: str = "by hand") -> str:
    """Make the champion before the champion again; run again, it goes one more step back.

    Args:
        reason: Why, for those who read the history later.

    Returns:
        One sentence: who is champion, since when, and where a further rollback would go.
    """
    return roll_back_champion(reason)
