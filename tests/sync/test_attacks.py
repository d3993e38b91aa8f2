"""Attacks on a device's sync. Each is refused by the right error, and the last good release goes on serving.

The attacker holds the network and the repository's folder; some have keys, where it is said. Afterwards an honest
release is taken.
"""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.backend import Backend
from support.paths import QUERIES
from support.signed_release import (
    DIM,
    Attacker,
    answering,
    endless,
    folder_state,
    header_of,
    rows,
    some_row,
)

from handlens import (
    DownloadError,
    ExpiredReleaseError,
    HashMismatchError,
    IncompatibleReleaseError,
    LengthExceededError,
    Lens,
    OfflineError,
    Options,
    ReleaseError,
    RollbackError,
    SignatureError,
    SyncError,
)
from handlens.store import Store
from handlens.wire.pack import encode_delete, encode_row
from handlens_server.app import create_app

GOOD = ("axe", "hammer", "saw")
PHOTO = QUERIES / "images" / "claw-hammer.jpg"
LINES = [line for _, line in rows("axe", "hammer", "pliers")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backend with release one, and a device that has it."""
    folder = tmp_path_factory.mktemp("template")
    backend = Backend(folder / "backend")
    backend.publish_rows({"demo": rows(*GOOD)}, name="one")
    with backend.serve() as url, device(folder / "device", backend, url) as lens:
        lens.sync()
    return folder


def device(folder: Path, backend: Backend, url: str) -> Lens:
    return Lens(Options(data_dir=folder, server_url=url, trusted_root=backend.root, retries=0, timeout=5))


class Field:
    """A backend under attack, and a device that trusts it."""

    def __init__(self, template: Path, folder: Path) -> None:
        shutil.copytree(template / "backend", folder / "backend")
        shutil.copytree(template / "device", folder / "device")
        self.folder = folder / "device"
        self.backend = Backend(folder / "backend")
        self.attacker = Attacker(self.backend)
        self.before = self.state()

    def state(self) -> Any:
        with Store.open(self.folder) as store:
            store.check()
            return store.packs(), store.document("release")

    def sync(self, url: str | None = None) -> Any:
        if url is not None:
            with device(self.folder, self.backend, url) as lens:
                return lens.sync()
        with self.backend.serve() as address:
            return self.sync(address)

    def is_refused(self, error: type[SyncError], match: str = ".", url: str | None = None) -> None:
        """The sync raises exactly `error`, and the device is as it was."""
        with pytest.raises(error, match=match) as raised:
            self.sync(url)
        assert type(raised.value) is error, raised.value
        assert self.state() == self.before

    def still_searches(self) -> None:
        """A photo is answered from the good release, by a process that begins anew."""
        with Lens(Options(data_dir=self.folder)) as lens:
            result = lens.search(PHOTO)
        shown = {match.title for found in result.objects for section in found.sections for match in section.matches}
        assert result.release == json.loads(self.before[1])["release"]
        assert {f"Thing {name} 1" for name in GOOD} <= shown

    def asks_every_role(self) -> None:
        """There is something new of every role's: also a model, because the device's own are damaged."""
        self.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        for path in self.folder.glob("models/*/model.json"):
            path.write_bytes(b"damaged")

    def recovers(self, name: str = "honest") -> None:
        """The next honest release is taken."""
        self.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name=name)
        assert self.sync().release == name


@pytest.fixture
def field(template: Path, tmp_path: Path) -> Field:
    return Field(template, tmp_path)


class TestWithoutKeys:
    def test_an_old_timestamp_after_a_new_one(self, field: Field) -> None:
        old = folder_state(field.attacker.metadata)
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        assert field.sync().release == "two"
        field.before, new = field.state(), folder_state(field.attacker.metadata)
        (field.attacker.metadata / "timestamp.json").write_bytes(old["timestamp.json"])
        field.is_refused(RollbackError, "older than what this device has seen")
        field.still_searches()
        (field.attacker.metadata / "timestamp.json").write_bytes(new["timestamp.json"])
        field.recovers()

    def test_a_frozen_repository_is_nothing_new_until_it_expires(self, field: Field) -> None:
        assert not field.sync().changed
        field.attacker.sign("timestamp", expire)
        field.is_refused(ExpiredReleaseError, "clock")
        field.still_searches()
        field.recovers()

    def test_a_changed_file(self, field: Field) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        (delta,) = field.attacker.targets.rglob("*.delta-*.pack")
        whole = delta.read_bytes()
        delta.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        field.is_refused(HashMismatchError, "thrown away")
        field.still_searches()
        delta.write_bytes(whole)
        assert field.sync().release == "two"

    def test_two_files_that_change_places(self, field: Field) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        (delta,) = field.attacker.targets.rglob("*.delta-*.pack")
        base = next(field.attacker.targets.rglob("*.base-*.pack"))
        delta.write_bytes(base.read_bytes()[: delta.stat().st_size].ljust(delta.stat().st_size, b"x"))
        field.is_refused(HashMismatchError)
        field.still_searches()

    def test_a_truncated_file(self, field: Field) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        (delta,) = field.attacker.targets.rglob("*.delta-*.pack")
        whole = delta.read_bytes()
        delta.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DownloadError):
            field.sync()
        assert field.state() == field.before
        field.still_searches()
        delta.write_bytes(whole)
        assert field.sync().release == "two"

    def test_changed_metadata(self, field: Field) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        for path in field.attacker.metadata.glob("*.packs.json"):
            path.write_bytes(path.read_bytes().replace(b'"length":', b'"length":1'))
        field.is_refused(SignatureError, "not signed as it must be")

    @pytest.mark.parametrize("part", ["timestamp.json", ".snapshot.json", ".packs.json", ".stable.json", ".pack"])
    def test_endless_data(self, field: Field, part: str) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        app = create_app(field.backend.config)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with answering(app, part, endless) as url:
            field.is_refused(LengthExceededError, "more|longer", url)
        field.still_searches()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
        app.extensions["handlens"].database.close()

    @pytest.mark.parametrize("part", ["timestamp.json", ".pack"])
    def test_slow_data(self, field: Field, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("handlens.sync.transport.RATE_WINDOW", 0.2)
        monkeypatch.setattr("handlens.sync.transport.MIN_RATE", 500)
        monkeypatch.setattr("handlens.sync.download._ATTEMPTS", 1)
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        app = create_app(field.backend.config)
        with answering(app, part, drip) as url:
            field.is_refused(OfflineError, "bytes a second", url)
        field.still_searches()
        app.extensions["handlens"].database.close()

    @pytest.mark.parametrize("name", ["2.root.json", "timestamp.json"])
    def test_metadata_of_nonsense(self, field: Field, name: str) -> None:
        (field.attacker.metadata / name).write_bytes(b'{"signed": [[[' * 100)
        field.is_refused(ReleaseError, "cannot be trusted")

    def test_a_login_page_in_place_of_every_file(self, field: Field) -> None:
        def page() -> list[bytes]:
            return [b"<html>Please log in</html>"]

        with answering(None, "/", page, content_type="text/html") as url:
            field.is_refused(DownloadError, "may want a login", url)

    def test_another_operators_repository(self, field: Field, tmp_path: Path) -> None:
        other = Backend(tmp_path / "other")
        other.publish_rows({"demo": rows("mine")}, name="two")
        other.publish_rows({"demo": rows("mine", "more")}, name="three")
        with other.serve() as url:
            field.is_refused(SignatureError, ".", url)


def expire(signed: Any) -> None:
    signed.expires = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=1)


def drip() -> Iterator[bytes]:
    while True:
        yield b"x"
        time.sleep(0.05)


class TestWithSomeKeys:
    @pytest.mark.parametrize("role", ["root", "targets", "models", "packs", "policy", "snapshot", "timestamp"])
    def test_an_expired_role(self, field: Field, role: str) -> None:
        field.asks_every_role()
        field.attacker.sign(role, expire)
        field.is_refused(ExpiredReleaseError, "expired")
        field.attacker.sign(role, renew)
        field.recovers()

    @pytest.mark.parametrize("role", ["targets", "models", "packs", "policy", "snapshot", "timestamp"])
    def test_a_role_signed_by_another_key(self, field: Field, role: str) -> None:
        field.asks_every_role()
        other = "snapshot" if role != "snapshot" else "timestamp"
        field.attacker.sign(role, keys=[other])
        field.is_refused(SignatureError, "not signed as it must be")
        field.attacker.sign(role)
        field.recovers()

    @pytest.mark.parametrize("role", ["root", "targets"])
    def test_an_offline_role_signed_by_one_key_of_two(self, field: Field, role: str) -> None:
        field.attacker.sign(role, keys=["root2"])
        field.is_refused(SignatureError, "not signed as it must be")
        field.still_searches()

    def test_a_root_that_only_its_own_new_keys_signed(self, field: Field) -> None:
        mine = field.backend.keys.create("mine")

        def take_over(root: Any) -> None:
            for role in ("root", "targets", "snapshot", "timestamp"):
                for key_id in list(root.roles[role].keyids):
                    root.revoke_key(key_id, role)
                root.add_key(mine.public_key, role)
                root.roles[role].threshold = 1

        field.attacker.sign("root", take_over, keys=["mine"])
        field.is_refused(SignatureError)

    def test_an_older_list_of_packs_under_a_new_snapshot(self, field: Field) -> None:
        field.backend.publish_rows({"demo": rows(*GOOD, "drill")}, name="two")
        assert field.sync().release == "two"
        field.before = field.state()

        def older(snapshot: Any) -> None:
            snapshot.meta["packs.json"].version = 1

        field.attacker.sign("snapshot", older)
        field.is_refused(RollbackError)
        field.still_searches()

    def test_a_clock_years_ahead_stops_updates_and_never_searches(
        self, field: Field, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_clock(monkeypatch, timedelta(days=3650))
        field.is_refused(ExpiredReleaseError, "clock")
        field.still_searches()

    def test_a_clock_years_behind_stops_nothing(self, field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
        set_clock(monkeypatch, timedelta(days=-3650))
        field.still_searches()
        field.recovers()
        with Lens(Options(data_dir=field.folder)) as lens:
            assert lens.search(PHOTO).release == "honest"
            assert lens.status().age_days < 0


def set_clock(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """The clock by which metadata expires and the age of a release is told."""
    from tuf.ngclient._internal import trusted_metadata_set

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + by

    class Module:
        datetime = Wrong
        timezone = timezone

    monkeypatch.setattr(trusted_metadata_set, "datetime", Module)
    monkeypatch.setattr("handlens.client._now", lambda: datetime.now(timezone.utc) + by)


def renew(signed: Any) -> None:
    signed.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)


EVIL_PATHS = ["../../evil", "/etc/passwd", "a/../../b", "C:\\evil", "..\\evil", "packs/demo/../../../x"]


class TestSignedByTheOperator:
    """Mistakes, or a stolen release key: everything is signed, and still nothing bad is taken."""

    def test_a_delta_for_another_state(self, field: Field) -> None:
        held = field.before[0][0].sequence
        header = header_of(LINES, kind="delta", from_sequence=held + 7, changes=1)
        file = field.attacker.pack(header, LINES[:1])
        packs = field.attacker.packs(file, header)
        packs["demo"]["files"][0]["from_sequence"] = held
        field.attacker.offer(field.attacker.release(packs=packs), file)
        field.is_refused(HashMismatchError, "not what the release says")
        field.still_searches()
        field.recovers()

    def test_a_delta_that_leads_to_another_digest(self, field: Field) -> None:
        held = field.before[0][0].sequence
        header = header_of(LINES, kind="delta", from_sequence=held, changes=1)
        field.attacker.offer_pack(header, [encode_delete("saw")])
        field.is_refused(HashMismatchError, "its header promises")
        field.recovers()

    @pytest.mark.parametrize("changes", [{"digest": "0" * 64}, {"items": 9}, {"vectors": 9}])
    def test_a_base_that_is_not_what_its_header_says(self, field: Field, changes: dict[str, Any]) -> None:
        field.attacker.offer_pack(header_of(LINES, **changes), LINES)
        field.is_refused(HashMismatchError, "its header promises")
        field.still_searches()
        field.recovers()

    def test_a_pack_with_the_digest_of_another(self, field: Field) -> None:
        field.attacker.offer_pack(header_of(LINES), LINES, digest="1" * 64)
        field.is_refused(HashMismatchError, "another state")
        field.recovers()

    def test_the_file_of_another_pack(self, field: Field) -> None:
        field.attacker.offer_pack(header_of(LINES, pack="other"), LINES)
        field.is_refused(HashMismatchError, "of pack 'other'")

    def test_a_pack_of_another_embedding_space(self, field: Field) -> None:
        field.attacker.offer_pack(header_of(LINES, space="someone-else"), LINES)
        field.is_refused(IncompatibleReleaseError, "someone-else.*must build the pack again")

    def test_a_release_of_another_space_than_its_embedder(self, field: Field) -> None:
        field.attacker.offer(field.attacker.release(space="someone-else"))
        field.is_refused(IncompatibleReleaseError)

    @pytest.mark.parametrize(
        ("lines", "cause"),
        [
            ([b"not json"], "not valid JSON"),
            ([b"[" * 100_000], "not valid JSON"),
            ([b'{"item":{"item_id":"a"},"embeddings":[],"thumbnail":""}'], "lacks the field"),
            ([LINES[0], LINES[0]], "comes twice"),
            ([encode_row(some_row("a")).replace(b'"code":"', b'"code":"AAAA')], "bytes in base64"),
            ([b'{"embeddings":[{"box":[0,0,1,1],"code":"' + b"A" * 171 + b'="}],"item":{"item_id":"z","kind":"photo",'
              b'"object_type":"tool","title":"t"},"thumbnail":""}'], "zero"),
            ([b'{"delete":7}'], "delete"),
            ([b'"' + b"x" * 4_100_000 + b'"'], "line above"),
        ],
        ids=["json", "deep", "field", "twice", "length", "zero", "delete", "line"],
    )  # fmt: skip
    def test_malformed_rows(self, field: Field, lines: list[bytes], cause: str) -> None:
        assert DIM == 128
        field.attacker.offer_pack(header_of(LINES, changes=len(lines)), lines)
        field.is_refused(ReleaseError, cause)
        field.recovers()

    def test_a_bomb_of_one_line(self, field: Field) -> None:
        header = header_of(LINES)
        plain = (json.dumps(header.to_dict()).encode() + b"\n", *(b"\0" * 10_000_000 for _ in range(60)))
        data = b"".join(gzip.compress(part) for part in plain)  # 600 MB in some 600 kB
        self.is_defused(field, data)

    def test_a_bomb_of_more_rows_than_promised(self, field: Field) -> None:
        header = header_of(LINES)
        many = b"".join(encode_delete(f"x{at}") + b"\n" for at in range(200_000))
        data = gzip.compress(json.dumps(header.to_dict()).encode() + b"\n") + gzip.compress(many) * 20
        self.is_defused(field, data)

    def is_defused(self, field: Field, data: bytes) -> None:
        file = field.attacker.pack_bytes(data)
        field.attacker.offer(field.attacker.release(packs=field.attacker.packs(file, header_of(LINES))), file)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        field.is_refused(ReleaseError)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kB
        field.still_searches()
        field.recovers()

    def test_a_release_for_a_newer_handlens(self, field: Field) -> None:
        field.attacker.offer(field.attacker.release(min_sdk="99.0.0"))
        field.is_refused(IncompatibleReleaseError, "needs handlens 99.0.0.*upgrade")
        field.recovers()

    def test_a_release_without_packs(self, field: Field) -> None:
        field.attacker.offer(field.attacker.release(packs={}))
        field.is_refused(SyncError, "has no pack")
        field.recovers()

    def test_a_release_without_a_way_to_its_pack(self, field: Field) -> None:
        packs = field.attacker.release()["packs"]
        packs["demo"] |= {"files": [], "sequence": 999}
        field.attacker.offer(field.attacker.release(packs=packs))
        field.is_refused(IncompatibleReleaseError, "no files that lead to state 999")

    @pytest.mark.parametrize("release", [b"{}", b"[]", b"\xff", b'{"format": 99}', b"{" * 100_000])
    def test_a_malformed_release(self, field: Field, release: bytes) -> None:
        field.attacker.offer(release)
        field.is_refused(ReleaseError, "malformed")
        field.recovers()

    @pytest.mark.parametrize("channel", [b"{}", b'{"format":2,"channel":"stable","releases":[]}', b"nothing"])
    def test_a_malformed_channel(self, field: Field, channel: bytes) -> None:
        field.attacker.offer_channel(channel)
        field.is_refused(ReleaseError, "channel is malformed")

    def test_a_channel_that_names_another_release_than_it_offers(self, field: Field) -> None:
        field.attacker.offer(field.attacker.release(serial=51))
        field.is_refused(HashMismatchError, "the channel names release 'evil' \\(50\\)")

    def test_a_channel_with_a_release_of_another_hash(self, field: Field) -> None:
        field.attacker.offer(field.attacker.release(), sha256="5" * 64)
        field.is_refused(HashMismatchError, "another releases/evil.json than the one that was signed")

    def test_a_release_with_a_policy_of_another_hash(self, field: Field) -> None:
        evil = field.attacker.release()
        evil["policy"] = {**evil["policy"], "sha256": "5" * 64}
        field.attacker.offer(evil)
        field.is_refused(HashMismatchError, "than the one that was signed")

    @pytest.mark.parametrize("change", [b"{}", b"[]", b'{"format": 1}'])
    def test_a_malformed_policy(self, field: Field, change: bytes) -> None:
        from handlens_server.release_parts import place_file

        file = place_file(field.attacker.targets, "policies/evil.json", change)
        field.attacker.offer(field.attacker.release(policy=file.to_dict()), file)
        field.is_refused(ReleaseError, "malformed")
        field.recovers()

    @pytest.mark.parametrize("path", EVIL_PATHS)
    def test_paths_that_leave_the_folder(self, field: Field, path: str) -> None:
        evil = field.attacker.release()
        model = evil["detector"]
        changes: list[Callable[[dict[str, Any]], Any]] = [
            lambda one: one["policy"].update(path=path),
            lambda one: one["packs"]["demo"]["files"][0].update(path=path),
            lambda one: one["packs"].update({path: one["packs"]["demo"]}),
            lambda one: one["detector"].update(files={**model["files"], path: model["files"]["model.json"]}),
            lambda one: one.update(release=path),
        ]
        for change in changes:
            wrong = json.loads(json.dumps(evil))
            change(wrong)
            field.attacker.offer(wrong)
            field.is_refused(ReleaseError, "malformed")
        field.still_searches()

    def test_an_unsigned_file_in_a_signed_release(self, field: Field) -> None:
        header = header_of(LINES)
        file = field.attacker.pack(header, LINES)
        field.attacker.offer(field.attacker.release(packs=field.attacker.packs(file, header)))
        field.is_refused(ReleaseError, "no signed packs/demo/base-900.pack")
