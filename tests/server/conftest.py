"""A backend of its own for every test, on SQLite and on PostgreSQL: a copy of a database that was migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.clock import Clock
from support.milvus import Milvus, private_milvus
from support.postgres import Postgres, private_postgres
from werkzeug.test import TestResponse

from handlens_server.app import create_app
from handlens_server.config import Config
from handlens_server.database import Database, open_database, upgrade


class WholeClient(FlaskClient):
    """Reads every answer to its end, as a client on the network does, so that its file is closed."""

    def open(self, *args: Any, **more: Any) -> TestResponse:
        return super().open(*args, **more | {"buffered": True})


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with private_postgres() as found:
        yield found


@pytest.fixture(scope="session")
def milvus() -> Iterator[Milvus]:
    with private_milvus() as found:
        yield found


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    name = postgres.create()
    upgrade(Config(data_dir=tmp_path_factory.mktemp("postgres"), database_url=postgres.url(name)))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Config(data_dir=tmp_path_factory.mktemp("sqlite"))
    upgrade(config)
    return config.database_path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    """The settings of a backend whose database is at this version's schema, and empty."""
    made = Config(data_dir=tmp_path / "server", lock_seconds=5)
    made.data_dir.mkdir()
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), made.database_path)
        yield made
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create(template=request.getfixturevalue("postgres_template"))
    yield replace(made, database_url=postgres.url(name))
    postgres.drop(name)


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(config: Config, clock: Clock) -> Iterator[Flask]:
    made = create_app(config, clock=clock)
    made.test_client_class = WholeClient
    yield made
    made.extensions["handlens"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
