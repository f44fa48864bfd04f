"""CONTRIBUTING.md has the layers and the places of libraries that import-linter checks."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
FORBIDDEN = [contract for contract in CONTRACTS if contract["type"] == "forbidden"]


def test_layers_are_those_of_the_linter() -> None:
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract.get("containers") == ["linear_neuron.tasks"]]
    (block,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert block.splitlines() == layers
    assert all(
        (ROOT / "tasks" / name).exists() or (ROOT / "tasks" / f"{name}.py").exists()
        for name in block.split()
        if name != "|"
    )


def test_libraries_are_where_the_linter_lets_them_be() -> None:
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \|$", PAGE, re.MULTILINE)
    shown = {tuple(re.findall("`(.*?)`", libraries)): set(re.findall("`(.*?)`", places)) for libraries, places in rows}
    allowed = {
        tuple(contract["forbidden_modules"]): {line.split(" -> ")[0] for line in contract["ignore_imports"]}
        for contract in FORBIDDEN
        if contract.get("ignore_imports")
    }
    assert shown == allowed


def test_libraries_that_flows_never_import_are_named() -> None:
    (forbidden,) = [
        contract["forbidden_modules"] for contract in FORBIDDEN if contract["source_modules"] == ["linear_neuron.flows"]
    ]
    (sentence,) = re.findall(r"^`flows/` imports none of (.*)\.$", PAGE, re.MULTILINE)
    assert re.findall("`(.*?)`", sentence) == forbidden
