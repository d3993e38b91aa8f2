"""A server with a real release, two partners, and their keys; every answer of it is held to the contract."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.backend import Backend
from support.partner import Contracted, join, key_of, token_of

from handlens_server.app import create_app
from handlens_server.database import Database
from handlens_server.partner.partners import NewKey

Call = Callable[..., Any]


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Backend:
    """A copy of the backend that made the release of all tests, with the partners acme and other."""
    folder = tmp_path_factory.mktemp("partner-backend")
    for name in ("server", "keys"):
        shutil.copytree(release.parent / name, folder / name)
    shutil.copy(release.parent / "root.json", folder / "root.json")
    made = Backend(folder, search_poll_ms=20, search_pixels=3_000_000)
    now = datetime.now(timezone.utc)
    with made.database() as database:
        join(database, "acme", now, link_template="https://go.acme.example/o?u={link}&i={item_id}&n={intent}")
        join(database, "other", now, kinds=["recipe", "product"], locales=["en"])
    return made


@pytest.fixture(scope="package")
def app(backend: Backend) -> Iterator[Flask]:
    made = create_app(backend.config)
    made.test_client_class = Contracted
    yield made
    made.extensions["handlens"].close()


@pytest.fixture(scope="package")
def database(backend: Backend) -> Iterator[Database]:
    with backend.database() as opened:
        yield opened


@pytest.fixture(scope="package")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="package")
def keys(database: Database) -> dict[str, NewKey]:
    """The keys of both partners, by "acme live", "acme test", "acme device", "other live", "other test"."""
    now = datetime.now(timezone.utc)
    made = {
        f"{who} {mode}": key_of(database, who, now, mode=mode) for who in ("acme", "other") for mode in ("live", "test")
    }
    return {**made, "acme device": key_of(database, "acme", now, device=True)}


@pytest.fixture(scope="package")
def call(client: FlaskClient, keys: dict[str, NewKey]) -> Call:
    """Calls an operation as a partner; `who` is as in `keys`. Writes get an Idempotency-Key of their own."""
    tokens: dict[str, str] = {}

    def called(method: str, path: str, *, who: str = "acme live", headers: Any = None, **more: Any) -> Any:
        if who not in tokens:
            tokens[who] = token_of(client, keys[who])
        sent = {"Authorization": f"Bearer {tokens[who]}", "Idempotency-Key": str(uuid.uuid4()), **(headers or {})}
        return client.open(f"/partner/v1{path}", method=method, headers=sent, **more)

    return called


def code_of(answer: Any) -> tuple[int, str]:
    """Status and code of a problem."""
    return answer.status_code, json.loads(answer.get_data())["code"]
