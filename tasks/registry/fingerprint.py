"""The fingerprint: a digest of all that decides a version's weights, so that nothing is trained twice.

It imports no Prefect, since commands ask for it before they need that.
"""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Training
from linear_neuron.tasks.storage.store import digest, to_json

TASKS = Path(__file__).parents[1]
DECISIVE = ("dataset", "features", "tables", "training", "model.py")
"""Files and folders of `tasks/` that decide a version's weights. A change elsewhere makes no version stale."""

LEARNED = {"features", "categories", "target", "min_level_rows", "missing"}  # parameters of the dataset
PACKAGES = ("linear-neuron", "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "prefect")


def digest_code(root: Path = TASKS) -> str:
    """Digest the names and bytes of the decisive files below a copy of `tasks/`."""
    paths = {path for part in DECISIVE for path in [root / part, *(root / part).rglob("*.py")] if path.is_file()}
    return digest(
        b"".join(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() for path in sorted(paths))
    )


@cache
def _list_packages() -> dict[str, str]:
    """List the versions of the packages, which do not change while a process runs; a backtest asks at each step."""
    return {item.name: item.version for name in PACKAGES for item in metadata.distributions(name=name)}


def describe_code() -> dict[str, Any]:
    """Name the commit of the checkout, a digest of the decisive code, and the versions of the packages."""
    return {
        "commit": _describe_commit(),
        "code": digest_code()[:12],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": _list_packages(),
    }


def _describe_commit() -> str | None:
    """Describe the checkout's commit; None where this is no checkout, or the machine has no git."""
    command = ["git", "-C", str(TASKS), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint(sha256: str, dataset: Dataset, training: Training, table: ExampleInputs) -> str:
    """Digest all that decides the outcome: data, recipe, our code and the packages."""
    code = describe_code()
    return digest(
        to_json(
            {
                "data": sha256,
                "dataset": dataset.model_dump(include=LEARNED),  # All else shows in the snapshot.
                "training": training.model_dump(exclude={"time_limit"}),
                "table": table.model_dump(),
                "code": [code["code"], code["python"], code["platform"], code["packages"]],
            }
        )
    )
