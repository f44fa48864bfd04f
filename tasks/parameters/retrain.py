"""The parameters of the retrain flow."""

from typing import Any, Literal

from pydantic import Field, field_validator

from tasks.parameters.base import Bounds, Connection, Day, Parameters, read_bounds


class Dataset(Parameters, hide_input_in_errors=True):
    """Which rows to learn from, and which of their columns."""

    source: str = Field("boston", min_length=1)
    """boston is the tutorial's dataset; cache, network and package are the same from that place alone. Or a table of
    your own: a file, folder, glob or URL of CSV (plain, .gz or .zst) or Parquet; or a query, as sql:FILE.sql or
    sql:SELECT ..., with a connection."""

    connection: Connection = ""
    """Name of the database of a query, never its address. That is in the environment as
    LINEAR_NEURON_CONNECTION_NAME, or in a Prefect Secret block of this name."""

    features: list[str] = Field(["RM"], min_length=1)
    """Columns the neuron reads, by name. RM is the average number of rooms of a dwelling."""

    target: str = "MEDV"
    """Column to predict. MEDV is the median price of a home, in thousands of dollars."""

    time: str = ""
    """Column of your own table that says when a row happened: the neuron learns from the older rows and is tested on
    the newest. Without it, a hash of each row (or of its key) says which rows are for testing."""

    key: str = ""
    """Column that names a row, and may name none twice."""

    bounds: list[Bounds] = []
    """What is allowed in a column: COLUMN=LEAST..GREATEST, such as rooms=1..20 or price=0.. with an open end."""

    max_bad_rows: int = Field(0, ge=0, le=1_000_000)
    """Rows that may be left out because a value in them is missing, no number or out of bounds. The version's
    rejects.csv lists them."""

    max_age_days: int = Field(0, ge=0, le=36_500)
    """Days that the newest time may lie back; 0 allows any age."""

    as_of: Day = ""
    """Day (such as 2026-11-01) before which a row must have happened, or been known, to be learned from. Empty takes
    every row."""

    known_at: str = ""
    """Column that says when a row became known, if that is later than its time."""

    sample: float = Field(1, gt=0, le=1)
    """Share of the rows to learn from, chosen by their hash, for a table that does not fit into memory."""

    @property
    def is_own(self) -> bool:
        """Whether the rows are a table of the user's own."""
        return self.source not in ("boston", "auto", "cache", "network", "package")

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Column -> least and greatest value that it may have."""
        return dict(map(read_bounds, self.bounds))

    @field_validator("bounds")
    @classmethod
    def _bounds_are_distinct(cls, bounds: list[str]) -> list[str]:
        if len(dict(map(read_bounds, bounds))) < len(bounds):
            raise ValueError("names a column twice; give both ends at once, as in rooms=1..20")
        return bounds

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

    max_weeks: int = Field(26, ge=1, le=5200)
    """Weeks after which an alarm says that the champion is old."""


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
