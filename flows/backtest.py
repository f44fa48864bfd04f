"""Backtest: how good models trained on earlier days would have been on the rows that came after."""

from prefect import flow, runtime

from tasks.dataset.history import Step, plan_steps, take_known_rows
from tasks.name import entitle
from tasks.parameters import Dataset, Period, Training
from tasks.reporting.backtest import report_backtest
from tasks.reporting.retrain import prepare
from tasks.training.backtest import StepResult, measure_step, recall_model
from tasks.training.train import train


def run_name() -> str:
    """Name the run, such as `backtest area+rooms month 2026-01-01`, so that runs can be told apart in a list."""
    parameters = runtime.flow_run.get_parameters()
    period = parameters["period"]
    return entitle(f"backtest {'+'.join(parameters['dataset'].features)} {period.every} {period.from_}")


@flow(name="backtest", flow_run_name=run_name)
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
    plan = plan_steps(dataset, period)
    results: list[StepResult] = []
    for step in plan.steps:
        if len(step.rows):
            results.append(run_step(step, dataset, training, results))
    return report_backtest(plan, results, period, dataset, training)


def run_step(step: Step, dataset: Dataset, training: Training, results: list[StepResult]) -> StepResult:
    """Train on what was known on the first day of a step, unless such a model is there, and measure it."""
    prepare()
    known = take_known_rows(dataset, training, step)
    if recalled := recall_model(known, dataset, training, results):
        return measure_step(step, known, recalled.model, recalled.version)
    return measure_step(step, known, train(known.split, training, known.folder).linear_model, "")
