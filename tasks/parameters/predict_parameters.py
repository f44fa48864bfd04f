"""The parameters of the predict flow."""

from typing import Annotated, Literal

from pydantic import Field

from linear_neuron.tasks.parameters.base import Address, Connection, Day, Form, Pair, Parameters

Table = Annotated[
    str,
    Form(
        r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?)?$",
        "must be TABLE or SCHEMA.TABLE in letters, digits and _",
    ),
]

Scheduler = Annotated[
    str,
    Form(
        r"^(((tcp|tls|ucx|ws|wss)://)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}/?)?$",
        "must be the address of a Dask scheduler, such as tcp://host:8786, without a user or a password",
        secret=True,
    ),
]


class Batch(Parameters, hide_input_in_errors=True):
    """Which files to predict, and how."""

    inputs: list[Address] = Field(["inbox"], min_length=1)
    """Files, folders, globs or URLs of CSV or TSV (plain, .gz or .zst) or Parquet; or a query, as sql:FILE.sql or
    sql:SELECT ..., with a connection. What this model has already predicted is skipped."""

    model: str = ""
    """Version that predicts. Empty means the champion."""

    as_of: Day = ""
    """Day (such as 2026-11-01) at whose end the version was champion that predicts. Empty means the champion of now."""

    connection: Connection = ""
    """Name of the database of a query and of --into, never its address; see the dataset's connection."""

    into: Table = ""
    """TABLE or SCHEMA.TABLE of the connection that the predictions are loaded into as well, in place of those that it
    has of the same inputs. It is created if it is not there."""

    output: Address = ""
    """Folder or URL to put the batch's folder in. Empty means predictions/ in the model store."""

    done: Address = ""
    """Folder that files are moved to once they are predicted, and loaded if they are to be. It is on the same disk.
    Empty means that they stay."""

    format: Literal["same", "csv", "parquet"] = "same"
    """Kind of the prediction files; same keeps that of each input."""

    columns: list[Pair] = []
    """Where a feature goes by another name in some files: FEATURE=COLUMN, such as RM=rooms. A feature may have several
    names, of which a file has one; a file without any of them may still have the feature's own."""

    key: str = ""
    """Column that names each row, by which its actual value is found later. Every file must have it once; a row
    without a key is predicted all the same."""

    add: list[Literal["model_version", "shadow"]] = []
    """Further columns of the prediction files: model_version is the version that predicted, and shadow, called
    shadow_prediction, what the shadow predicts."""

    shadow: str = ""
    """Version that predicts the same rows in the same pass, only to be compared. Empty means none."""

    explain: Literal["none", "top", "all"] = "none"
    """How each prediction is explained, in further columns: top names the feature that moves it most from that at the
    training means, and by how much; all says it of every feature. Where the logarithm of the target is learned, it says
    by which factor."""

    interval: int = Field(90, ge=50, le=99)
    """Percent of the actual values that the prediction interval should hold."""

    interval_follow: Literal["none", "actuals"] = "none"
    """Whether the interval is wider or narrower than it was calibrated, as the actual values known by then ask for.
    With actuals, the same file gets another interval once more values are known; the manifest has the factor."""

    decimal: Literal["auto", "comma", "point"] = "auto"
    """Decimal mark of numbers in text. auto is the point in files that commas separate; in others it is found in each
    column, and a file where it is not certain is refused. comma and point also allow the other mark for thousands."""

    max_rejects: float = Field(0.5, ge=0, le=1)
    """Share of rejected rows above which a file fails."""

    runner: Literal["local", "dask"] = "local"
    """Where the files are predicted: in this process, or on a Dask cluster."""

    dask_address: Scheduler = ""
    """The cluster's scheduler, such as tcp://host:8786. Empty starts a cluster on this machine."""

    parts: bool = False
    """Leave the ranges of a large file, which a cluster scores apart, as files with a header each instead of one."""

    @property
    def mapping(self) -> dict[str, list[str]]:
        """Feature -> the other names that it may go by."""
        names: dict[str, list[str]] = {}
        for feature, _, column in (pair.partition("=") for pair in self.columns):
            names.setdefault(feature, []).append(column)
        return names


class Actuals(Parameters, hide_input_in_errors=True):
    """Which files say what became known, and of which predictions."""

    inputs: list[Address] = Field(["actuals"], min_length=1)
    """Files, folders, globs or URLs of CSV or TSV (plain, .gz or .zst) or Parquet with a key and the actual value; or a
    query, as sql:FILE.sql or sql:SELECT ..., with a connection. A file that is as it was is skipped; one that changed
    takes the place of what it said before."""

    key: str = ""
    """Column that names each row, here and in the files that were predicted. Empty means the key of the champion's own
    table."""

    target: str = ""
    """Column with the actual value. Empty means the champion's target."""

    known_at: str = ""
    """Column that says when a value became known. Only predictions made before count. Empty means now."""

    connection: Connection = ""
    """Name of the database of a query; see the dataset's connection."""

    decimal: Literal["auto", "comma", "point"] = "auto"
    """Decimal mark of numbers in text. auto is the point in files that commas separate; in others it is found in each
    column, and a file where it is not certain is refused. comma and point also allow the other mark for thousands."""

    by: list[str] = []
    """Columns of the predicted files by whose levels errors are shown too, beside the categories of the model. Of more
    than 50 levels the rarest are one."""

    predictions: list[Address] = []
    """More folders or URLs with batches, such as those given to predict --output."""

    tolerance: float = Field(0.01, ge=0, le=10)
    """How much higher than on the test rows the error (MSE) may be, as a share of it, before an alarm is raised. Above
    it, chance must not explain it either."""
