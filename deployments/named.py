"""The deployments of a model with a name: those of prefect.yaml once more, each bound to the model by its own name."""

from copy import deepcopy
from typing import Any

from prefect.flows import load_flow_from_entrypoint

from tasks.name import PATTERN, name_champion, name_folder

Config = dict[str, Any]
Parameters = dict[str, dict[str, Any]]  # of a flow: the fields that were named, in their groups


def compose(configs: list[Config], known: dict[str, Config], name: str, given: Parameters) -> list[Config]:
    """Say which deployments a server is to have.

    Args:
        configs: Those of prefect.yaml. What stands there under a full name, such as `sales.weekly-retrain`, is as the
            file says.
        known: The parameters of those that the server has, by name. A model with a name keeps them.
        name: The model to deploy; empty for all, which are that without a name and those that file and server know.
        given: Parameters for this model.
    """
    ours = [config for config in configs if "." not in config["name"]]
    names = [name] if name else _find_names({*known, *(config["name"] for config in configs)}, ours)
    wanted = {} if name else {config["name"]: config for config in ours}
    for model in names:
        wanted |= {config["name"]: config for config in _name_all(ours, model, known, given)}
    return list((wanted | {config["name"]: config for config in configs if config["name"] in wanted}).values())


def _find_names(deployments: set[str], ours: list[Config]) -> list[str]:
    """Find the models that have deployments of ours."""
    split = [deployment.partition(".") for deployment in deployments]
    endings = {config["name"] for config in ours}
    return sorted({name for name, _, ending in split if ending in endings and PATTERN.fullmatch(name)})


def _name_all(ours: list[Config], name: str, known: dict[str, Config], given: Parameters) -> list[Config]:
    named = []
    for config in deepcopy(ours):
        config["name"] = f"{name}.{config['name']}"
        config["tags"] = [*config.get("tags", []), name]
        config["description"] = f"**Model {name}**, in a store of its own.\n\n{config['description']}"
        for trigger in config.get("triggers", []):
            trigger["name"] = f"{name}.{trigger['name']}"
            trigger["match"] = {"prefect.resource.id": name_champion(name)}
        groups = load_flow_from_entrypoint(config["entrypoint"]).parameters.properties
        folders = {"batch": "inbox", "actuals": "actuals"}
        first = {group: {"inputs": [name_folder(own, name)]} for group, own in folders.items() if group in groups}
        before = first | known.get(config["name"], {})
        changes = {group: before.get(group, {}) | fields for group, fields in given.items() if group in groups}
        config["parameters"] = before | changes
        named.append(config)
    return named
