"""The parameters of the backtest flow that no other flow has."""

from datetime import date
from typing import Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from tasks.parameters.base import Parameters


class Period(Parameters):
    """The days that a backtest goes through, and in which steps."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: date = Field(alias="from")
    """Day of the first training, such as 2026-01-01. It learns from what was known before that day."""

    to: date
    """Day before which the last row happened that a prediction is compared with."""

    every: Literal["week", "month", "quarter"] = "month"
    """How long a step is: the model is trained at its first day, and its error is measured on the rows of the step."""

    @field_validator("to")
    @classmethod
    def _end_follows_start(cls, to: date, info: ValidationInfo) -> date:
        if "from_" in info.data and to <= info.data["from_"]:
            raise ValueError("is not after the day of the first training; name a later one")
        return to
