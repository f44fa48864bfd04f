"""What the command line says where the call, or what it names, is wrong."""

from typing import Any

from pydantic import ValidationError

from tasks.parameters import Batch, Period

BARE = (Batch.__name__, Period.__name__)  # groups whose flags have no prefix


def explain(error: Exception) -> str:
    """Say in one line what is wrong; of a value that broke a parameter's rule the flag, the rule and the value."""
    if isinstance(rules := error.__cause__, ValidationError):
        group = "" if rules.title in BARE else f"{rules.title.lower()}."
        message = [
            f"--{group}{'.'.join(map(str, rule['loc'])).strip('_').replace('_', '-')}: {_say(rule)}, not {_show(rule)}"
            for rule in rules.errors()
        ]
        return "; ".join(message) + "."
    return " ".join(str(error).split())


def _say(rule: Any) -> str:
    """Say which rule was broken; pydantic has no words for the pattern of a name."""
    if rule["type"] == "string_pattern_mismatch" and "connection" in rule["loc"]:
        return "must be a name of letters, digits, - and _, never an address"
    return str(rule["msg"]).removeprefix("Value error, ")


def _show(rule: Any) -> str:
    """Show a value that broke a rule, unless it may be an address with a password in it."""
    if rule["type"] == "missing":
        return "left out"
    return "what was given" if "connection" in rule["loc"] else repr(rule["input"])
