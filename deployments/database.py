"""Prefect's server on SQLite, where one writer waits for another.

Prefect begins most of its transactions with `BEGIN DEFERRED`. One that reads before it writes fails at once, whatever
the time-out, if another has written in between (https://www.sqlite.org/lang_transaction.html): a click on Run is
answered 503 and lost, as in PrefectHQ/prefect #18934. With `BEGIN IMMEDIATE` it waits for its turn.

Run as `python -m deployments.database server start`, with the options of the `prefect` command.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.cli import app
from prefect.server.database import dependencies
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class WaitingSqlite(AioSqliteConfiguration):
    """Prefect's configuration of SQLite, with every transaction as one that is going to write."""

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = True
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """A transaction that waits for the one before it."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


if __name__ == "__main__":
    address = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if address.startswith("sqlite"):
        dependencies.MODELS_DEPENDENCIES["database_config"] = WaitingSqlite(address)
    app()
