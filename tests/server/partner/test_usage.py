"""How often a partner called is counted by day and operation, and read by itself alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from handlens_server.database import Database
from handlens_server.database_errors import DatabaseError
from handlens_server.partner.usage import UsageCounter
from handlens_server.times import utc_now

Call = Callable[..., Any]


def counts(answer: Any, operation: str) -> dict[str, int]:
    days = answer.json["days"]
    found = [one for day in days for one in day["operations"] if one["operation"] == operation]
    assert len(found) <= 1
    return found[0] if found else {"calls": 0, "refused": 0, "failed": 0}


def test_calls_are_counted_with_what_became_of_them(call: Call) -> None:
    before = counts(call("GET", "/usage"), "getItem")
    for _ in range(3):
        call("GET", "/items/no-such-item")
    after = counts(call("GET", "/usage"), "getItem")
    assert (after["calls"] - before["calls"], after["refused"] - before["refused"]) == (3, 3)


def test_a_partner_reads_its_own_counts_and_those_of_its_mode(call: Call) -> None:
    call("GET", "/ping", who="acme live")
    before = {who: counts(call("GET", "/usage", who=who), "ping")["calls"] for who in ("other live", "acme test")}
    call("GET", "/ping", who="acme live")
    assert before == {who: counts(call("GET", "/usage", who=who), "ping")["calls"] for who in before}


def test_counts_of_several_workers_add_up(database: Database) -> None:
    counters = [UsageCounter(database, utc_now) for _ in range(2)]
    for counter in counters:
        counter.count("other", "live", "added", 200)
        counter.count("other", "live", "added", 503)
        counter.flush()
        counter.close()
    with database.read() as session:
        row = session.execute(text("SELECT calls, failed FROM partner_usage WHERE operation = 'added'")).one()
    assert tuple(row) == (4, 2)


def test_counts_that_cannot_be_written_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = UsageCounter(database, utc_now)
    counter.count("other", "live", "kept", 200)

    def fail() -> Any:
        raise DatabaseError("down")

    with monkeypatch.context() as patched:
        patched.setattr(database, "session", fail)
        with pytest.raises(DatabaseError):
            counter.flush()
    counter.flush()
    counter.close()
    with database.read() as session:
        assert session.scalar(text("SELECT calls FROM partner_usage WHERE operation = 'kept'")) == 1
