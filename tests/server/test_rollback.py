"""Going back to an older release: devices go forward to what it held."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.backend import Backend
from support.signed_release import rows

from handlens import Lens, Options
from handlens_server.publishing import PublishError
from handlens_server.verifying import verify


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "backend")


def held(backend: Backend, folder: Path) -> dict[str, int]:
    """The packs that a device has after a sync, with their items."""
    with Lens(Options(data_dir=folder, trusted_root=backend.root)) as lens:
        lens.install(backend.repository)
        return {pack.pack: pack.items for pack in lens.status().packs}


def test_a_pack_that_was_removed_comes_back(backend: Backend, tmp_path: Path) -> None:
    backend.publish_rows({"demo": rows("axe"), "extra": rows("saw", "rasp")}, name="one")
    backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    assert held(backend, tmp_path / "device") == {"demo": 2}
    release = backend.publisher.rollback()
    assert (release.serial, release.packs["extra"].items) == (3, 2)
    assert held(backend, tmp_path / "device") == {"demo": 1, "extra": 2}
    verify(backend.repository, "stable")


def test_it_can_be_undone_by_going_back_to_the_newer_one(backend: Backend, tmp_path: Path) -> None:
    backend.publish_rows({"demo": rows("axe"), "extra": rows("saw")}, name="one")
    backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    backend.publisher.rollback(name="back")
    release = backend.publisher.rollback("two", name="forth")
    assert {pack: state.items for pack, state in release.packs.items()} == {"demo": 2}
    backend.publisher.rollback("one", name="back-again")
    assert held(backend, tmp_path / "device") == {"demo": 1, "extra": 1}


def test_a_release_that_is_not_kept_is_named(backend: Backend) -> None:
    backend.publish_rows({"demo": rows("axe")}, name="one")
    with pytest.raises(PublishError, match="no release 'zero': kept are one"):
        backend.publisher.rollback("zero")
    with pytest.raises(PublishError, match="nothing to go back to"):
        backend.publisher.rollback()
