"""What the groups of parameters have in common."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def read_bounds(text: str) -> tuple[str, tuple[float, float]]:
    """Read what is allowed in a column, such as rooms=1..20: the column, the least and the greatest value."""
    name, _, limits = text.partition("=")
    low, _, high = limits.partition("..")
    try:
        least, greatest = float(low or "-inf"), float(high or "inf")
    except ValueError:
        raise ValueError("is not COLUMN=LEAST..GREATEST in numbers") from None
    if not least <= greatest:
        raise ValueError("has a least value above the greatest")
    return name, (least, greatest)


def _check_bounds(text: str) -> str:
    return read_bounds(text) and text


def _check_past(day: str) -> str:
    if day and date.fromisoformat(day) > datetime.now(UTC).date():
        raise ValueError("is a day that is still to come; name today or an earlier one")
    return day


Bounds = Annotated[str, Field(pattern=r"^[^=]+=[^=]*\.\.[^=]*$"), AfterValidator(_check_bounds)]
# A connection is a name, so never an address with a password in it.
Connection = Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_-]*)?$")]
Day = Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$"), AfterValidator(_check_past)]


class Parameters(BaseModel):
    """A group of parameters: unknown names are refused, and a value once checked stays as it is.

    The text below a field is its description in the form and in the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Number the fields, by which Prefect's form orders them, and add the bounds to their descriptions."""
        schema = cls.model_json_schema(by_alias=False)["properties"]
        for position, (name, field) in enumerate(cls.model_fields.items()):
            field.json_schema_extra = {"position": position}
            field.description = " ".join((field.description or "").split())
            if {"minimum", "maximum"} <= schema[name].keys():
                field.description += f" From {schema[name]['minimum']:,} to {schema[name]['maximum']:,}."
        cls.model_rebuild(force=True)
