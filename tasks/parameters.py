"""Every parameter, declared once: the form in the Prefect UI, the flags of the command line, and the validation."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


def _order(position: int) -> dict[str, Any]:
    """The key by which Prefect's form orders fields."""
    return {"position": position}


def _number(position: int, default: float, low: float, high: float, description: str) -> Any:
    """A bounded number whose bounds can be read in the form and in the help text."""
    message = f"{description} From {low:,} to {high:,}."
    return Field(default, ge=low, le=high, description=message, json_schema_extra=_order(position))


class Parameters(BaseModel):
    """A group of parameters: unknown names are refused, and a value once checked stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Dataset(Parameters):
    """Which rows to learn from, and which of their columns."""

    source: Literal["auto", "cache", "network", "package"] = Field(
        "auto",
        description="Where the file comes from. auto tries the store's cache, then the network, then the copy "
        "that ships with the package; every one must have the same digest.",
        json_schema_extra=_order(0),
    )
    features: list[str] = Field(
        ["RM"],
        min_length=1,
        description="Columns the neuron reads, by name. RM is the average number of rooms of a dwelling.",
        json_schema_extra=_order(1),
    )
    target: str = Field(
        "MEDV",
        description="Column to predict. MEDV is the median price of a home, in thousands of dollars.",
        json_schema_extra=_order(2),
    )

    @field_validator("features")
    @classmethod
    def _features_are_distinct(cls, features: list[str]) -> list[str]:
        if len(set(features)) < len(features):
            raise ValueError("names a feature twice; name each once")
        return features


class Training(Parameters):
    """The recipe; the defaults are those of the tutorial."""

    epochs: int = _number(0, 101, 1, 100_000, "Passes over the training rows.")
    batch_size: int = _number(1, 16, 1, 1_000_000, "Rows a gradient step.")
    learning_rate: float = _number(2, 0.005, 1e-8, 100, "Step size of RMSprop.")
    validation_split: float = _number(
        3, 0.3, 0, 0.99, "Share of the training rows, taken from their end, kept out of the fit to validate it."
    )
    seed: int = _number(
        4, 42, 0, 2**32 - 1, "Seed of the initial weights and of the shuffle. The same seed gives the same bits."
    )
    shuffle: bool = Field(
        True, description="Whether the rows are shuffled before they are cut into batches.", json_schema_extra=_order(5)
    )
    time_limit: int = _number(6, 3600, 1, 604_800, "Seconds after which training is given up and nothing is published.")

    @property
    def recipe(self) -> str:
        """`notebook` for the tutorial's own recipe, `custom` for any other."""
        return "notebook" if self == Training() else "custom"


class Table(Parameters):
    """The small table of predictions that people like to look at."""

    values: list[float] = Field(
        [],
        description="Values of the first feature to predict for, in its own unit; other features stand at their mean. "
        "Empty means 3 to 7 rooms for RM, and five even steps over the training rows for any other.",
        json_schema_extra=_order(0),
    )


class Promotion(Parameters):
    """Whether the new version may serve."""

    mode: Literal["auto", "manual", "always"] = Field(
        "auto",
        description="auto promotes the new version if it is no worse than the champion and better than predicting the "
        "mean; manual leaves that to people; always promotes whatever has finite numbers.",
        json_schema_extra=_order(0),
    )
    tolerance: float = _number(
        1, 0.01, 0, 10, "How much higher than the champion's the test error (MSE) may be, as a share of it."
    )


class Retention(Parameters):
    """Which old versions are kept. The champion, the one before it and what a batch uses always are."""

    newest: int = _number(0, 20, 1, 10_000, "Newest versions that are kept.")
    days: int = _number(1, 90, 0, 36_500, "Days for which every version that was promoted is kept.")
    leftover_hours: int = _number(2, 24, 1, 8760, "Hours after which an unfinished version is taken for a dead run's.")


class Batch(Parameters):
    """Which files to predict, and how."""

    inputs: list[str] = Field(
        ["inbox"],
        min_length=1,
        description="Files, folders, globs or URLs of CSV (plain, .gz or .zst) or Parquet. What this model has "
        "already predicted is skipped.",
        json_schema_extra=_order(0),
    )
    output: str = Field(
        "",
        description="Folder or URL to put the batch's folder in. Empty means predictions/ in the model store.",
        json_schema_extra=_order(1),
    )
    format: Literal["same", "csv", "parquet"] = Field(
        "same",
        description="Kind of the prediction files; same keeps that of each input.",
        json_schema_extra=_order(2),
    )
    columns: list[Annotated[str, Field(pattern=r"^[^=]+=.+$")]] = Field(
        [],
        description="Where a feature goes by another name in the files: FEATURE=COLUMN, such as RM=rooms.",
        json_schema_extra=_order(3),
    )
    interval: int = _number(4, 90, 50, 99, "Percent of the true values that the prediction interval should hold.")
    max_rejects: float = _number(5, 0.5, 0, 1, "Share of rejected rows above which a file fails.")
    runner: Literal["local", "dask"] = Field(
        "local",
        description="Where the files are predicted: in this process, or on a Dask cluster.",
        json_schema_extra=_order(6),
    )
    dask_address: str = Field(
        "",
        description="The cluster's scheduler, such as tcp://host:8786. Empty starts a cluster on this machine.",
        json_schema_extra=_order(7),
    )

    @property
    def mapping(self) -> dict[str, str]:
        """Feature -> column, for those that differ."""
        return dict(pair.split("=", 1) for pair in self.columns)
