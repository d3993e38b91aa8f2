"""Keys as files, and what publishing, refreshing and the command line do with them."""

from __future__ import annotations

import shutil
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.backend import Backend
from support.signed_release import rows

from handlens_server.cli import main
from handlens_server.key_files import OFFLINE, ONLINE, KeyFileError, Keys
from handlens_server.repository import Lifetimes, Repository, RepositoryError
from handlens_server.verifying import verify


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    Backend(folder).publish_rows({"demo": rows("axe")}, name="one")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "backend"))


@pytest.fixture
def backend(folder: Path) -> Backend:
    return Backend(folder)


def follows(backend: Backend) -> None:
    """A release can be made, and a device that knows the first root alone takes it."""
    release = backend.publish_rows({"demo": rows("axe", f"new-{len(backend.publisher.releases())}")})
    assert verify(backend.repository, "stable", root=backend.root).releases == (release.name,)


class TestFiles:
    def test_a_key_is_for_its_owner_alone(self, folder: Path) -> None:
        for path in (folder / "keys").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_key_is_never_overwritten(self, backend: Backend) -> None:
        with pytest.raises(KeyFileError, match="never overwritten"):
            backend.keys.create("packs")

    def test_a_passphrase_encrypts_and_is_asked_for(self, tmp_path: Path) -> None:
        made = Keys(tmp_path, passphrase="secret").create("packs")
        assert b"ENCRYPTED" in (tmp_path / "packs.pem").read_bytes()
        assert Keys(tmp_path, passphrase="secret").signer("packs").public_key == made.public_key
        for wrong in ("", "other"):
            with pytest.raises(KeyFileError, match="HANDLENS_KEY_PASSPHRASE"):
                Keys(tmp_path, passphrase=wrong).signer("packs")

    @pytest.mark.parametrize(
        "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
    )
    def test_a_damaged_key_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "packs.pem").write_bytes(content)
        with pytest.raises(KeyFileError, match=r"packs\.pem cannot be opened"):
            Keys(tmp_path).signer("packs")


class TestPublishing:
    def test_needs_no_offline_key(self, folder: Path, backend: Backend) -> None:
        for name in OFFLINE:
            (folder / "keys" / f"{name}.pem").unlink()
        follows(backend)
        backend.publisher.refresh()

    @pytest.mark.parametrize("name", ONLINE)
    def test_names_an_online_key_that_is_missing(self, folder: Path, backend: Backend, name: str) -> None:
        (folder / "keys" / f"{name}.pem").unlink()
        with pytest.raises(KeyFileError, match=f"the key {name} is not in"):
            backend.publish_rows({"demo": rows("saw")})

    def test_refuses_a_key_that_nobody_trusts(self, folder: Path, backend: Backend) -> None:
        (folder / "keys" / "packs.pem").unlink()
        backend.keys.create("packs")
        with pytest.raises(RepositoryError, match="packs is not the one that the repository trusts"):
            backend.publish_rows({"demo": rows("saw")})
        assert verify(backend.repository, "stable", root=backend.root).releases == ("one",)


class TestExpiry:
    def test_refreshing_signs_anew_what_devices_ask_for_each_time(self, backend: Backend) -> None:
        short = Repository(backend.repository, backend.keys, Lifetimes(timestamp=1, snapshot=1, delegated=1))
        short.refresh()
        soon = datetime.now(timezone.utc) + timedelta(days=2)
        assert max(backend.publisher.repository.expiries()[role] for role in ("timestamp", "snapshot")) < soon
        Repository(backend.repository, backend.keys).refresh()
        assert backend.publisher.repository.expiries()["snapshot"] > soon
        assert verify(backend.repository, "stable", root=backend.root).releases == ("one",)

    def test_a_delegated_role_is_signed_anew_when_its_life_is_half_over(self, backend: Backend) -> None:
        before = backend.publisher.repository.expiries()["packs"]
        Repository(backend.repository, backend.keys, Lifetimes(delegated=1000)).refresh()
        assert backend.publisher.repository.expiries()["packs"] > before


def test_the_command_line_makes_shows_and_replaces_keys(tmp_path: Path) -> None:
    where = ["--data-dir", str(tmp_path / "server"), "--keys", str(tmp_path / "keys")]

    def told(*words: str) -> str:
        done = CliRunner().invoke(main, ["keys", *words, *where])
        assert done.exit_code == 0, done.output
        return done.output

    assert "keep root1..root3 offline" in told("init")
    assert "root 1" in told("export-root", str(tmp_path / "root.json"))
    told("rotate", "timestamp")
    (tmp_path / "keys" / "root2.pem").unlink()
    told("rotate", "root2", "--lost")
    shown = told("status")
    assert "timestamp" in shown
    assert "root2" in shown
    assert "root 3" in told("export-root", str(tmp_path / "root.json"))


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["keys", "rotate", "packs"], "the key packs is not in"),
        (["release", "refresh"], "keys init"),
        (["release", "bundle", "out"], "keys init"),
        (["release", "widen"], "nothing was published yet"),
        (["release", "rollback", "--with-withdrawn"], "nothing to go back to"),
        (["release", "rollback"], "db upgrade"),
        (["keys", "export-root", "out"], "keys init"),
        (["keys", "status"], "keys init"),
        (["release", "verify"], "give a repository"),
    ],
)
def test_before_there_are_keys_one_line_says_what_to_do(tmp_path: Path, words: list[str], cause: str) -> None:
    where = ["--data-dir", str(tmp_path / "server")]
    keys = [] if words[1] == "verify" else ["--keys", str(tmp_path / "keys")]
    named = [str(tmp_path / "out") if word == "out" else word for word in words]
    done = CliRunner().invoke(main, [*named, *where, *keys])
    assert done.exit_code == 1
    assert cause in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
