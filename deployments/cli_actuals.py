"""The command `actuals`, which says how good predictions turned out to be."""

import sys
from typing import Annotated

from cyclopts import Parameter

from tasks.parameters import Actuals


def actuals(
    *inputs: Annotated[str, Parameter(help="What became known: the same as after --inputs.")],
    actuals: Annotated[Actuals, Parameter(name="*")] = Actuals(),
    json: Annotated[bool, Parameter(negative="", help="Print the same as JSON.")] = False,
) -> None:
    """Compare what became known with what was predicted before, and print how good each version's predictions were."""
    from deployments.runs import run
    from flows.actuals import actuals as flow
    from tasks.actuals.performance import read_performance
    from tasks.reporting.actuals import summarize
    from tasks.storage.store import Store, to_json

    location = run(flow, actuals.model_copy(update={"inputs": list(inputs)} if inputs else {}))
    results = read_performance(Store())
    value = {"location": location, "results": [result.model_dump(mode="json") for result in results]}
    sys.stdout.write(to_json(value).decode() if json else summarize(results, location))
