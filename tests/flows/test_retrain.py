"""The whole tutorial as one flow, run against a real server."""

import json
import shutil
from pathlib import Path, PurePath
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Training
from linear_neuron.tasks.registry.versions import list_versions, read_version, version_folder
from linear_neuron.tasks.reporting.plots import PLOTS
from linear_neuron.tasks.reporting.retrain_report import summarize
from linear_neuron.tasks.storage.store import Store, digest
from tests.flows.helpers import Way

PACKAGE = Dataset(source="package")


def test_default_retrain_gives_the_tutorials_figures(trained_store: Store) -> None:
    (version,) = list_versions(trained_store)
    folder = Path(version_folder(trained_store, version).path)
    history = pd.read_csv(folder / "history.csv")
    assert list(history) == ["epoch", "loss", "val_loss"]
    assert history["loss"].iloc[100] == pytest.approx(54.4371, rel=0.015)
    assert history["val_loss"].iloc[100] == pytest.approx(74.9653, rel=0.015)
    assert history["loss"].iloc[100] == pytest.approx(53.8947, rel=0.02)
    assert history["val_loss"].iloc[100] == pytest.approx(74.0549, rel=0.02)
    table = pd.read_csv(folder / "predictions_table.csv")
    assert table["RM"].tolist() == [3, 4, 5, 6, 7]
    assert table["predicted"].tolist() == pytest.approx([11.0, 14.4, 17.9, 21.3, 24.8], abs=0.5)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {part: scores["rows"] for part, scores in metrics.items()} == {"train": 282, "validation": 122, "test": 102}
    assert metrics["test"]["neuron"]["mse"] == pytest.approx(57.8265, rel=1e-3)
    assert metrics["test"]["least_squares"]["mse"] == pytest.approx(37.8061, rel=1e-4)
    assert len(pd.read_csv(folder / "predictions_test.csv")) == 102


def test_version_folder_is_complete_and_every_file_is_in_the_manifest(trained_store: Store) -> None:
    (version,) = list_versions(trained_store)
    folder = version_folder(trained_store, version)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    plots = {f"plots/{plot.name}.png" for plot in PLOTS if plot.suits(1)}
    assert set(files) == plots | {
        "model.keras",
        "model.json",
        "history.csv",
        "metrics.json",
        "predictions_test.csv",
        "predictions_table.csv",
        "report.html",
    }
    for name, facts in files.items():
        assert facts == {
            "sha256": digest((folder / name).read_bytes()),
            "bytes": (folder / name).stat().st_size,
        }


def test_model_json_predicts_what_the_prediction_file_says(trained_store: Store) -> None:
    (version,) = list_versions(trained_store)
    neuron = read_version(trained_store, version)
    rows = pd.read_csv(str(version_folder(trained_store, version) / "predictions_test.csv"))
    predicted = neuron.linear_model.predict(rows[["RM"]].to_numpy())
    assert predicted.tolist() == rows["predicted"].astype("float32").tolist()
    assert neuron.ranges["RM"] == (3.561, 8.704)
    assert neuron.lineage["packages"]["keras"]
    assert neuron.uncertainty_reason == "the recipe stops after its epochs, not at the optimum"
    assert neuron.dataset["source"] == "package"


def test_report_and_artifacts_show_the_plots_and_the_outcome(trained_store: Store, server: str) -> None:
    (version,) = list_versions(trained_store)
    page = (version_folder(trained_store, version) / "report.html").read_text()
    run_id = UUID(read_version(trained_store, version).lineage["flow_run_id"])
    assert page.count("data:image/png;base64,") == 5
    assert "7.60" in page.partition("<h2>")[0], "the outcome comes first"
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
        run = client.read_flow_run(run_id)
    assert {artifact.type for artifact in artifacts} >= {"markdown", "table", "progress"}
    shown = {artifact.key: str(artifact.data) for artifact in artifacts}
    assert shown["retrain-report"].count("data:image/png;base64,") == 5
    assert shown["history"].count("data:image/png;base64,") == 1
    assert f"| {version} | MEDV from RM | 7.60 | 6.15 | - | champion: it beats the mean predictor" in shown["history"]
    assert sum(len(data) for data in shown.values()) < 300_000, "kept under 300 KB a run"
    assert run.name.startswith("retrain RM notebook 20")


@pytest.mark.usefixtures("no_plots")
def test_same_parameters_give_the_same_files_either_way_and_another_seed_others(
    trained_store: Store, store: Store
) -> None:
    """The first version is of a recorded run, the others are not."""
    shutil.copytree(trained_store.root.path, store.root.path)
    locations = retrain.fn(PACKAGE, force=True), retrain.fn(PACKAGE, Training(seed=1))
    versions = [*list_versions(trained_store), *(Path(location).name for location in locations)]
    assert sorted(list_versions(store)) == sorted(set(versions))
    assert len(set(versions)) == 3
    first, again, other = (
        [
            (version_folder(store, version) / name).read_bytes()
            for name in ("history.csv", "predictions_test.csv", "predictions_table.csv")
        ]
        for version in versions
    )
    assert first == again
    assert all(
        challenger_errors != champion_errors for challenger_errors, champion_errors in zip(first, other, strict=True)
    )
    assert read_version(store, versions[0]).linear_model == read_version(store, versions[1]).linear_model


def test_several_features_another_target_and_table(store: Store) -> None:
    retrain.fn(
        Dataset(source="package", features=["LSTAT", "AGE"], target="RM"),
        Training(epochs=1, validation_split=0),
        ExampleInputs(values=[10]),
    )
    (version,) = list_versions(store)
    neuron = read_version(store, version)
    assert (neuron.features, neuron.target, len(neuron.weights)) == (["LSTAT", "AGE"], "RM", 2)
    assert neuron.intervals["90"] is None, "there were no validation rows"
    page = (version_folder(store, version) / "report.html").read_text()
    assert "too few validation rows" in page
    assert 'alt="partial"' in page
    assert 'alt="feature"' not in page
    assert set(neuron.shares) == {"LSTAT", "AGE"}
    assert sum(neuron.shares.values()) == pytest.approx(1)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in neuron.shares.items())
    assert f"\nShares        {shares}\n" in summarize(store, neuron, unchanged=False)


def test_the_converged_recipe_is_recorded_and_reaches_least_squares(store: Store) -> None:
    features = ["RM", "LSTAT", "PTRATIO"]
    version = PurePath(retrain.fn(Dataset(source="package", features=features), Training(recipe="converged"))).name
    neuron = read_version(store, version)
    train = neuron.metrics["train"]
    assert train["neuron"]["mse"] <= 1.001 * train["least_squares"]["mse"]
    assert (neuron.training["recipe"], neuron.training["epochs"]) == ("converged", 200)
    assert list(neuron.shares) == ["LSTAT", "RM", "PTRATIO"], "the strongest first"
    page = (version_folder(store, version) / "report.html").read_text()
    assert "<td>all rows</td>" in page
    assert "<td>gradient descent on standardised, decorrelated features</td>" in page
    assert "The others are at their mean: LSTAT 12." in page


def test_a_failed_training_publishes_nothing(store: Store, way: Way) -> None:
    with pytest.raises(UserError, match="no feature 'ROOMS'"):
        way(retrain)(Dataset(source="package", features=["ROOMS"]))
    with pytest.raises(UserError, match="Training passed its limit"):
        way(retrain)(PACKAGE, Training(epochs=100_000, time_limit=1))
    assert list_versions(store) == []


@pytest.mark.usefixtures("no_plots")
def test_outside_of_a_run_the_same_steps_are_plain_functions(store: Store) -> None:
    location = retrain.fn(PACKAGE, Training(epochs=2))
    (version,) = list_versions(store)
    assert location == str(version_folder(store, version))
    assert read_version(store, version).lineage["flow_run_id"] is None
    assert retrain.fn(PACKAGE, Training(epochs=2)) == location, "nothing has changed"
