"""The commands about the versions in the store: which there are, and how one predicts elsewhere."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from deployments.cli_base import Json, Version, print_result


def models(*, on: str = "", html: str = "", json: Json = False) -> None:
    """List the versions in the store: how good each is, and which one serves.

    Args:
        on: File, folder, glob or URL of CSV or Parquet with features and target, on which each version is measured too.
        html: File to write as a page with the same table, and a chart of the errors over time.
    """
    from tasks.registry.catalogue import list_models, render_models
    from tasks.storage.store import Store

    rows, said = list_models(store := Store()), ""
    if on:
        from tasks.actuals.realised import add_realised, describe_realised, measure_versions

        add_realised(rows, realised := measure_versions(store, [row["version"] for row in rows], on))
        said = describe_realised(realised, on)
    if html:
        from tasks.reporting.history import write_page

        write_page(store, rows, said, html)
    print_result(rows, render_models(rows) + said, json)


def history(*, json: Json = False) -> None:
    """List who promoted, refused or rolled back which version: when, why, and in the place of which."""
    from tasks.registry.catalogue import list_history, render_history
    from tasks.storage.store import Store

    rows = list_history(Store())
    print_result(rows, render_history(rows), json)


def sql(
    version: Version = "",
    /,
    *,
    dialect: Annotated[Literal["postgres", "duckdb", "sqlite"], Parameter(help="The database that reads it.")],
    table: Annotated[str, Parameter(help="Where the features stand: TABLE or SCHEMA.TABLE.")] = "inputs",
    interval: Annotated[
        int,
        Parameter(
            help="Percent of the true values that the interval should hold. From 50 to 99.",
            validator=validators.Number(gte=50, lte=99),
        ),
    ] = 90,
) -> None:
    """Print a version, or else the champion, as one SELECT that predicts the rows of a table."""
    from tasks.registry.catalogue import find_champion
    from tasks.registry.sql import write_select
    from tasks.registry.versions import read_version
    from tasks.storage.store import Store

    model = read_version(store := Store(), version or find_champion(store))
    sys.stdout.write(write_select(model, dialect, table, interval))
