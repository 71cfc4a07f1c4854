"""How the server writes to its SQLite file: every transaction takes the write lock when it begins.

Prefect begins most of them deferred. One that reads before it writes is then refused at once with "database is locked" if another has
written meanwhile; SQLite's waiting time does not apply to that. Measured with one capture at a time on a busy machine of 2 cores: 24
refusals in 16 minutes, most of them lost heartbeats of the workers. Locked from the beginning, they wait for each other instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from prefect.settings import get_current_settings
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry

CACHE_KB = 8000
"""per connection; the system keeps the rest of the file in its own cache"""


class LockedFromTheBeginning(AioSqliteConfiguration):
    """Prefect's own configuration but for how a transaction begins, and for the memory of its connections."""

    def setup_sqlite(self, conn: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """As Prefect does, with a smaller page cache: its 80 MB per connection, for up to 15, fill up as the database grows."""
        super().setup_sqlite(conn, record)
        cursor = conn.cursor()
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        cursor.close()

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncIterator[AsyncSessionTransaction]:
        """BEGIN IMMEDIATE, whatever is asked for."""
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def lock_transactions_from_the_beginning() -> None:
    """To be called in the server's process before its app is made. Another database than SQLite is left alone."""
    url = get_current_settings().server.database.connection_url.get_secret_value()
    if url.startswith("sqlite"):
        set_database_config(LockedFromTheBeginning(connection_url=url))
