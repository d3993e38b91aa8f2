"""A write with an Idempotency-Key is made once: by many at once, after a kill, and after the answer was lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from support.clock import Clock
from support.kills import start
from support.partner_writer import count_up
from support.paths import ROOT

from handlens_server.config import Config
from handlens_server.database import Database, DatabaseBusyError
from handlens_server.partner.idempotency import Keep, Kept, Writes, forget_writes
from handlens_server.partner.idempotency_keys import fingerprint_of, read_key
from handlens_server.partner.refusals import KeyInUseError, KeyMalformedError, KeyMissingError, KeyReusedError
from handlens_server.partner.stability_tables import PartnerWriteRow
from handlens_server.tables import SequenceRow
from handlens_server.times import text_of

SAME, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def writes(database: Database, clock: Clock) -> Writes:
    return Writes(database, clock, claim_seconds=30)


def written(database: Database) -> int:
    with database.read() as session:
        return session.get_one(SequenceRow, "catalogue").value


def keys(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(PartnerWriteRow)) or 0


def refuse(_session: Session) -> Kept:
    raise AssertionError("this write must not be made")


class TestTheKey:
    @pytest.mark.parametrize(
        ("header", "key"), [('"8e03978e-40d5"', "8e03978e-40d5"), (" a.b_c:d-e ", "a.b_c:d-e"), ("k" * 64, "k" * 64)]
    )
    def test_is_a_string_with_or_without_quotes(self, header: str, key: str) -> None:
        assert read_key(header) == key

    @pytest.mark.parametrize("header", [None, "", "  "])
    def test_must_be_there(self, header: str | None) -> None:
        with pytest.raises(KeyMissingError, match="send a random UUID"):
            read_key(header)

    @pytest.mark.parametrize(
        "header",
        ['""', '"8e03978e', '8e03978e"', "8e03978e,8e03978f", "8e03 978e", '"8e03978ä"', "k" * 65, "short", "\x00"],
    )
    def test_is_refused_when_it_is_no_string(self, header: str) -> None:
        with pytest.raises(KeyMalformedError):
            read_key(header)

    @given(st.text())
    def test_any_other_text_is_a_key_or_refused(self, header: str) -> None:
        with contextlib.suppress(KeyMissingError, KeyMalformedError):
            assert 8 <= len(read_key(header)) <= 64

    def test_parts_of_a_request_cannot_be_moved_into_one_another(self) -> None:
        made = {
            fingerprint_of("POST", "/a", "text/plain", b"b"),
            fingerprint_of("POST", "/ab", "text/plain", b""),
            fingerprint_of("PUT", "/a", "text/plain", b"b"),
            fingerprint_of("POST", "/a", "application/json", b"b"),
        }
        assert len(made) == 4
        assert fingerprint_of("POST", "/a", "TEXT/plain", b"b") in made


class TestOneWrite:
    def test_its_answer_is_given_again_without_another_write(self, writes: Writes, database: Database) -> None:
        assert writes.once("acme", "k", SAME, count_up) == (Kept(201, b"1"), False)
        assert writes.once("acme", "k", SAME, refuse) == (Kept(201, b"1"), True)
        assert written(database) == 1

    def test_another_request_with_the_key_is_refused(self, writes: Writes, database: Database) -> None:
        writes.once("acme", "k", SAME, count_up)
        with pytest.raises(KeyReusedError):
            writes.once("acme", "k", OTHER, refuse)
        assert written(database) == 1

    def test_partners_do_not_share_keys(self, writes: Writes, database: Database) -> None:
        assert writes.once("acme", "k", SAME, count_up) == (Kept(201, b"1"), False)
        assert writes.once("other", "k", OTHER, count_up) == (Kept(201, b"2"), False)

    def test_after_a_day_the_key_is_new(self, writes: Writes, clock: Clock, database: Database) -> None:
        writes.once("acme", "k", SAME, count_up)
        clock.advance(hours=23, minutes=59)
        assert writes.once("acme", "k", SAME, refuse)[1]
        clock.advance(minutes=2)
        assert writes.once("acme", "k", OTHER, count_up) == (Kept(201, b"2"), False)

    def test_a_write_that_fails_leaves_nothing_and_may_be_tried_again(self, writes: Writes, database: Database) -> None:
        def fail(session: Session) -> Kept:
            count_up(session)
            raise ValueError("in the middle")

        with pytest.raises(ValueError, match="in the middle"):
            writes.once("acme", "k", SAME, fail)
        assert (written(database), keys(database)) == (0, 0)
        assert writes.once("acme", "k", OTHER, count_up) == (Kept(201, b"1"), False)

    def test_a_write_with_a_transaction_of_its_own_keeps_its_answer_in_it(
        self, writes: Writes, database: Database
    ) -> None:
        def work(keep: Keep) -> Kept:
            with database.session() as session:
                kept = count_up(session)
                keep(session, kept)
            return kept

        def fail(keep: Keep) -> Kept:
            with database.session() as session:
                keep(session, count_up(session))
                raise ValueError("before the commit")

        with pytest.raises(ValueError, match="before the commit"):
            writes.around("acme", "k", SAME, fail)
        assert writes.around("acme", "k", SAME, work) == (Kept(201, b"1"), False)
        assert writes.once("acme", "k", SAME, refuse) == (Kept(201, b"1"), True)
        assert writes.around("acme", "k2", SAME, lambda _keep: Kept(200, b"known")) == (Kept(200, b"known"), False)
        assert writes.once("acme", "k2", SAME, refuse) == (Kept(200, b"known"), True)

    def test_keys_that_expired_are_removed_by_later_writes(
        self, writes: Writes, clock: Clock, database: Database
    ) -> None:
        for number in range(6):
            writes.once("acme", f"old-{number}", SAME, count_up)
        clock.advance(hours=25)
        for number in range(2):
            writes.once("acme", f"new-{number}", SAME, count_up)
        assert keys(database) == 2

    def test_a_reset_forgets_one_owner_only(self, writes: Writes, database: Database) -> None:
        writes.once("acme/test", "k", SAME, count_up)
        writes.once("acme", "k", SAME, count_up)
        with database.session() as session:
            forget_writes(session, "acme/test")
        assert writes.once("acme/test", "k", SAME, count_up) == (Kept(201, b"3"), False)
        assert writes.once("acme", "k", SAME, refuse)[1]


def seen_while_writing(writes: Writes, database: Database, ask: Callable[[], object]) -> object:
    """What `ask` meets while the first request with the key is in its write."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(session: Session) -> Kept:
        begun.set()
        assert go_on.wait(20)
        return count_up(session)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(writes.once, "acme", "k", SAME, slow)
        assert begun.wait(20)
        try:
            return ask()
        except (KeyInUseError, DatabaseBusyError) as error:
            return error
        finally:
            go_on.set()
            assert first.result(20) == (Kept(201, b"1"), False)
            assert written(database) == 1


class TestAtOnce:
    def test_a_second_request_learns_that_the_first_is_running(self, writes: Writes, database: Database) -> None:
        met = seen_while_writing(writes, database, lambda: writes.once("acme", "k", SAME, refuse))
        assert isinstance(met, KeyInUseError)
        assert 1 <= met.retry_after <= 31

    def test_a_slow_worker_that_writes_cannot_lose_its_claim(
        self, writes: Writes, database: Database, clock: Clock
    ) -> None:
        def after_the_claim_ended() -> object:
            clock.advance(minutes=10)
            return writes.once("acme", "k", SAME, refuse)

        met = seen_while_writing(writes, database, after_the_claim_ended)
        assert isinstance(met, (KeyInUseError, DatabaseBusyError))  # SQLite waits for its one lock instead

    def test_a_worker_that_lost_its_claim_before_it_wrote_writes_nothing(
        self, writes: Writes, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others: list[object] = []

        def overtaken(_point: str) -> None:
            monkeypatch.undo()
            clock.advance(minutes=1)
            others.append(writes.once("acme", "k", SAME, count_up))

        monkeypatch.setattr("handlens_server.partner.idempotency.fault_point", overtaken)
        with pytest.raises(KeyInUseError):
            writes.once("acme", "k", SAME, refuse)
        assert others == [(Kept(201, b"1"), False)]
        assert writes.once("acme", "k", SAME, refuse) == (Kept(201, b"1"), True)

    def test_of_many_at_once_one_writes_and_all_get_its_answer(self, writes: Writes, database: Database) -> None:
        def ask(_turn: int) -> Kept:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    return writes.once("acme", "k", SAME, count_up)[0]
                except (KeyInUseError, DatabaseBusyError):
                    time.sleep(0.01)
            raise AssertionError("never answered")

        with ThreadPoolExecutor(12) as pool:
            assert set(pool.map(ask, range(24))) == {Kept(201, b"1")}
        assert written(database) == 1


# Before the claim is committed, after it, before the write is committed, after it: the answer never came.
@pytest.mark.parametrize(
    "point", ["database.commit:1", "partner.write.claimed", "database.commit:3", "database.commit:4"]
)
def test_killed_in_the_middle_of_a_write_there_is_exactly_one_after_the_retry(
    config: Config, database: Database, point: str
) -> None:
    command = [ROOT / "tests" / "support" / "partner_writer.py", config.data_dir, config.database_url, "k"]
    killed = start(command, {"HANDLENS_FAULT": point})
    assert killed.communicate(timeout=60)[0] == ""
    assert killed.returncode == -9
    is_written = point == "database.commit:4"
    assert written(database) == int(is_written)
    until = time.monotonic() + 30
    while not (answer := answered(command)):
        assert time.monotonic() < until
        time.sleep(0.3)
    assert answer == ("replayed 1" if is_written else "written 1")
    assert answered(command) == "replayed 1"
    assert written(database) == 1


def answered(command: list[object]) -> str:
    """What one more request prints; nothing while the killed one still has the key (a second at most)."""
    again = start(command)
    out, errors = again.communicate(timeout=60)
    assert again.returncode == 0 or "KeyInUseError" in errors, errors[-2000:]
    return out.strip()


def test_a_claim_of_a_dead_worker_says_how_long_it_holds(writes: Writes, clock: Clock, database: Database) -> None:
    left = {"claim": "of the dead", "claimed_until": text_of(clock.now + timedelta(seconds=30))}
    with database.session() as session:
        expires = text_of(clock.now + timedelta(hours=24))
        session.add(PartnerWriteRow(owner="acme", key="k", fingerprint=SAME, expires_at=expires, **left))
    clock.advance(seconds=10)
    with pytest.raises(KeyInUseError) as refused:
        writes.once("acme", "k", SAME, refuse)
    assert timedelta(seconds=refused.value.retry_after) == timedelta(seconds=21)
    clock.advance(seconds=21)
    assert writes.once("acme", "k", SAME, count_up) == (Kept(201, b"1"), False)
