"""The description of a version: what `model.json` and `metrics.json` say."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prefect import runtime

from tasks.dataset.contract import describe_column, learn_contract
from tasks.dataset.rows import Snapshot, Split
from tasks.model import Histogram, ModelVersion
from tasks.registry.fingerprint import describe_code
from tasks.registry.versions import NewVersion
from tasks.steps import task
from tasks.storage.store import to_json
from tasks.training.results import Evaluation


def describe_version(new_version: NewVersion, snapshot: Snapshot, split: Split, evaluation: Evaluation) -> ModelVersion:
    """Put together the content of `model.json`."""
    counts, edges = np.histogram(split.train.y, bins=20)
    ranges = np.stack([split.train.x.min(axis=0), split.train.x.max(axis=0)], axis=1)
    model = evaluation.result.linear_model
    return ModelVersion(
        version=new_version.version,
        features=split.names,
        target=split.target.name,
        labels={column.name: str(column) for column in (*split.features, split.target)},
        weights=list(model.weights),
        bias=model.bias,
        effects=dict(zip(split.names, (split.train.x.std(axis=0) * model.weights).tolist(), strict=True)),
        ranges=dict(zip(split.names, ranges.tolist(), strict=True)),
        intervals=evaluation.intervals,
        coverage=evaluation.coverage,
        targets=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        contract=learn_contract(split, snapshot.origin.details.get("missing", {})),
        predictions=describe_column(evaluation.predicted["train"]),
        dataset=describe_dataset(snapshot, split),
        training=evaluation.result.training.model_dump(),
        metrics=evaluation.metrics,
        fingerprint=new_version.fingerprint,
        lineage=describe_lineage(),
        created_at=datetime.now(UTC),
    )


def describe_lineage() -> dict[str, Any]:
    """Say by which code something was made, and in which run."""
    return describe_code() | {"flow_run": runtime.flow_run.get_name(), "flow_run_id": runtime.flow_run.get_id()}


def describe_dataset(snapshot: Snapshot, split: Split) -> dict[str, Any]:
    """Say where the rows came from, and how they were dealt out, so that a later model can be tested on others."""
    facts = {"name": snapshot.name, **asdict(snapshot.origin)}
    facts |= facts.pop("details")
    if snapshot.seed is None:
        facts["rule"] = split.rule
        if split.test.time is not None:
            facts["until"] = int(split.test.time[0])  # Later rows were not learned from.
    return facts


@task("Describe the version")
def describe(new_version: NewVersion, snapshot: Snapshot, split: Split, evaluation: Evaluation) -> ModelVersion:
    """Write `model.json` and `metrics.json`, and `rejects.csv` if rows were left out."""
    model = describe_version(new_version, snapshot, split, evaluation)
    (new_version.folder / "model.json").write_bytes(to_json(model.model_dump(mode="json")))
    if snapshot.rejects:
        (new_version.folder / "rejects.csv").write_bytes(snapshot.rejects)
    (new_version.folder / "metrics.json").write_bytes(to_json(evaluation.metrics))
    return model
