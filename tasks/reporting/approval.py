"""The way from a report to the form of the promote deployment, where a person makes a version the champion.

Outside of a recorded run, and at a server without that deployment, there is no form and nothing happens.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING
from urllib.parse import quote

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.steps import get_logger, is_recorded
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import number

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

NEWEST = 10  # versions that the form lists


@contextmanager
def _open_deployment() -> "Iterator[tuple[SyncPrefectClient, DeploymentResponse] | None]":
    """Open the promote deployment of this model at the run's server; None where there is none."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    with get_client(sync_client=True) as client:
        try:
            found = client, client.read_deployment_by_name(f"promote/{entitle('promote', '.')}")
        except (PrefectException, httpx.HTTPError) as error:
            get_logger().debug("There is no form to promote a version: %s", error)
            found = None
        yield found


def link_promotion(version: str) -> str:
    """Write a link in markdown that opens the form of promote with a version filled in; empty where there is none."""
    if not is_recorded():
        return ""
    from prefect.utilities.urls import url_for

    with _open_deployment() as found:
        page = found and url_for("deployment", obj_id=found[1].id)
    if not page:
        return ""
    address = f"{page}/run?parameters={quote(json.dumps({'version': version}))}"
    return f"[Promote it in a form]({address}), where **by** takes your name for the audit log."


def offer_versions() -> None:
    """List in the form of promote the newest versions that do not serve; a damaged store or lost server only warns."""
    if not is_recorded():
        return
    import httpx
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.exceptions import PrefectException

    with _open_deployment() as found:
        if not found:
            return
        client, deployment = found
        schema = deepcopy(deployment.parameter_openapi_schema or {})
        try:
            field = schema["properties"]["version"]
            field["description"] = field["description"].partition(" Newest versions")[0] + _describe_versions()
            update = DeploymentUpdate.model_validate({"parameter_openapi_schema": schema})
            client.update_deployment(deployment.id, update)
        except (UserError, PrefectException, httpx.HTTPError, KeyError) as error:
            get_logger().warning("The form of promote does not list the newest versions: %s", error)


def _describe_versions() -> str:
    """List the newest versions that do not serve, each with its test RMSE; empty where there are none."""
    rows = [row for row in list_models(Store(), NEWEST) if row["bytes"] is not None and row["status"] != "champion"]
    listed = [f"{row['version']} (test RMSE {number(row['test_rmse'])})" for row in reversed(rows)]
    return f" Newest versions that did not serve after the last retrain: {', '.join(listed)}." if listed else ""
