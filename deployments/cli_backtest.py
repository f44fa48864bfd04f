"""The command `backtest`, which trains as on earlier days."""

from typing import Annotated

from cyclopts import Parameter

from deployments.cli_base import Json, print_result
from tasks.parameters import Dataset, Period, Training


def backtest(
    *,
    period: Annotated[Period, Parameter(name="*")],
    dataset: Dataset = Dataset(),
    training: Training = Training(),
    json: Json = False,
) -> None:
    """Train as on days gone by, on what was known then, and print the error of each model on the rows after it.

    Nothing is promoted or published; the last line is the folder with the table, the chart and the report.
    """
    from tasks.training.process import warm_up

    warm_up()
    from deployments.runs import run
    from flows.backtest import backtest as flow
    from tasks.reporting.backtest import read_backtest, summarize

    location = run(flow, period, dataset, training)
    manifest = read_backtest(location)
    print_result({"location": location, **manifest}, summarize(manifest, location), json)
