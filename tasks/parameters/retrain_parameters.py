"""The parameters of the retrain flow."""

from datetime import date
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_serializer, field_validator, model_validator

from linear_neuron.tasks.parameters.base import (
    Address,
    Bounds,
    Connection,
    Day,
    Parameters,
    Sign,
    read_bounds,
    read_sign,
)

AUTO = "auto"  # among the features: every usable column


class Dataset(Parameters, hide_input_in_errors=True):
    """Which rows to learn from, and which of their columns."""

    source: Address = Field("boston", min_length=1)
    """boston is the tutorial's dataset; cache, network and package are the same from that place alone. Or a table of
    your own: a file, folder, glob or URL of CSV (plain, .gz or .zst) or Parquet; or a query, as sql:FILE.sql or
    sql:SELECT ..., with a connection."""

    connection: Connection = ""
    """Name of the database of a query, never its address. That is in the environment as
    LINEAR_NEURON_CONNECTION_NAME, or in a Prefect Secret block of this name."""

    features: list[str] = []
    """What the neuron multiplies: columns of numbers by name, and expressions over columns, such as log(area) or
    month(sold_on). auto is every usable column of your own table as what it is, categories too. If nothing is named,
    this is auto; of the tutorial's dataset it is RM, the average number of rooms of a dwelling."""

    categories: list[str] = []
    """Columns of labels, such as suburb, and parts of times, such as month(sold_on): one weight for each level."""

    without: list[str] = []
    """Columns that auto leaves out, such as one that is not known when the target is not."""

    by: list[str] = []
    """Columns that nothing is learned from, by whose levels the errors on test rows are shown too, beside those of the
    categories. Of more than 50 levels the rarest are one."""

    min_level_rows: int = Field(10, ge=1, le=1_000_000)
    """Rows that a level of a category needs for a weight of its own; rarer levels share one, as do unseen levels."""

    missing: Literal["reject", "fill"] = "reject"
    """What becomes of a row with an empty cell: reject leaves it out; with fill the model learns a weight for a missing
    value. The target, the key and the time are never filled. auto fills where a column that it takes has such cells."""

    target: str = "MEDV"
    """Column to predict, or its logarithm, such as log(price), of which each term is then a factor; rows in which that
    is not above 0 are rejected. MEDV is the median price of a home, in thousands of dollars."""

    time: str = ""
    """Column of your own table that says when a row happened: the neuron learns from the older rows and is tested on
    the newest. Without it, a hash of each row (or of its key) says which rows are for testing."""

    key: str = ""
    """Column that names a row, and may name none twice."""

    bounds: list[Bounds] = []
    """What is allowed in a column: COLUMN=LEAST..GREATEST, such as rooms=1..20 or price=0.. with an open end."""

    max_rejects: float = Field(0, ge=0, le=1)
    """Share of the rows that may be left out because a value in them is missing, no number or out of bounds. The
    version's rejects.csv lists them."""

    max_bad_rows: int = Field(0, ge=0, le=1_000_000)
    """The same as a number of rows, as older versions have it; the greater of the two counts."""

    max_age_days: int = Field(0, ge=0, le=36_500)
    """Days that the newest time may lie back; 0 allows any age."""

    allow_future: bool = False
    """Whether times may lie in the future. Without it, a row whose time is more than a day ahead is rejected."""

    as_of: Day = ""
    """Day (such as 2026-11-01) before which a row must have happened, or been known, to be learned from. Empty takes
    every row."""

    known_at: str = ""
    """Column that says when a row became known, if that is later than its time."""

    decimal: Literal["auto", "comma", "point"] = "auto"
    """Decimal mark of numbers in text. auto is the point in files that commas separate; in others it is found in each
    column, and a file where it is not certain is refused. comma and point also allow the other mark for thousands."""

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

    @model_validator(mode="after")
    def _name_default_features(self) -> Self:
        """Name what is learned from where nobody did, which does not count as set by the user."""
        named = self.features if self.is_own or self.features != [AUTO] else []
        default = [] if self.categories else [AUTO] if self.is_own else ["RM"]
        self.__dict__["features"] = named or default
        return self

    @field_serializer("features", when_used="json")
    def _write_named_features(self, features: list[str]) -> list[str]:
        """Leave the default out of the form, which would else ask a table of the user's own for the tutorial's."""
        return features if "features" in self.model_fields_set else []

    @field_validator("features")
    @classmethod
    def _features_are_distinct(cls, features: list[str]) -> list[str]:
        if len(set(features)) < len(features):
            raise ValueError("names a feature twice; name each once")
        return features

    @field_validator("categories")
    @classmethod
    def _categories_are_distinct(cls, categories: list[str], info: ValidationInfo) -> list[str]:
        if len(set(categories)) < len(categories):
            raise ValueError("names a category twice; name each once")
        if both := set(categories).intersection(info.data.get("features", [])):
            raise ValueError(f"names {min(both)}, which is a feature already; name it once")
        return categories

    @property
    def entries(self) -> list[str]:
        """The features, and then the categories."""
        return [*self.features, *self.categories]


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

    past: str = Field("auto", pattern=r"^(all|auto|[1-9]\d{0,4}d|half-life:[1-9]\d{0,4}d)$")
    """How much of the past to learn from: all, the days of a window such as 90d, or all with a half-life such as
    half-life:30d. auto takes what predicts the next month best, and all where nothing is better than chance or where
    the rows have no times. It needs the recipe converged."""

    l2: float = Field(0.0, ge=0, le=1_000_000)
    """Ridge: what a weight costs, squared and in units of standardized columns, beside the mean squared error; never
    the bias. Of columns that do not correlate each weight becomes 1 / (1 + l2) of what it was. It needs the recipe
    converged."""

    signs: list[Sign] = []
    """The sign that the weight of a numeric term may have, if it is not 0: TERM=+ or TERM=-, such as area=+ age=-. It
    needs the recipe converged."""

    refit: Literal["auto", "never"] = "auto"
    """auto serves the same recipe fitted on all rows, the newest included, once the candidate fitted on the train rows
    is measured; never serves that candidate. The recipe notebook and the tutorial's dataset always serve it."""

    @field_validator("signs")
    @classmethod
    def _signs_are_distinct(cls, signs: list[str]) -> list[str]:
        if len(dict(map(read_sign, signs))) < len(signs):
            raise ValueError("names a term twice; give it one sign")
        return signs

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
    """auto promotes the new version if it reads no column that the champion does not, is no worse than it and than the
    best earlier champion, and better than predicting the mean; manual leaves that to people; always promotes whatever
    has finite numbers; try only makes the version, to look at."""

    tolerance: float = Field(0.01, ge=0, le=10)
    """How much higher than the champion's the test error (MSE) may be, as a share of it."""

    min_certainty: float = Field(0.05, ge=0, le=1)
    """Share of resamples of the test rows in which the new version must have the lower error. 0.05 refuses one that is
    probably worse, even if by less than the tolerance."""

    max_change: float = Field(0, ge=0, le=1000)
    """Most by which any prediction within bounds may move when the new version replaces the champion, as a share of the
    target's spread (from its 10% to its 90% quantile where the champion learned): 0.1 refuses a version that could move
    one by more. The bound is proven, see `linear-neuron diff`. 0 allows any change."""

    slices: Literal["report", "refuse"] = "report"
    """What becomes of a new version that is better on the whole, but worse than the champion on a slice of the test
    rows (a level of a category, of the prediction, or a period) by more than chance and the tolerance: report names the
    slice, refuse does not promote it."""

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
