"""What a partner may send in a minute and in a day, over all workers of a server."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from limits.errors import StorageError
from sqlalchemy import update
from support.clock import Clock

from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.partner.counted import CountedStorage
from handlens_server.partner.quotas import DAY, Quotas, forget_counts, used_on
from handlens_server.partner.rate_fields import Limit, rate_fields
from handlens_server.partner.rates import Rates
from handlens_server.partner.refusals import QuotaExceededError, RateLimitedError
from handlens_server.partner.stability_tables import PartnerCountRow

MINUTE = Limit("minute", quota=5, window=60)


def admitted_rates(data_dir: Path, tries: int) -> int:
    """How many requests one worker lets through."""
    rates, admitted = Rates(Config(data_dir=data_dir)), 0
    for _ in range(tries):
        with contextlib.suppress(RateLimitedError):
            admitted += rates.take("acme", Limit("minute", quota=50, window=60)) is not None
    rates.close()
    return admitted


class TestAMinute:
    @pytest.fixture
    def rates(self, tmp_path: Path) -> Rates:
        return Rates(Config(data_dir=tmp_path))

    def test_says_what_remains_and_until_when(self, rates: Rates) -> None:
        states = [rates.take("acme", MINUTE) for _ in range(5)]
        assert [one.remaining for one in states if one] == [4, 3, 2, 1, 0]
        assert all(one and 1 <= one.reset <= 60 for one in states)
        rates.close()

    def test_what_comes_after_is_refused_with_the_seconds_to_wait(self, rates: Rates) -> None:
        for _ in range(5):
            rates.take("acme", MINUTE)
        with pytest.raises(RateLimitedError, match="more than 5 requests in 60 seconds") as refused:
            rates.take("acme", MINUTE)
        assert 1 <= refused.value.retry_after <= 60
        rates.close()

    def test_partners_do_not_share_it_and_a_reset_begins_it_anew(self, rates: Rates) -> None:
        for _ in range(5):
            rates.take("acme", MINUTE)
        assert rates.take("other", MINUTE)
        rates.reset("acme", MINUTE)
        assert rates.take("acme", MINUTE)
        rates.close()

    def test_ends(self, rates: Rates) -> None:
        short = Limit("second", quota=1, window=1)
        rates.take("acme", short)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                assert rates.take("acme", short)
                break
            except RateLimitedError:
                time.sleep(0.05)
        else:
            raise AssertionError("the window never ended")
        rates.close()

    def test_is_one_for_all_workers_of_a_machine(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(3) as workers:
            admitted = workers.starmap(admitted_rates, [(tmp_path, 40)] * 3)
        assert sum(admitted) == 50

    def test_counts_that_cannot_be_read_stop_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "partner-counts.db").write_bytes(b"no database" * 100)
        rates = Rates(Config(data_dir=tmp_path))
        assert [rates.take("acme", MINUTE) for _ in range(9)] == [None] * 9

    def test_the_counts_follow_the_interface_of_the_library(self, tmp_path: Path) -> None:
        storage = CountedStorage(f"counted://{tmp_path}/counts.db", wrap_exceptions=True)
        assert storage.check()
        assert [storage.incr("a", 60), storage.incr("a", 60, 3), storage.incr("b", 60)] == [1, 4, 1]
        assert (storage.get("a"), storage.get("none")) == (4, 0)
        assert storage.get_expiry("a") > time.time() + 50
        storage.clear("a")
        assert (storage.get("a"), storage.reset(), storage.get("b")) == (0, 1, 0)
        storage.close()
        damaged = CountedStorage(f"counted://{tmp_path}", wrap_exceptions=True)
        assert not damaged.check()
        with pytest.raises(StorageError):
            damaged.incr("a", 60)


def test_the_fields_are_structured_fields_of_every_limit() -> None:
    fields = rate_fields([MINUTE.state(used=2, reset=17), Limit("day", 1000, DAY).state(used=1200, reset=3600)])
    assert fields == {
        "RateLimit-Policy": '"minute";q=5;w=60, "day";q=1000;w=86400',
        "RateLimit": '"minute";r=3;t=17, "day";r=0;t=3600',
    }
    assert rate_fields([]) == {}


def used(database: Database, clock: Clock, owner: str = "acme") -> dict[str, int]:
    with database.read() as session:
        return used_on(session, owner, clock.now.strftime("%Y-%m-%d"))


def admitted_quota(quotas: Quotas, limit: Limit, tries: int) -> int:
    admitted = 0
    for _ in range(tries):
        try:
            quotas.take("acme", limit)
            admitted += 1
        except QuotaExceededError:
            pass
    return admitted


class TestADay:
    def test_a_small_quota_is_counted_one_by_one(self, database: Database, clock: Clock) -> None:
        one, two, limit = Quotas(database, clock), Quotas(database, clock), Limit("searches", 5, DAY)
        assert one.take("acme", limit).remaining == 4
        assert two.take("acme", limit).remaining == 3
        assert admitted_quota(one, limit, 10) + admitted_quota(two, limit, 10) == 3
        assert used(database, clock) == {"searches": 5}

    def test_used_up_it_says_when_the_next_day_begins(self, database: Database, clock: Clock) -> None:
        quotas, limit = Quotas(database, clock), Limit("searches", 1, DAY)
        assert quotas.take("acme", limit).reset == 12 * 3600 + 1
        with pytest.raises(QuotaExceededError, match="quota of 1 searches of this day") as refused:
            quotas.take("acme", limit)
        assert refused.value.retry_after == 12 * 3600 + 1
        clock.advance(hours=12, seconds=1)
        assert quotas.take("acme", limit).remaining == 0

    def test_a_large_quota_costs_the_database_little_and_is_never_passed(
        self, database: Database, clock: Clock
    ) -> None:
        workers, limit = [Quotas(database, clock) for _ in range(3)], Limit("searches", 10_000, DAY)
        with ThreadPoolExecutor(3) as pool:
            admitted = list(pool.map(lambda one: admitted_quota(one, limit, 4000), workers))
        assert sum(admitted) == 10_000
        assert used(database, clock) == {"searches": 10_000}

    def test_the_largest_quota_of_a_profile_is_counted(self, database: Database, clock: Clock) -> None:
        limit = Limit("searches", 10_000_000_000, DAY)
        assert Quotas(database, clock).take("acme", limit).remaining == limit.quota - 1
        with database.session() as session:
            session.execute(update(PartnerCountRow).values(used=limit.quota - 1))
        quotas = Quotas(database, clock)
        assert quotas.take("acme", limit).remaining == 0
        assert admitted_quota(quotas, limit, 2) == 0

    def test_a_killed_worker_loses_no_more_than_it_took_in_advance(self, database: Database, clock: Clock) -> None:
        limit = Limit("searches", 10_000, DAY)
        Quotas(database, clock).take("acme", limit)
        assert used(database, clock) == {"searches": 10}

    def test_partners_and_kinds_do_not_share_it_and_a_reset_forgets_it(self, database: Database, clock: Clock) -> None:
        quotas = Quotas(database, clock)
        for owner, what in (("acme", "searches"), ("acme", "rows"), ("other", "searches")):
            assert quotas.take(owner, Limit(what, 1, DAY)).remaining == 0
        with database.session() as session:
            forget_counts(session, "acme")
        quotas.forget("acme")
        assert (used(database, clock), used(database, clock, "other")) == ({}, {"searches": 1})
        assert quotas.take("acme", Limit("searches", 1, DAY)).remaining == 0
