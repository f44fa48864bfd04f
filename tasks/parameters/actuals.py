"""The parameters of the actuals flow."""

from pydantic import Field

from tasks.parameters.base import Connection, Parameters


class Actuals(Parameters, hide_input_in_errors=True):
    """Which files say what became known, and of which predictions."""

    inputs: list[str] = Field(["actuals"], min_length=1)
    """Files, folders, globs or URLs of CSV or TSV (plain, .gz or .zst) or Parquet with a key and the true value; or a
    query, as sql:FILE.sql or sql:SELECT ..., with a connection. A file that is as it was is skipped; one that changed
    takes the place of what it said before."""

    key: str = ""
    """Column that names each row, here and in the files that were predicted. Empty means the key of the champion's own
    table."""

    target: str = ""
    """Column with the true value. Empty means the champion's target."""

    known_at: str = ""
    """Column that says when a value became known. Only predictions made before count. Empty means now."""

    connection: Connection = ""
    """Name of the database of a query; see the dataset's connection."""

    predictions: list[str] = []
    """More folders or URLs with batches, such as those given to predict --output."""

    tolerance: float = Field(0.01, ge=0, le=10)
    """How much higher than on the test rows the error (MSE) may be, as a share of it, before an alarm is raised. Above
    it, chance must not explain it either."""
