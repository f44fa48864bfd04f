"""The parameters of the predict flow."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.parameters.base import Connection, Day, Parameters


class Batch(Parameters, hide_input_in_errors=True):
    """Which files to predict, and how."""

    inputs: list[str] = Field(["inbox"], min_length=1)
    """Files, folders, globs or URLs of CSV or TSV (plain, .gz or .zst) or Parquet; or a query, as sql:FILE.sql or
    sql:SELECT ..., with a connection. What this model has already predicted is skipped."""

    model: str = ""
    """Version that predicts. Empty means the champion."""

    as_of: Day = ""
    """Day (such as 2026-11-01) at whose end the version was champion that predicts. Empty means the champion of now."""

    connection: Connection = ""
    """Name of the database of a query and of --into, never its address; see the dataset's connection."""

    into: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    """Table of the connection that the predictions are loaded into as well, in place of those that this batch has
    there. It is made if it is not there."""

    output: str = ""
    """Folder or URL to put the batch's folder in. Empty means predictions/ in the model store."""

    format: Literal["same", "csv", "parquet"] = "same"
    """Kind of the prediction files; same keeps that of each input."""

    columns: list[Annotated[str, Field(pattern=r"^[^=]+=.+$")]] = []
    """Where a feature goes by another name in some files: FEATURE=COLUMN, such as RM=rooms. A feature may have several
    names, of which a file has one; a file without any of them may still have the feature's own."""

    key: str = ""
    """Column that names each row, by which its truth is found later. Every file must have it once; a row without a
    key is predicted all the same."""

    add: list[Literal["model_version", "shadow"]] = []
    """Further columns of the prediction files: model_version is the version that predicted, and shadow, called
    shadow_prediction, what the shadow predicts."""

    shadow: str = ""
    """Version that predicts the same rows in the same pass, only to be compared. Empty means none."""

    explain: Literal["none", "top", "all"] = "none"
    """How each prediction is explained, in further columns: top names the feature that moves it most from that at the
    training means, and by how much; all says it of every feature."""

    interval: int = Field(90, ge=50, le=99)
    """Percent of the true values that the prediction interval should hold."""

    max_rejects: float = Field(0.5, ge=0, le=1)
    """Share of rejected rows above which a file fails."""

    runner: Literal["local", "dask"] = "local"
    """Where the files are predicted: in this process, or on a Dask cluster."""

    dask_address: str = ""
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
