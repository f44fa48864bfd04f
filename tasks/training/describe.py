"""The description of a version: what `model.json` and `metrics.json` say."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
from prefect import runtime

from linear_neuron.tasks.dataset.design_matrix import decode, find_ranges, measure_effects, predict
from linear_neuron.tasks.dataset.profile import describe_column, describe_errors, make_profile, profile_raw
from linear_neuron.tasks.dataset.raw_columns import RawColumns
from linear_neuron.tasks.dataset.rows import Rows, Snapshot, Split, copy_column
from linear_neuron.tasks.features.auto import drop_terms
from linear_neuron.tasks.model import AutoTerms, Candidate, Histogram, Learned, LinearModel, ModelVersion
from linear_neuron.tasks.registry.fingerprint import describe_code
from linear_neuron.tasks.registry.versions import NewVersion
from linear_neuron.tasks.steps import task
from linear_neuron.tasks.storage.store import to_json
from linear_neuron.tasks.training.diagnostics import find_levels
from linear_neuron.tasks.training.findings import Findings
from linear_neuron.tasks.training.inference import find_obstacle, infer
from linear_neuron.tasks.training.past import describe_choice
from linear_neuron.tasks.training.results import Evaluation
from linear_neuron.tasks.training.training_process import DECISIVE

PROFILED = 3  # half-lives whose rows the profile describes, which hold 7/8 of all weight


def describe_version(new_version: NewVersion, snapshot: Snapshot, evaluation: Evaluation) -> ModelVersion:
    """Put together the content of `model.json`.

    Metrics and coverage are the candidate's; all else describes the model that serves and what it has learned from.
    """
    data, split = evaluation.data, evaluation.data.split
    result = evaluation.served or evaluation.result
    rows = split.train if data.served is None else data.served
    profiled = data.past.select(rows, PROFILED)
    model = result.linear_model
    counts, edges = np.histogram(copy_column(profiled.y), bins=20)
    features = _describe_features(snapshot, profiled, rows, split, model)
    candidate, signs = None, describe_signs(evaluation)
    if evaluation.served:
        line = evaluation.result.linear_model
        candidate = Candidate(
            weights=list(line.weights),
            bias=line.bias,
            centers=list(line.centers),
            base=line.base,
            link=line.link,
            terms=decode(split, line, split.train),
            rows=len(split.train),
            newest=_find_newest(split.train),
        )
    return ModelVersion(
        version=new_version.version,
        target=split.target.name,
        weights=list(model.weights),
        bias=model.bias,
        arithmetic="float64" if model.centers else "float32",
        centers=list(model.centers),
        base=model.base,
        link=model.link,
        candidate=candidate,
        learned=Learned(rows=len(rows), newest=_find_newest(rows)),
        signs=signs,
        **describe_uncertainty(evaluation, rows, signs),
        past=describe_choice(data.choice),
        **features,
        intervals=evaluation.intervals,
        interval_bins=evaluation.bins,
        interval_rows=evaluation.calibrated,
        coverage=evaluation.coverage,
        coverage_deciles=list(evaluation.coverage_deciles),
        targets=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        mean=float(split.train.y.mean()),
        predictions=describe_column(predict(split, model, profiled)),
        test_errors=describe_errors(split.test.y - evaluation.predicted["test"]),
        dataset=describe_dataset(snapshot, split),
        training=result.training.model_dump(),
        metrics=evaluation.metrics,
        fingerprint=new_version.fingerprint,
        lineage=describe_lineage(),
        created_at=datetime.now(UTC),
    )


def describe_signs(evaluation: Evaluation) -> dict[str, Any]:
    """Describe which signs of the served model's weights are binding, and what they cost on its rows."""
    data = evaluation.data
    moments = data.served_moments or data.parts.get("train")
    return data.constraints.describe_signs(moments) if moments else {}


def describe_uncertainty(evaluation: Evaluation, rows: Rows, signs: dict[str, Any]) -> dict[str, Any]:
    """Describe how certain the weights of the model that serves are, or why that is not known.

    Args:
        evaluation: of the candidate.
        rows: that the model that serves has learned from.
        signs: which are binding, as `describe_signs` says it.
    """
    data, result = evaluation.data, evaluation.served or evaluation.result
    found = infer(
        result.linear_model,
        data.served_moments or data.parts.get("train"),
        data.split.learn(rows),
        data.past.weigh(rows),
        find_obstacle(data.constraints.l2, list(signs.get("bound", {}))),
        data.split.names,
        find_levels(data.split),
    )
    return {
        "uncertainty": found.weights,
        "uncertainty_method": found.method,
        "uncertainty_reason": found.reason,
    }


def _describe_features(
    snapshot: Snapshot, profiled: Rows, rows: Rows, split: Split, model: LinearModel
) -> dict[str, Any]:
    """Describe what the model reads: features, terms, columns, labels, effects, ranges and the profile.

    Args:
        snapshot: of all rows.
        profiled: rows that the profile and the effects are of.
        rows: that the model has learned from.
        split: of the snapshot.
        model: of the columns of the split.
    """
    missing = snapshot.origin.details.get("missing", {})
    if split.terms is None:
        spreads = np.array([copy_column(column).std() for column in profiled.x.T])
        ranges = [(float(column.min()), float(column.max())) for column in map(copy_column, rows.x.T)]
        return {
            "features": split.names,
            "columns": dict.fromkeys(split.names, "number"),
            "labels": {column.name: str(column) for column in (*split.features, split.target)},
            "effects": dict(zip(split.names, (spreads * model.weights).tolist(), strict=True)),
            "ranges": dict(zip(split.names, ranges, strict=True)),
            "contract": make_profile(profiled, [*split.names, split.target.name], missing),
        }
    raw, kinds, terms = cast(RawColumns, split.raw), split.terms.kinds, decode(split, model, rows)
    least = split.entries.min_level_rows if split.entries else 1
    meanings = {column.name: str(column) for column in (*snapshot.columns, split.target)}
    profile = profile_raw(raw, profiled.number, list(kinds), missing, least)
    return {
        "features": split.terms.texts,
        "terms": terms,
        "design": split.names,
        "columns": kinds,
        "labels": {name: meanings.get(name, name) for name in (*kinds, split.target.name)},
        "effects": measure_effects(raw, profiled, terms, kinds),
        "ranges": find_ranges(raw, rows.number, [name for name in kinds if kinds[name] == "number"]),
        "contract": profile | {split.target.name: describe_column(profiled.y, missing.get(split.target.name, 0.0))},
    }


def _find_newest(rows: Rows) -> datetime | None:
    """Find the time of the newest row."""
    if rows.time is None or not len(rows):
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(rows.time[-1]))


def describe_lineage() -> dict[str, Any]:
    """Describe by which code, with which settings of Keras and TensorFlow, and in which run something was made."""
    run = {"flow_run": runtime.flow_run.get_name(), "flow_run_id": runtime.flow_run.get_id()}
    return describe_code() | {"settings": DECISIVE} | run


def describe_dataset(snapshot: Snapshot, split: Split) -> dict[str, Any]:
    """Describe where the rows came from and how they were split, so that a later model can be tested on other rows."""
    facts = {"name": snapshot.name, **asdict(snapshot.origin)}
    facts |= facts.pop("details")
    if split.entries:
        facts |= {"missing_cells": split.entries.missing, "min_level_rows": split.entries.min_level_rows}
    if snapshot.seed is None:
        facts["rule"] = split.rule
        if split.test.time is not None:
            facts["until"] = int(split.test.time[0])  # The candidate has not learned from later rows.
    return facts


@task("Describe the version")
def describe(
    new_version: NewVersion,
    snapshot: Snapshot,
    evaluation: Evaluation,
    auto: AutoTerms | None = None,
    findings: Findings | None = None,
) -> ModelVersion:
    """Write `model.json` and `metrics.json`, and `rejects.csv` if rows were left out.

    Args:
        new_version: the version, and where its files go.
        snapshot: the rows.
        evaluation: the models, and how good they are.
        auto: how the terms were chosen, where they were not named.
        findings: on the fit, which only `metrics.json` has.
    """
    model = describe_version(new_version, snapshot, evaluation)
    if auto:
        model = model.model_copy(update={"auto": drop_terms(auto, evaluation.data.split.left_out)})
    (new_version.folder / "model.json").write_bytes(to_json(model.model_dump(mode="json")))
    if snapshot.rejects:
        (new_version.folder / "rejects.csv").write_bytes(snapshot.rejects)
    found = findings.to_data() if findings else {}
    (new_version.folder / "metrics.json").write_bytes(to_json(evaluation.metrics | found))
    return model
