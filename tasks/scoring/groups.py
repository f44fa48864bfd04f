"""Where the groups of a batch are scored: in this process, as recorded steps, or on a Dask cluster."""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any, cast

from prefect import unmapped
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.errors import UserError
from tasks.parameters import Batch
from tasks.scoring.join import join_results
from tasks.scoring.manifest import BatchRun, FileResult
from tasks.scoring.run import Group, score_group
from tasks.steps import is_recorded

CONNECTING = 10  # seconds that a cluster has to answer


def score_groups(groups: list[Group], kept: list[FileResult], batch_run: BatchRun) -> list[FileResult]:
    """Score the groups where the batch says, and join the ranges of a file as they come.

    Args:
        groups: what is left to score, in the order of the files' paths.
        kept: results that stand already.
        batch_run: the batch.

    Returns:
        The results of all files, in the order of their paths.

    Raises:
        UserError: there is no cluster, or what it wrote can't be joined.
    """
    # Workers need not know what is done; a copy of `batch_run` would keep it.
    todo = BatchRun(location=batch_run.location, batch=batch_run.batch, model=batch_run.model, shadow=batch_run.shadow)
    scored = chain.from_iterable(map(_take_outcome, groups, _run_groups(groups, todo)))
    return list(join_results(heapq.merge(sorted(kept, key=_find_place), scored, key=_find_place), batch_run))


def _find_place(result: FileResult) -> tuple[str, int]:
    return result.source.path, result.start


def _take_outcome(group: Group, outcome: list[FileResult] | BaseException) -> list[FileResult]:
    """Return the results of a group, or that the step was lost."""
    if not isinstance(outcome, BaseException):
        return outcome
    return [chunk.new_result(f"the step that scored it was lost ({outcome})") for chunk in group]


@contextmanager
def _cluster_errors(batch: Batch) -> Iterator[None]:
    """Turn what a cluster may refuse into one sentence."""
    try:
        yield
    except (ImportError, OSError) as error:
        if batch.runner == "local":
            raise
        if isinstance(error, ImportError):
            raise UserError("--runner dask needs more packages: pip install 'linear-neuron[dask]'.") from None
        message = f"There is no Dask scheduler at {batch.dask_address}: {error}"
        raise UserError(f"{message}. Start one, or predict with --runner local.") from error


def _disable_profiles() -> None:
    """Disable the profiles of workers in a cluster that is started here.

    For a profile Dask looks at the frames of other threads, which may lock up Python 3.11 before 3.11.9 for ever
    (CPython issue 106883). Workers that are started elsewhere have settings of their own.
    """
    import dask

    dask.config.set({"distributed.worker.profile.enabled": False})


def _run_groups(groups: list[Group], batch_run: BatchRun) -> Iterator[list[FileResult] | BaseException]:
    """Run a step a group, and yield its results or the error that it was lost by, in order and as soon as may be.

    In this process one at a time, since each one uses all cores.
    """
    address = batch_run.batch.dask_address or None
    if not groups:
        return
    if batch_run.batch.runner == "local" and not is_recorded():
        yield from map(score_group, groups, repeat(batch_run))
        return
    with _cluster_errors(batch_run.batch):
        if batch_run.batch.runner == "dask":
            _disable_profiles()
        if not is_recorded():
            from distributed import Client

            with Client(address, timeout=CONNECTING) as client:  # type: ignore[no-untyped-call]
                futures = client.map(score_group.fn, groups, batch_run=batch_run, pure=False)
                yield from (future.exception() or future.result() for future in futures)
            return
        runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
        if batch_run.batch.runner == "dask":
            from prefect_dask.task_runners import DaskTaskRunner

            runner = DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECTING})
        with runner:
            runs = runner.map(cast(Any, score_group.recorded), {"group": groups, "batch_run": unmapped(batch_run)})
            yield from (cast(Any, run.result(raise_on_failure=False)) for run in runs)
