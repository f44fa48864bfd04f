"""What has drifted away from the rows that a version was trained on, and the alarm about it."""

from tasks.dataset.drift import Drift, compare_column, count_bins
from tasks.dataset.rows import Snapshot, Split
from tasks.dataset.split import select_features
from tasks.model import ModelVersion
from tasks.parameters import Dataset
from tasks.registry.alarms import raise_alarm
from tasks.registry.champion import read_champion
from tasks.registry.versions import read_version
from tasks.steps import task
from tasks.storage.store import Store

PREDICTION = "prediction"  # what the predictions are called among the columns


def find_drift(
    model: ModelVersion, bins: dict[str, list[int]], nulls: dict[str, int], predictions: list[int]
) -> list[Drift]:
    """Compare the features, and then the predictions, with those of the training rows.

    Args:
        model: the version that predicts; an older one does not know enough, and nothing is compared.
        bins: feature -> counts in its ten bins.
        nulls: feature -> rows without a value.
        predictions: counts of the predictions in their ten bins.
    """
    found = [
        compare_column(name, model.contract.get(name, {}), counts, nulls.get(name, 0)) for name, counts in bins.items()
    ]
    found.append(compare_column(PREDICTION, model.predictions, predictions, 0))
    return [drift for drift in found if drift]


def warn_of_drift(store: Store, version: str, drifts: list[Drift]) -> bool:
    """Raise the alarm once, if something has drifted and the version is the champion. Returns whether it is new.

    Of a version that has been replaced nobody needs to know, and a run that the alarm starts can't start another.
    """
    drifted = [drift for drift in drifts if drift.drifted]
    champion = read_champion(store)
    if not drifted or champion is None or champion.version != version:
        return False
    names = ", ".join(f"{drift.column} (PSI {drift.psi:.2f})" for drift in drifted)
    reason = f"what comes in is no longer like the rows that {version} was trained on: {names}."
    figures = {drift.column: round(drift.psi, 4) for drift in drifts}
    return raise_alarm(store, "drift.detected", version, reason, figures=figures)


@task("Compare the rows with the champion's")
def watch_rows(snapshot: Snapshot, all_columns: Split, dataset: Dataset) -> None:
    """Compare today's training rows, and what the champion predicts for them, with those that it was trained on.

    Those of a day gone by, or with another target, say nothing about it.
    """
    store = Store()
    champion = read_champion(store)
    if champion is None or dataset.as_of:
        return
    model, rows = read_version(store, champion.version), all_columns.train
    if model.target != all_columns.target.name:
        return
    missing = snapshot.origin.details.get("missing", {})
    bins, nulls, predictions = {}, {}, [0] * 10
    for name in model.features:
        if name in all_columns.names and "deciles" in model.contract.get(name, {}):
            values = rows.x[:, all_columns.names.index(name)]
            bins[name] = count_bins(values, model.contract[name]["deciles"])
            nulls[name] = round(missing.get(name, 0.0) * len(rows))
    if model.predictions and len(bins) == len(model.features):
        x = select_features(all_columns, model.features).train.x
        predictions = count_bins(model.linear_model.predict(x), model.predictions["deciles"])
    warn_of_drift(store, model.version, find_drift(model, bins, nulls, predictions))
