"""The description of a version: what `model.json` and `metrics.json` say."""

from datetime import UTC, datetime

import numpy as np
from prefect import runtime

from tasks.dataset import boston
from tasks.dataset.rows import Download, Split
from tasks.model import Histogram, ModelVersion
from tasks.parameters import Training
from tasks.registry.fingerprint import describe_code
from tasks.registry.versions import NewVersion
from tasks.steps import task
from tasks.storage.store import to_json
from tasks.training.results import Evaluation, TrainingResult


def describe_version(
    draft: NewVersion,
    download: Download,
    split: Split,
    training: Training,
    trained: TrainingResult,
    evaluation: Evaluation,
) -> ModelVersion:
    """The content of `model.json`."""
    counts, edges = np.histogram(split.train.y, bins=20)
    low, high = split.train.x.min(axis=0).tolist(), split.train.x.max(axis=0).tolist()
    return ModelVersion(
        version=draft.version,
        features=list(split.features),
        target=split.target,
        weights=list(trained.linear_model.weights),
        bias=trained.linear_model.bias,
        ranges=dict(zip(split.features, zip(low, high, strict=True), strict=True)),
        intervals=evaluation.intervals,
        coverage=evaluation.coverage,
        targets=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        dataset={
            "name": boston.NAME,
            "sha256": download.sha256,
            "source": download.source,
            "remarks": download.remarks,
        },
        training=training.model_dump(),
        metrics=evaluation.metrics,
        fingerprint=draft.fingerprint,
        lineage=describe_code() | {"flow_run": runtime.flow_run.get_name(), "flow_run_id": runtime.flow_run.get_id()},
        created_at=datetime.now(UTC),
    )


@task("Describe the version")
def describe(
    draft: NewVersion,
    download: Download,
    split: Split,
    training: Training,
    trained: TrainingResult,
    evaluation: Evaluation,
) -> ModelVersion:
    """Writes `model.json` and `metrics.json`."""
    neuron = describe_version(draft, download, split, training, trained, evaluation)
    (draft.folder / "model.json").write_bytes(to_json(neuron.model_dump(mode="json")))
    (draft.folder / "metrics.json").write_bytes(to_json(evaluation.metrics))
    return neuron
