"""Parts of the backend die while partners search and write: no answer is wrong, no write is lost or doubled.

A real server (gunicorn, two workers) serves from PostgreSQL, and in one case from Milvus. Clients do what the contract
asks of them: they send a write again, with the same key, until it is answered. `HANDLENS_CHAOS_SECONDS` is how long the
load lasts in each case.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from sqlalchemy import func, select
from support.backend import Backend
from support.milvus import Milvus, private_milvus
from support.partner import join, key_of
from support.paths import CATALOG, QUERIES, ROOT
from support.postgres import Postgres, private_postgres
from support.searching import SPACE

from handlens_server.partner.partners import NewKey
from handlens_server.partner.tables import BatchRow, FeedbackRow
from handlens_server.tables import EmbeddingRow, ItemRow, SequenceRow

pytestmark = pytest.mark.heavy

SECONDS = float(os.environ.get("HANDLENS_CHAOS_SECONDS", "12"))
PATIENCE = 90.0  # seconds until what was broken must be answered again
HONEST = frozenset({0, 200, 201, 409, 429, 503})  # 0: the connection broke with the worker
PHOTO = base64.b64encode((QUERIES / "images" / "taj-mahal.jpg").read_bytes()).decode()


@dataclass
class World:
    """A backend that may be broken in parts."""

    backend: Backend
    postgres: Postgres
    key: NewKey


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with private_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def world(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, small_catalogue: Path) -> World:
    backend = Backend(tmp_path_factory.mktemp("chaos"), database_url=postgres.url(postgres.create()))
    backend.add(small_catalogue)
    backend.define("demo")
    backend.publish(name="chaos")
    now = datetime.now(timezone.utc)
    many = {"requests_per_minute": 10_000_000, "concurrent": 1000}
    with backend.database() as database:
        join(database, "acme", now, limits=many)
        return World(backend, postgres, key_of(database, "acme", now))


@contextmanager
def server(world: World, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running server: its address, its process."""
    program = "from handlens_server.cli import main; main()"
    settings = {
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("sdk", "server")),
        "HANDLENS_DATA_DIR": str(world.backend.config.data_dir),
        "HANDLENS_DATABASE_URL": world.backend.config.database_url,
        "HANDLENS_LOCK_SECONDS": "5",
    }
    log = world.backend.config.data_dir / "server.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "run", "--workers", "2", "--threads", "8", "--port", "0"],
            env={**os.environ, **settings, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().removeprefix("listening on "), process
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def workers(process: subprocess.Popen[str]) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def send(url: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """One exchange; status 0 where the connection broke."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(json.loads(answer.read()))
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def eventually(ask: Callable[[], tuple[int, dict[str, Any]]], seen: Counter[int]) -> dict[str, Any]:
    """What is asked again and again until it is answered."""
    until = time.monotonic() + PATIENCE
    while True:
        status, values = ask()
        seen[status] += 1
        if status in (200, 201):
            return values
        assert time.monotonic() < until, f"not answered in {PATIENCE} s: {status} {values}"
        time.sleep(0.1)


def token(world: World, url: str) -> dict[str, str]:
    """The headers of a caller."""
    form = {"grant_type": "client_credentials", "client_id": world.key.key_id, "client_secret": world.key.secret}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    values = eventually(lambda: send(url, "POST", "/partner/v1/oauth/token", urlencode(form).encode(), kind), Counter())
    return {"Authorization": f"Bearer {values['access_token']}", "Content-Type": "application/json"}


@dataclass
class Load:
    """Searches and writes from threads of their own, until `end`."""

    world: World
    url: str
    queries: list[bytes]
    seen: Counter[int] = field(default_factory=Counter)
    batches: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._headers = token(self.world, self.url)
        self._expected = [told(self._search(query)) for query in self.queries]
        self._insights = self._search(self.queries[0])["insights_token"]
        self._ended = threading.Event()
        runs = (self._searching, self._searching, self._sending_batches, self._sending_feedback, self._sending_feedback)
        self._pool = ThreadPoolExecutor(len(runs))
        self._coming = [self._pool.submit(self._again_and_again, run) for run in runs]

    def end(self) -> None:
        """Let everybody finish what they began."""
        self._ended.set()
        for one in self._coming:
            one.result(PATIENCE + 60)
        self._pool.shutdown()
        print("answers by status:", dict(sorted(self.seen.items())))  # what of the error budget it cost
        assert set(self.seen) <= HONEST, self.seen
        assert not self.wrong, self.wrong[:3]
        assert self.seen[200] > 20, self.seen

    def searches_again(self) -> None:
        """Wait until every search is answered as before, and whole."""
        until = time.monotonic() + PATIENCE
        for query, expected in zip(self.queries, self._expected, strict=True):
            while True:
                found = self._search(query)
                if not found["degraded"] and told(found) == expected:
                    break
                assert time.monotonic() < until, found
                time.sleep(0.2)

    def _again_and_again(self, run: Callable[[], None]) -> None:
        while not self._ended.is_set():
            run()

    def _search(self, query: bytes) -> dict[str, Any]:
        return eventually(lambda: send(self.url, "POST", "/partner/v1/lens", query, self._headers), self.seen)

    def _searching(self) -> None:
        for query, expected in zip(self.queries, self._expected, strict=True):
            status, values = send(self.url, "POST", "/partner/v1/lens", query, self._headers)
            self.seen[status] += 1
            if status == 200 and told(values) != expected and not values["degraded"]:
                self.wrong.append(json.dumps(values)[:2000])
            time.sleep(0.02)

    def _sending_batches(self) -> None:
        name = uuid.uuid4().hex
        item = {"id": name, "kind": "product", "object_type": "other", "title": f"Thing {name}"}
        body = json.dumps({"items": [item]}).encode()
        self._write("PUT", f"/partner/v1/catalog/batches/{name}", body)
        self.batches.append(name)

    def _sending_feedback(self) -> None:
        event = {"event_id": str(uuid.uuid4()), "kind": "opened", "at": "2026-03-01T12:00:01Z"}
        self._write(
            "POST", "/partner/v1/feedback", json.dumps({"insights_token": self._insights, "events": [event]}).encode()
        )
        self.events.append(event["event_id"])

    def _write(self, method: str, path: str, body: bytes) -> None:
        headers = {**self._headers, "Idempotency-Key": str(uuid.uuid4())}
        eventually(lambda: send(self.url, method, path, body, headers), self.seen)


def told(answer: dict[str, Any]) -> Any:
    """What an answer says that must not change."""
    return [(tag["object"], tag["type"], tag["box"], [shown(one) for one in tag["actions"]]) for tag in answer["tags"]]


def shown(action: dict[str, Any]) -> Any:
    return action["intent"], [(one["item_id"], one["score"]) for one in action["results"]]


def queries(world: World) -> list[bytes]:
    """A photo, and the embeddings of two items."""
    lines = map(json.loads, (CATALOG / "items.jsonl").read_text("utf-8").splitlines())
    shown = [item["item_id"] for item in lines if item.get("image")]
    query = select(EmbeddingRow.codes).join(ItemRow, ItemRow.picture == EmbeddingRow.picture)
    with world.backend.database() as database, database.read() as session:
        codes = session.scalars(query.where(ItemRow.item_id.in_(shown)).order_by(ItemRow.item_id).limit(2)).all()
    seen = [{"space": SPACE, "objects": [{"embedding": base64.b64encode(code[:128]).decode()}]} for code in codes]
    return [json.dumps(one).encode() for one in ({"photo": PHOTO}, *seen)]


def stored(world: World) -> tuple[int, Counter[str], Counter[str]]:
    """Changes of the catalogue, batches by id, events by id."""
    with world.backend.database() as database, database.read() as session:
        return (
            session.get_one(SequenceRow, "catalogue").value,
            Counter(session.scalars(select(BatchRow.batch_id))),
            Counter(session.scalars(select(FeedbackRow.event_id))),
        )


def held(world: World, chaos: Callable[[subprocess.Popen[str]], None], **environment: str) -> None:
    """Load while `chaos` breaks something again and again; then everything must be as if nothing had broken."""
    before, batches_before, events_before = stored(world)
    with server(world, **environment) as (url, process):
        load = Load(world, url, queries(world))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(1.5)
            chaos(process)
        load.searches_again()
        load.end()
    after, batches, events = stored(world)
    assert Counter(load.batches) == batches - batches_before
    assert Counter(load.events) == events - events_before
    assert after - before == len(load.batches)  # each item was added once
    assert len(load.batches) >= 2
    assert len(load.events) >= 2
    with world.backend.database() as database, database.read() as session:
        own = select(func.count()).select_from(ItemRow).where(ItemRow.item_id.like("acme.%"))
        assert session.scalar(own) == len(batches)


def test_workers_are_killed(world: World) -> None:
    def kill(process: subprocess.Popen[str]) -> None:
        found = workers(process)
        if len(found) > 1:
            os.kill(found[0], signal.SIGKILL)

    held(world, kill)


def test_the_database_is_restarted(world: World) -> None:
    turns = iter(range(1000))

    def restart(_process: subprocess.Popen[str]) -> None:
        if next(turns) % 3 == 1:
            world.postgres.stop()
            time.sleep(1.0)
            world.postgres.start()

    held(world, restart)


@pytest.fixture
def milvus() -> Iterator[Milvus]:
    with private_milvus() as found:
        yield found


def test_milvus_is_stopped(world: World, milvus: Milvus) -> None:
    turns = iter(range(1000))

    def stop(_process: subprocess.Popen[str]) -> None:
        if next(turns) == 1:
            milvus.kill()
            time.sleep(3.0)
            milvus.start()

    held(world, stop, HANDLENS_INDEX=milvus.url)
