"""Backtest: how good models trained on earlier days would have been on the rows that came after."""

from typing import Any

from prefect import flow

from linear_neuron.tasks.features.auto import choose
from linear_neuron.tasks.parameters import Dataset, Period, Training
from linear_neuron.tasks.reporting.backtest_report import report_backtest
from linear_neuron.tasks.steps import name_run, send_heartbeats
from linear_neuron.tasks.training.backtest import (
    Plan,
    Step,
    StepResult,
    choose_served,
    measure_step,
    plan_steps,
    recall_model,
    take_known_rows,
)
from linear_neuron.tasks.training.fit_data import prepare_fit
from linear_neuron.tasks.training.train import prepare, train


def describe_run(given: dict[str, Any]) -> str:
    """Say what a run is about, such as `area+rooms month 2026-01-01`."""
    return f"{'+'.join(given['dataset'].entries)} {given['period'].every} {given['period'].from_}"


@flow(name="backtest", flow_run_name=name_run("backtest", describe_run))
@send_heartbeats
def backtest(period: Period, dataset: Dataset = Dataset(), training: Training = Training()) -> str:
    """Train a model at each step on what was known then, and measure its error on the rows of the step.

    No version is published, and the champion stays: only the figures and each model's weights are kept.

    Args:
        period: From which day to which, and in which steps.
        dataset: Which rows to learn from, and which of their columns; they must have times.
        training: The recipe; the defaults are those of retrain.

    Returns:
        The folder or URL with the report.
    """
    training = training.resolve(dataset.is_own)
    dataset, _ = choose(dataset, period.from_)
    plan = plan_steps(dataset, period)
    results: list[StepResult] = []
    for step in plan.steps:
        if len(step.rows):
            results.append(run_step(plan, step, dataset, training, results))
    prepare(needed=False)
    return report_backtest(plan, results, period, dataset, training)


def run_step(plan: Plan, step: Step, dataset: Dataset, training: Training, results: list[StepResult]) -> StepResult:
    """Train on what was known on the first day of a step, unless such a model is there, and measure it."""
    prepare()
    known = take_known_rows(plan, dataset, training, step)
    data = prepare_fit(known.split, training)
    trained = recall_model(known, dataset, training, results)
    if trained is None:
        trained = choose_served(data, train(data, training, known.folder, keep=True))
    return measure_step(step, known, data, trained)
