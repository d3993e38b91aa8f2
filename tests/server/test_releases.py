"""Releases: published, staged, brought back, verified, bundled, and told apart from what nobody needs any more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.backend import Backend
from support.catalogue import an_item, write_feed
from support.paths import MODELS
from support.signed_release import rows

from handlens.wire.release import Channel, Release
from handlens_server.bundle import BundleError
from handlens_server.pack_states import stored_name
from handlens_server.packs import PackError, Rule
from handlens_server.publishing import PublishError
from handlens_server.release_parts import PartsError
from handlens_server.sweeping import GRACE_DAYS
from handlens_server.verifying import VerifyError, verify

DEMO = {"demo": rows("axe", "saw")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    Backend(folder).publish_rows(DEMO, name="one")
    return folder


@pytest.fixture
def backend(template: Path, tmp_path: Path) -> Backend:
    shutil.copytree(template, tmp_path / "backend")
    return Backend(tmp_path / "backend")


def channel(backend: Backend) -> Channel:
    (found,) = backend.publisher.channels()
    return found


def offered(backend: Backend) -> list[tuple[str, float]]:
    return [(entry.release, entry.percent) for entry in channel(backend).entries]


class TestPublish:
    def test_a_release_binds_its_parts_by_their_hashes(self, backend: Backend) -> None:
        (line,) = backend.publisher.releases()
        targets = backend.repository / "targets"
        for file in (line.release.taxonomy, line.release.policy, *line.release.detector.files.values()):
            assert (targets / stored_name(file)).stat().st_size == file.size
        assert line.release.packs["demo"].items == 2

    def test_serials_grow_and_names_are_given_once(self, backend: Backend) -> None:
        assert backend.publish_rows(DEMO).serial == 2
        with pytest.raises(PublishError, match="'one' was published before"):
            backend.publish_rows(DEMO, name="one")

    @pytest.mark.parametrize("name", ["../x", "A B", "x" * 80])
    def test_a_name_that_no_device_would_take_is_refused(self, backend: Backend, name: str) -> None:
        with pytest.raises(PublishError, match="release name .* cannot be used"):
            backend.publish_rows(DEMO, name=name)
        with pytest.raises(PublishError, match="channel name .* cannot be used"):
            backend.publish_rows(DEMO, channel=name)
        assert offered(backend) == [("one", 100)]

    def test_models_that_are_not_as_they_say_are_refused(self, backend: Backend, tmp_path: Path) -> None:
        shutil.copytree(MODELS, tmp_path / "models")
        (tmp_path / "models" / "detector" / "model.tflite").write_bytes(b"another")
        with pytest.raises(PartsError, match="not the file that its model.json describes"):
            backend.publisher.publish_rows(DEMO, tmp_path / "models")
        with pytest.raises(PartsError, match="handlens-convert"):
            backend.publisher.publish_rows(DEMO, tmp_path)
        assert offered(backend) == [("one", 100)]

    def test_one_process_publishes_at_a_time(self, backend: Backend) -> None:
        with FileLock(backend.config.data_dir / "publish.lock"), pytest.raises(PublishError, match="another process"):
            backend.publish_rows(DEMO)

    def test_nothing_is_published_without_a_pack(self, backend: Backend) -> None:
        with pytest.raises(PublishError, match="pack define"):
            backend.publish()

    def test_the_catalogue_decides_what_a_pack_holds(self, backend: Backend, tmp_path: Path) -> None:
        items = [
            an_item(item_id="a", object_type="food", quality=0.9, annotations={"apple": 1.0}),
            an_item(item_id="b", object_type="food", quality=0.5, locale="de"),
            an_item(item_id="c", object_type="tool", kind="how_to", locale="en", audience="professional"),
        ]
        backend.add(write_feed(tmp_path / "feed", items))
        rules = {
            "all": Rule(),
            "food": Rule(types=("food",)),
            "how": Rule(kinds=("how_to",)),
            "apple": Rule(tags=("apple",)),
            "de": Rule(locale="de-AT"),
            "en": Rule(locale="en"),
            "home": Rule(audience="home"),
            "best": Rule(top=1),
        }
        for name, rule in rules.items():
            backend.define(name, rule)
        release = backend.publish()
        held = {
            name: [item_id for item_id, _ in backend.publisher._states.lines(name, pack.sequence)]
            for name, pack in release.packs.items()
        }
        assert held == {
            "all": ["a", "b", "c"], "food": ["a", "b"], "how": ["c"], "apple": ["a"], "de": ["a", "b"],
            "en": ["a", "c"], "home": ["a", "b"], "best": ["a"],
        }  # fmt: skip

    @pytest.mark.parametrize("rule", [{"types": ("fruit",)}, {"kinds": ("song",)}, {"top": 0}])
    def test_a_rule_that_cannot_work_is_refused(self, rule: dict[str, Any]) -> None:
        with pytest.raises(PackError):
            Rule(**rule)


class TestRollout:
    def test_a_staged_release_stands_before_the_one_for_all(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe")}, name="two", percent=10)
        assert offered(backend) == [("two", 10), ("one", 100)]
        taken = [channel(backend).choose(f"device-{at}").release for at in range(2000)]
        assert 150 < taken.count("two") < 250

    def test_widening_keeps_those_who_have_it_and_ends_with_all(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe")}, name="two", percent=10)
        devices = [f"device-{at}" for at in range(500)]
        first = {one for one in devices if channel(backend).choose(one).release == "two"}
        backend.publisher.widen(50)
        second = {one for one in devices if channel(backend).choose(one).release == "two"}
        assert first < second
        backend.publisher.widen(100)
        assert offered(backend) == [("two", 100)]

    def test_narrowing_is_refused_and_says_what_to_do(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe")}, name="two", percent=50)
        with pytest.raises(PublishError, match="release rollback"):
            backend.publisher.widen(10)
        with pytest.raises(PublishError, match="no percentage"):
            backend.publish_rows(DEMO, percent=101)

    def test_channels_do_not_disturb_each_other(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe", "new")}, name="early", channel="beta")
        found = {one.name: [entry.release for entry in one.entries] for one in backend.publisher.channels()}
        assert found == {"stable": ["one"], "beta": ["early"]}
        assert verify(backend.repository, "stable").releases == ("one",)
        assert verify(backend.repository, "beta").releases == ("early",)


class TestRollback:
    def test_an_older_state_comes_back_under_a_new_serial(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe", value=9)}, name="bad")
        back = backend.publisher.rollback(name="fixed")
        (one, bad, fixed) = (line.release for line in reversed(backend.publisher.releases()))
        assert (back.serial, fixed.packs["demo"].digest) == (3, one.packs["demo"].digest)
        assert fixed.packs["demo"].sequence > bad.packs["demo"].sequence
        assert offered(backend) == [("fixed", 100)]
        verify(backend.repository, "stable")

    def test_a_release_is_brought_back_by_its_name(self, backend: Backend) -> None:
        for value in (2, 3):
            backend.publish_rows({"demo": rows("axe", value=value)}, name=f"v{value}")
        back = backend.publisher.rollback("one")
        assert back.packs["demo"].items == 2
        with pytest.raises(PublishError, match="no release 'nine': kept are one, v2, v3"):
            backend.publisher.rollback("nine")

    def test_a_pack_that_was_left_out_comes_back(self, backend: Backend) -> None:
        backend.publish_rows({"other": rows("vice")}, name="without")
        assert backend.publisher.rollback("one").packs["demo"].items == 2
        backend.publish_rows({"other": rows("vice")}, name="again-without")
        again = backend.publish_rows({"demo": rows("axe", "saw", "new")}, name="with")
        assert again.packs["demo"].items == 3
        verify(backend.repository, "stable")

    def test_there_must_be_an_older_one(self, backend: Backend) -> None:
        with pytest.raises(PublishError, match="nothing to go back to"):
            backend.publisher.rollback()


class TestVerify:
    def test_a_good_repository_is_told_with_its_counts(self, backend: Backend) -> None:
        backend.publish_rows({"demo": rows("axe", "new")}, name="two")
        verdict = verify(backend.repository, "stable", root=backend.root)
        assert (verdict.releases, verdict.ways) == (("two",), 2)

    @pytest.mark.parametrize("part", ["*.pack", "*.model.tflite", "*.one.json", "*.stable.json"])
    def test_a_changed_file_is_found(self, backend: Backend, part: str) -> None:
        path = next((backend.repository / "targets").rglob(part))
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(VerifyError, match="must not be used|not what was signed"):
            verify(backend.repository, "stable")

    def test_a_missing_model_is_found(self, backend: Backend) -> None:
        next((backend.repository / "targets").rglob("*.model.tflite")).unlink()
        with pytest.raises(VerifyError, match="lacks"):
            verify(backend.repository, "stable")

    def test_another_root_is_not_trusted(self, backend: Backend, tmp_path: Path) -> None:
        other = Backend(tmp_path / "other")
        with pytest.raises(VerifyError, match="not signed"):
            verify(backend.repository, "stable", root=other.root)

    def test_a_folder_that_is_no_repository_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(VerifyError, match="give a repository"):
            verify(tmp_path, "stable")


class TestBundle:
    def test_a_bundle_is_small_whole_and_as_signed(self, backend: Backend, tmp_path: Path) -> None:
        for value in range(2, 5):
            backend.publish_rows({"demo": rows("axe", "saw", value=value)}, name=f"v{value}")
        out = backend.bundle(tmp_path / "out")
        assert verify(out, "stable", root=backend.root, checks_expiry=False).releases == ("v4",)
        names = {path.name.split(".", 1)[1] for path in (out / "metadata").iterdir()}
        assert names == {
            "root.json",
            "json",
            "snapshot.json",
            "targets.json",
            "models.json",
            "packs.json",
            "policy.json",
        }
        assert len(list(out.rglob("*.pack"))) == 1

    def test_an_existing_folder_is_never_overwritten(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="exists"):
            backend.bundle(tmp_path)

    def test_a_folder_that_cannot_be_written_is_named_and_left_clean(self, backend: Backend, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BundleError, match="cannot be written"):
            backend.bundle(tmp_path / "file" / "out")

    def test_before_the_first_release_there_is_nothing_to_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="publish a release"):
            Backend(tmp_path / "fresh").bundle(tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestSweeping:
    def test_files_go_when_no_device_can_ask_for_them(self, backend: Backend) -> None:
        for value in range(2, 24):
            backend.publish_rows({"demo": rows("axe", "saw", value=value)}, name=f"v{value}")
        targets = backend.repository / "targets"
        fresh = len([path for path in targets.rglob("*") if path.is_file()])
        record = backend.config.data_dir / "unused.json"
        past = {name: begun - (GRACE_DAYS + 1) * 86400 for name, begun in json.loads(record.read_bytes()).items()}
        record.write_text(json.dumps(past))
        backend.publish_rows({"demo": rows("axe", "saw", value=30)}, name="last")
        left = [path for path in targets.rglob("*") if path.is_file()]
        assert len(left) < fresh / 2
        verify(backend.repository, "stable")
        assert len(list((backend.config.data_dir / "history").iterdir())) == 17
        assert backend.publisher.rollback().packs["demo"].items == 2  # what is kept can still be brought back

    @pytest.mark.parametrize("record", [None, "", "[1]", "not JSON"])
    def test_what_a_device_may_be_fetching_stays(self, backend: Backend, record: str | None) -> None:
        before = {path for path in (backend.repository / "targets").rglob("*") if path.is_file()}
        for path in before:  # files may be old when they fall out of use
            os.utime(path, (0, 0))
        if record is not None:
            (backend.config.data_dir / "unused.json").write_text(record)
        backend.publish_rows({"demo": rows("axe", value=2)}, name="two")
        assert before <= set((backend.repository / "targets").rglob("*"))


def test_a_release_that_was_written_is_what_devices_read(backend: Backend) -> None:
    record = next((backend.config.data_dir / "history").iterdir())
    release = Release.from_json(record.read_bytes())
    assert json.loads(record.read_bytes()) == release.to_dict()
