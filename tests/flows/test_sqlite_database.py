"""Two transactions that meet in the server's SQLite file: with Prefect's own configuration one is refused, with ours it waits."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.exc import OperationalError

from flows.web.sqlite_database import CACHE_KB, LockedFromTheBeginning


async def _two_meet(configuration: AioSqliteConfiguration, cache: int = 0) -> int:
    """One reads, the other writes meanwhile, the first writes too; the rows in the end."""
    engine, has_read = await configuration.engine(), asyncio.Event()
    async with engine.connect() as connection:
        await connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))

    async def read_then_write() -> None:
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            await session.execute(sa.text("SELECT count(*) FROM t"))
            has_read.set()
            await asyncio.sleep(0.5)
            await session.execute(sa.text("INSERT INTO t VALUES (1)"))

    async def write() -> None:
        await has_read.wait()
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            await session.execute(sa.text("INSERT INTO t VALUES (2)"))

    try:
        await asyncio.gather(read_then_write(), write())
        async with await configuration.session(engine) as session:
            assert (await session.execute(sa.text("PRAGMA cache_size"))).scalar_one() == cache
            return (await session.execute(sa.text("SELECT count(*) FROM t"))).scalar_one()
    finally:
        await engine.dispose()


def test_transactions_wait_for_each_other(tmp_path):
    assert (
        asyncio.run(
            _two_meet(LockedFromTheBeginning(connection_url=f"sqlite+aiosqlite:///{tmp_path}/ours.db"), -CACHE_KB)
        )
        == 2
    )
    with pytest.raises(OperationalError, match="locked"):  # if this no longer fails, ours is no longer needed
        asyncio.run(_two_meet(AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{tmp_path}/theirs.db")))
