"""Commands as in a terminal, but in this process: another takes seconds of CPU to import Prefect."""

import io
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_neuron.deployments.cli import main
from tests.deployments.helpers import Api, Stack

FLOWS = {
    "weekly-retrain": "retrain",
    "daily-predict": "predict",
    "daily-actuals": "actuals",
    "promote": "promote",
    "rollback": "rollback",
    "backtest": "backtest",
}


def call(url: str, folder: Path, settings: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that runs no flow, in a folder and at a server, and return what it prints and its status."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: url}):
        patch.chdir(folder)
        for name, value in {"LINEAR_NEURON_NAME": "", "LINEAR_NEURON_TIMEZONE": "UTC", **settings}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["linear-neuron", *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def call_beside(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that runs no flow, in the folder of a stack."""
    return call(stack.api.url, stack.log.parent, stack.settings, *arguments)


def deploy(stack: Stack, *arguments: str) -> None:
    """Deploy to a stack."""
    done = call_beside(stack, "deploy", *arguments)
    assert done.returncode == 0, done.stderr


def undeploy(stack: Stack, name: str) -> None:
    """Remove the deployments of a model from a stack."""
    done = call_beside(stack, "undeploy", "--name", name)
    assert done.returncode == 0, done.stderr


def find_deployments(api: Api, name: str) -> dict[str, dict[str, Any]]:
    """The deployments of a model, or of the one without a name, by their names in prefect.yaml."""
    prefix = f"{name}." if name else ""
    return {ending: api.deployment(f"{flow}/{prefix}{ending}") for ending, flow in FLOWS.items()}
