"""Files of the trust folder that a power cut or a failing card damaged: the next sync mends them and trusts no less."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.backend import Backend
from support.signed_release import Attacker, folder_state, rows

from handlens import Lens, Options, ReleaseError


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    backend = Backend(folder / "backend")
    backend.publish_rows({"demo": rows("axe")}, name="one")
    backend.publisher.rotate("timestamp")  # a second root
    with backend.serve() as url, device(folder, url) as lens:
        lens.sync()
    return folder


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Iterator[tuple[Path, Backend, str]]:
    folder = Path(shutil.copytree(template, tmp_path / "site", symlinks=True))
    backend = Backend(folder / "backend")
    with backend.serve() as url:
        yield folder, backend, url


def device(folder: Path, url: str) -> Lens:
    root = folder / "backend" / "root.json"
    return Lens(Options(data_dir=folder / "device", server_url=url, trusted_root=root, retries=0))


FILES = ["timestamp.json", "snapshot.json", "targets.json", "policy.json", "packs.json", "models.json", "root.json",
         "root_history/1.root.json", "root_history/2.root.json", "anchor.json"]  # fmt: skip


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "nonsense"])
@pytest.mark.parametrize("name", FILES)
def test_the_next_sync_mends_it(site: tuple[Path, Backend, str], name: str, damage: str) -> None:
    folder, backend, url = site
    path = folder / "device" / "trust" / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "nonsense": b"nonsense"}[damage])
    backend.publish_rows({"demo": rows("axe", "new")}, name="two")
    with device(folder, url) as lens:
        assert lens.sync().release == "two"
    with Lens(Options(data_dir=folder / "device", server_url=url, retries=0)) as lens:  # by the trust that is there
        assert not lens.sync().changed


@pytest.mark.parametrize("name", FILES)
def test_an_older_release_is_not_taken_though_what_was_seen_is_forgotten(
    site: tuple[Path, Backend, str], name: str
) -> None:
    folder, backend, url = site
    attacker = Attacker(backend)
    old = folder_state(attacker.metadata)
    backend.publish_rows({"demo": rows("axe", "new")}, name="two")
    with device(folder, url) as lens:
        lens.sync()
    (folder / "device" / "trust" / name).unlink()
    for file, data in old.items():
        (attacker.metadata / file).write_bytes(data)
    with device(folder, url) as lens:
        with suppress(ReleaseError):
            assert lens.sync().release == "two"
        assert lens.status().release == "two"
