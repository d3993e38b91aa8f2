"""Keys that are rotated, lost, or stolen: what the operator does, and what a device sees meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.backend import Backend
from support.paths import ROOT
from support.signed_release import rows

from handlens import Lens, Options, RollbackError, SignatureError
from handlens_server.cli import main
from handlens_server.key_files import OFFLINE, ONLINE
from handlens_server.verifying import VerifyError, verify

KILLS = int(os.environ.get("HANDLENS_KILLS", "40"))
ALL_KEYS = (*OFFLINE, *ONLINE)
PROGRAM = "from handlens_server.cli import main; main()"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backend with release one, and a device that has it."""
    folder = tmp_path_factory.mktemp("keys")
    site = Site(folder)
    site.backend.publish_rows({"demo": rows("axe", "saw")}, name="one")
    assert site.sync() == "one"
    return folder


class Site:
    """A backend in a folder, its keys, and a device that syncs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder)

    def key(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.pem"

    def command(self, *words: str, keys: str = "keys") -> Result:
        given = {"HANDLENS_DATA_DIR": str(self.folder / "server"), "HANDLENS_KEYS": str(self.folder / keys)}
        return CliRunner(env=given).invoke(main, words)

    def does(self, *words: str, keys: str = "keys") -> str:
        done = self.command(*words, keys=keys)
        assert done.exit_code == 0, done.output
        return done.output

    def sync(self, root: Path | None = None) -> str:
        """Sync the device; the release that it has then."""
        options = Options(data_dir=self.folder / "device", trusted_root=root or self.backend.root)
        with Lens(options) as lens:
            return lens.install(self.backend.repository).release

    def check(self) -> None:
        verify(self.backend.repository, "stable")


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Site:
    shutil.copytree(template, tmp_path / "site")
    return Site(tmp_path / "site")


@pytest.mark.parametrize("name", ALL_KEYS)
def test_a_key_is_rotated_and_devices_follow_by_themselves(site: Site, name: str) -> None:
    old = site.key(name).read_bytes()
    site.does("keys", "rotate", name)
    (retired,) = site.key(name).parent.glob(f"retired-{name}-*.pem")
    assert retired.read_bytes() == old != site.key(name).read_bytes()
    assert site.sync() == "one"
    site.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    assert site.sync() == "two"
    site.check()


@pytest.mark.parametrize("name", ALL_KEYS)
def test_one_lost_key_is_replaced_and_devices_follow_by_themselves(site: Site, name: str) -> None:
    site.key(name).unlink()
    site.does("keys", "rotate", name, "--lost")
    site.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    assert site.sync() == "two"
    site.check()


def test_all_online_keys_are_lost_and_replaced_one_after_another(site: Site) -> None:
    for name in ONLINE:
        site.key(name).unlink()
    site.key("root2").unlink()  # two offline keys are enough
    site.does("keys", "rotate", "snapshot", "--lost")
    with pytest.raises(SignatureError):
        site.sync()
    site.does("keys", "rotate", "timestamp", "--lost")
    assert site.sync() == "one"
    for name in ("models", "packs", "policy", "root2"):
        site.does("keys", "rotate", name, "--lost")
        assert site.sync() == "one"
    site.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    assert site.sync() == "two"


def test_nothing_changes_while_fewer_than_two_offline_keys_are_there(site: Site) -> None:
    for name in ("root2", "root3"):
        site.key(name).unlink()
    before = sorted(site.backend.repository.rglob("*"))
    for words in (["timestamp"], ["packs"], ["root1"], ["root2", "--lost"]):
        done = site.command("keys", "rotate", *words)
        assert done.exit_code == 1
        assert "has 1 of the offline keys root1, root2, root3, 2 must sign: bring their media" in done.output
    assert sorted(site.backend.repository.rglob("*")) == before
    site.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")  # needs no offline key
    assert site.sync() == "two"


def test_a_key_that_is_here_is_not_lost(site: Site) -> None:
    done = site.command("keys", "rotate", "packs", "--lost")
    assert (done.exit_code, "the key packs is here" in done.output) == (1, True)


def test_two_lost_offline_keys_need_a_new_root_on_the_device(site: Site) -> None:
    site.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
    assert site.sync() == "two"
    (site.backend.repository / "metadata").rename(site.folder / "old-metadata")
    site.does("keys", "init", keys="new-keys")
    root = site.folder / "new-root.json"
    site.does("keys", "export-root", str(root), keys="new-keys")
    shutil.rmtree(site.folder / "keys")
    shutil.copytree(site.folder / "new-keys", site.folder / "keys")
    release = site.backend.publish_rows({"demo": rows("axe", "rasp")}, name="three")
    assert release.serial == 3  # a serial that devices have seen would be left out
    with pytest.raises(SignatureError):
        site.sync()
    assert site.sync(root) == "three"
    assert site.sync(root) == "three"


def test_after_an_old_backup_new_top_keys_and_a_greater_serial_bring_devices_along(site: Site) -> None:
    shutil.copytree(site.folder / "server", site.folder / "backup")
    for name in ("two", "three"):
        site.backend.publish_rows({"demo": rows("axe", name)}, name=name)
        assert site.sync() == name
    shutil.rmtree(site.folder / "server")
    (site.folder / "backup").rename(site.folder / "server")
    with pytest.raises(RollbackError):
        site.sync()
    for name in ("snapshot", "timestamp"):
        site.does("keys", "rotate", name)
    site.backend.publish_rows({"demo": rows("axe", "rasp")}, name="low")
    assert site.sync() == "three"  # a device does not go back by itself
    site.backend.publish_rows({"demo": rows("axe", "rasp")}, name="four", serial=4)
    assert site.sync() == "four"
    site.check()


def test_an_offline_rotation_renews_the_roots_of_trust(site: Site) -> None:
    before = site.backend.publisher.repository.roots()
    site.does("keys", "rotate", "root1")
    assert sorted(site.backend.publisher.repository.roots()) == [*sorted(before), 2]
    told = site.does("keys", "status")
    assert [line.split()[2] for line in told.splitlines() if line.startswith(("root", "targets"))] == ["364", "364"]


@pytest.mark.parametrize("name", ["timestamp", "packs", "root2"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["rotated", "lost"])
def test_killed_anywhere_it_is_finished_by_another_call(site: Site, name: str, is_lost: bool) -> None:
    words = ["keys", "rotate", name, *(["--lost"] if is_lost else [])]
    if is_lost:
        site.key(name).unlink()
    log = site.folder.parent / "log"
    assert rotation(copy_of(site, "undisturbed"), words, HANDLENS_FAULT_LOG=str(log)) == 0
    passes = numbered(log.read_text("utf-8").split())
    assert {"keys.create", "keys.promote", "durable.rename"} <= {one.partition(":")[0] for one in passes}
    for at, point in enumerate(passes if KILLS >= 300 else passes[:: len(passes) // 5]):
        trial = copy_of(site, f"trial-{at}")
        assert rotation(trial, words, HANDLENS_FAULT=point) == -9, point
        finish(trial, name, words, is_lost)
        assert trial.sync() == "one", point
        trial.backend.publish_rows({"demo": rows("axe", "drill")}, name="two")
        assert trial.sync() == "two", point
        shutil.rmtree(trial.folder)


def finish(site: Site, name: str, words: list[str], is_lost: bool) -> None:
    """What an operator does after the kill."""
    if not is_lost:
        site.check()  # devices never meet a half done rotation
        site.does(*words)
        return
    if name == "packs":
        site.check()
    if site.key(name).exists():  # it was replaced; what it signs may be missing
        assert "release refresh" in site.command(*words).output
        site.does("release", "refresh")
    else:
        site.does(*words)


def test_a_repository_that_lacks_a_signature_is_refused_by_verify(site: Site) -> None:
    for name in ("timestamp", "snapshot"):
        site.key(name).unlink()
    site.does("keys", "rotate", "timestamp", "--lost")
    with pytest.raises(VerifyError, match="not signed as it must be"):
        site.check()


def copy_of(site: Site, name: str) -> Site:
    shutil.copytree(site.folder, site.folder.parent / name)
    return Site(site.folder.parent / name)


def rotation(site: Site, words: list[str], **variables: str) -> int:
    """Run the command in a process of its own; its exit code."""
    given = {
        "PYTHONPATH": f"{ROOT}/sdk:{ROOT}/server",
        "HANDLENS_DATA_DIR": str(site.folder / "server"),
        "HANDLENS_KEYS": str(site.folder / "keys"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], env={**os.environ, **given, **variables}, check=False, timeout=60
    )
    return done.returncode


def numbered(names: list[str]) -> list[str]:
    """Every pass of a fault point: ``name:1``, ``name:2``..."""
    seen: Counter[str] = Counter()
    passes = []
    for name in names:
        seen[name] += 1
        passes.append(f"{name}:{seen[name]}")
    return passes
