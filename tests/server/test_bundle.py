"""A release as a folder: what a device image holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.backend import Backend
from support.signed_release import rows

from handlens import Lens, Options
from handlens_server.bundle import BundleError, write_bundle


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    made = Backend(tmp_path / "backend")
    made.publish_rows({"demo": rows("axe", "saw")}, name="one")
    made.publish_rows({"demo": rows("axe", "saw", "drill")}, name="two")
    return made


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_an_empty_device_needs_and_nothing_older(backend: Backend, tmp_path: Path) -> None:
    written = names(backend.bundle(tmp_path / "release"))
    assert written < names(backend.repository)
    assert sum(name.endswith(".two.json") for name in written) == 1
    assert not any(name.endswith(".one.json") for name in written)
    assert {"metadata/1.root.json", "metadata/timestamp.json"} <= written
    with Lens(Options(data_dir=tmp_path / "device")) as lens:
        assert lens.install(tmp_path / "release").release == "two"
        assert lens.status().packs[0].items == 3


def test_a_folder_that_exists_is_never_touched(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "mine").write_text("mine")
    with pytest.raises(BundleError, match="exists: remove it or choose another"):
        backend.bundle(tmp_path / "release")
    assert names(tmp_path / "release") == {"mine"}


def test_a_channel_that_offers_nothing_leaves_no_folder(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'beta' offers nothing"):
        write_bundle(backend.publisher.repository, "beta", tmp_path / "out" / "release")
    assert not (tmp_path / "out").exists()


def test_a_repository_that_lacks_a_file_leaves_no_folder(backend: Backend, tmp_path: Path) -> None:
    (pack,) = backend.repository.glob("targets/packs/demo/*.base-2.pack")
    pack.unlink()
    with pytest.raises(BundleError, match="cannot be written"):
        backend.bundle(tmp_path / "out" / "release")
    assert list((tmp_path / "out").iterdir()) == []
