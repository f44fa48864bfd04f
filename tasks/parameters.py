"""Every parameter, declared once: the form in the Prefect UI, the flags of the command line, and the validation."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Parameters(BaseModel):
    """A group of parameters: unknown names are refused, and a value once checked stays as it is.

    The text below a field is its description in the form and in the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Number the fields, by which Prefect's form orders them, and add the bounds to their descriptions."""
        schema = cls.model_json_schema()["properties"]
        for position, (name, field) in enumerate(cls.model_fields.items()):
            field.json_schema_extra = {"position": position}
            field.description = " ".join((field.description or "").split())
            if {"minimum", "maximum"} <= schema[name].keys():
                field.description += f" From {schema[name]['minimum']:,} to {schema[name]['maximum']:,}."
        cls.model_rebuild(force=True)


class Dataset(Parameters):
    """Which rows to learn from, and which of their columns."""

    source: Literal["auto", "cache", "network", "package"] = "auto"
    """Where the file comes from. auto tries the store's cache, then the network, then the copy that ships with the
    package; every one must have the same digest."""

    features: list[str] = Field(["RM"], min_length=1)
    """Columns the neuron reads, by name. RM is the average number of rooms of a dwelling."""

    target: str = "MEDV"
    """Column to predict. MEDV is the median price of a home, in thousands of dollars."""

    @property
    def is_own(self) -> bool:
        """Whether the rows are a table of the user's own."""
        return self.source not in ("boston", "auto", "cache", "network", "package")

    @field_validator("features")
    @classmethod
    def _features_are_distinct(cls, features: list[str]) -> list[str]:
        if len(set(features)) < len(features):
            raise ValueError("names a feature twice; name each once")
        return features


class Training(Parameters):
    """The recipe; the defaults are those of the tutorial."""

    recipe: Literal["auto", "notebook", "converged"] = "auto"
    """notebook is the tutorial's: RMSprop on the columns as they are, which may stop far from the optimum. converged
    trains to the optimum, on columns that are standardised and decorrelated meanwhile. auto takes notebook for the
    tutorial's dataset, converged for any other. A field below that is not the notebook's was set by you, and stays."""

    epochs: int = Field(101, ge=1, le=100_000)
    """Passes over the training rows (converged: up to 200, and fewer once it is at the optimum)."""

    batch_size: int = Field(16, ge=1, le=1_000_000_000)
    """Rows a gradient step (converged: all of them)."""

    learning_rate: float = Field(0.005, ge=1e-8, le=100)
    """Step size of RMSprop (converged: 0.25 of gradient descent, halved when an epoch gains nothing)."""

    validation_split: float = Field(0.3, ge=0, le=0.99)
    """Share of the training rows, taken from their end, kept out of the fit to validate it."""

    seed: int = Field(42, ge=0, le=2**32 - 1)
    """Seed of the initial weights and of the shuffle. The same seed gives the same bits."""

    shuffle: bool = True
    """Whether the rows are shuffled before they are cut into batches."""

    time_limit: int = Field(3600, ge=1, le=604_800)
    """Seconds after which training is given up and nothing is published."""

    def resolve(self, own_table: bool) -> "Training":
        """Fill in what the recipe says, for a table of the user's own or for the tutorial's dataset.

        A field that has not the notebook's value was set by hand, and keeps it.
        """
        recipe = ("converged" if own_table else "notebook") if self.recipe == "auto" else self.recipe
        default = Training()
        fields = {
            name: value for name, value in RECIPES[recipe].items() if getattr(self, name) == getattr(default, name)
        }
        return self.model_copy(update={"recipe": recipe, **fields})

    @property
    def recipe_name(self) -> str:
        """`notebook` or `converged` for that recipe as it is, `custom` where a field was set by hand."""
        resolved = self.resolve(own_table=False)  # Older versions did not say which recipe; there was but one.
        unchanged = Training(recipe=resolved.recipe).resolve(own_table=False)
        return resolved.recipe if resolved == unchanged else "custom"


RECIPES: dict[str, dict[str, Any]] = {
    "notebook": {},  # the defaults
    "converged": {"epochs": 200, "batch_size": 1_000_000_000, "learning_rate": 0.25},
}
"""What each recipe puts in the place of the defaults."""


class ExampleInputs(Parameters, title="Table"):
    """The small table of predictions that people like to look at."""

    values: list[float] = []
    """Values of the first feature to predict for, in its own unit; other features stand at their mean. Empty means 3 to
    7 rooms for RM, and five even steps over the training rows for any other."""


class Promotion(Parameters):
    """Whether the new version may serve."""

    mode: Literal["auto", "manual", "always", "try"] = "auto"
    """auto promotes the new version if it reads no column that the champion does not, is no worse than it, and better
    than predicting the mean; manual leaves that to people; always promotes whatever has finite numbers; try only makes
    the version, to look at."""

    tolerance: float = Field(0.01, ge=0, le=10)
    """How much higher than the champion's the test error (MSE) may be, as a share of it."""


class Retention(Parameters):
    """Which old versions are kept. The champion, the one before it and what a batch uses always are."""

    newest: int = Field(20, ge=1, le=10_000)
    """Newest versions that are kept."""

    days: int = Field(90, ge=0, le=36_500)
    """Days for which every version that was promoted is kept."""

    leftover_hours: int = Field(24, ge=1, le=8760)
    """Hours after which an unfinished version, or a scratch file, is taken for a dead run's."""

    batch_days: int = Field(365, ge=0, le=36_500)
    """Days for which a batch of predictions is kept. The champion's newest always is."""


class Batch(Parameters):
    """Which files to predict, and how."""

    inputs: list[str] = Field(["inbox"], min_length=1)
    """Files, folders, globs or URLs of CSV or TSV (plain, .gz or .zst) or Parquet. What this model has already
    predicted is skipped."""

    output: str = ""
    """Folder or URL to put the batch's folder in. Empty means predictions/ in the model store."""

    format: Literal["same", "csv", "parquet"] = "same"
    """Kind of the prediction files; same keeps that of each input."""

    columns: list[Annotated[str, Field(pattern=r"^[^=]+=.+$")]] = []
    """Where a feature goes by another name in some files: FEATURE=COLUMN, such as RM=rooms. A feature may have several
    names, of which a file has one; a file without any of them may still have the feature's own."""

    interval: int = Field(90, ge=50, le=99)
    """Percent of the true values that the prediction interval should hold."""

    max_rejects: float = Field(0.5, ge=0, le=1)
    """Share of rejected rows above which a file fails."""

    runner: Literal["local", "dask"] = "local"
    """Where the files are predicted: in this process, or on a Dask cluster."""

    dask_address: str = ""
    """The cluster's scheduler, such as tcp://host:8786. Empty starts a cluster on this machine."""

    @property
    def mapping(self) -> dict[str, list[str]]:
        """Feature -> the other names that it may go by."""
        names: dict[str, list[str]] = {}
        for feature, _, column in (pair.partition("=") for pair in self.columns):
            names.setdefault(feature, []).append(column)
        return names
