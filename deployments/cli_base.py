"""What the commands share: flags that several have, and how a result is printed."""

import sys
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(negative="", help="Print the same as JSON.")]
Version = Annotated[str, Parameter(help="Name of a complete version, such as 20261123T060000Z-1a2b3c.")]


def print_result(value: object, text: str, json: bool = False) -> None:
    """Print a result for people, or as JSON."""
    from tasks.storage.store import to_json

    sys.stdout.write(to_json(value).decode() if json else text)
