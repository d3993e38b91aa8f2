from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from support.backend import Backend
from support.catalogue import some_items, write_feed
from support.paths import QUERIES

from handlens import (
    Box,
    BudgetError,
    BusyError,
    DownloadError,
    FoundObject,
    HandlensError,
    HashMismatchError,
    HTTPStatusError,
    ImageError,
    Lens,
    Match,
    ModelError,
    NotReadyError,
    OfflineError,
    Options,
    OptionsError,
    StoreCorruptError,
    StoreVersionError,
    SyncError,
    UnknownPackError,
)
from handlens.result_reader import read_result
from handlens.sync.transport import HttpTransport
from handlens.upgrading import merge_answer
from handlens_server.packs import Rule

TAJ = QUERIES / "images" / "taj-mahal.jpg"
CITRUS = QUERIES / "images" / "seville-orange.jpg"
HORSES = QUERIES / "images" / "horses.jpg"


@pytest.fixture(scope="module")
def lens(device: Path) -> Any:
    with Lens(Options(data_dir=device)) as opened:
        yield opened


class TestSearch:
    def test_a_photo_of_a_monument_brings_its_story_before_pictures_like_it(self, lens: Lens) -> None:
        found = lens.search(TAJ).objects[0]
        assert found.type == "place"
        kinds = [match.kind for section in found.sections for match in section.matches]
        assert kinds[0] in ("article", "place")
        assert "photo" in kinds

    def test_every_match_says_why(self, lens: Lens) -> None:
        for found in lens.search(HORSES).objects:
            for section in found.sections:
                assert section.matches
                for match in section.matches:
                    assert match.why.source in ("visual", "object", "annotation")
                    assert match.why.rule.count("/") == 1
                    assert match.why.policy
                    assert match.why.reason

    def test_the_same_request_gets_the_same_answer(self, lens: Lens) -> None:
        answers = [lens.search(HORSES, request_id="r1").to_dict() for _ in range(2)]
        for answer in answers:
            answer.pop("timings_ms")
        assert answers[0] == answers[1]

    def test_a_users_box_is_the_only_object(self, lens: Lens) -> None:
        box = Box(0.1, 0.1, 0.6, 0.9)
        (found,) = lens.search(HORSES, box=box).objects
        assert found.box == box
        assert found.region.found_by == "user"

    def test_a_photo_with_nothing_detected_is_searched_whole(self, lens: Lens) -> None:
        blank = np.full((200, 200, 3), 128, np.uint8)
        (found,) = lens.search(blank).objects
        assert found.region.found_by == "whole"

    def test_no_more_objects_and_matches_than_asked_for(self, device: Path) -> None:
        with Lens(Options(data_dir=device, max_objects=1)) as one:
            (found,) = one.search(HORSES, limit=3).objects
        assert sum(len(section.matches) for section in found.sections) <= 3

    def test_refine_brings_the_kind_that_was_asked_for_first(self, lens: Lens) -> None:
        sections = lens.search(HORSES, refine="how to").objects[0].sections
        assert sections[0].matches[0].kind == "how_to"

    def test_the_answer_is_plain_json(self, lens: Lens) -> None:
        answer = json.loads(json.dumps(lens.search(TAJ).to_dict()))
        assert answer["served_by"] == "device"
        assert answer["release"] == "test-1"
        assert answer["as_of"].endswith("Z")
        assert answer["objects"][0]["sections"][0]["matches"][0]["why"]["rule"]
        steps = ("decode", "detect", "embed", "colours", "index", "understand", "sources", "blend")
        assert tuple(answer["timings_ms"]) == steps

    def test_thumbnails_open_and_items_without_a_picture_have_none(self, lens: Lens) -> None:
        matches = [match for section in lens.search(TAJ).objects[0].sections for match in section.matches]
        thumbnails = {match.item.image is not None: lens.thumbnail(match) for match in matches}
        assert thumbnails[False] is None
        assert thumbnails[True] is not None

    def test_a_search_touches_no_socket(self, lens: Lens, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a search opened a socket")

        monkeypatch.setattr(socket, "socket", refuse)
        assert lens.search(TAJ).objects

    def test_many_threads_get_the_answers_of_one(self, lens: Lens) -> None:
        alone = told(lens, TAJ)
        answers: list[Any] = []
        workers = [threading.Thread(target=lambda: answers.append(told(lens, TAJ))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert answers == [alone] * 4

    def test_a_lens_can_be_used_after_it_was_closed(self, device: Path) -> None:
        lens = Lens(Options(data_dir=device))
        first = told(lens, TAJ)
        lens.close()
        assert told(lens, TAJ) == first
        lens.close()

    def test_a_deadline_that_is_over_leaves_sources_out_and_names_them(self, device: Path) -> None:
        with Lens(Options(data_dir=device, deadline_ms=0.001)) as hurried:
            result = hurried.search(TAJ)
        assert {one.source for one in result.left_out} == {"object", "curated", "annotation"}
        assert result.can_improve
        assert all(found.sections for found in result.objects)

    def test_an_answer_says_how_much_of_the_catalogue_was_searched(self, lens: Lens) -> None:
        answer = lens.search(TAJ).to_dict()
        assert answer["coverage"] == {"held": 1, "known": 1}
        assert answer["left_out"] == []
        assert not answer["can_improve"]

    def test_an_answer_can_be_read_back_from_its_json(self, lens: Lens) -> None:
        answer = lens.search(HORSES, refine="how to").to_dict()
        assert read_result(json.loads(json.dumps(answer))).to_dict() == answer


def told(lens: Lens, photo: Path) -> Any:
    answer = lens.search(photo, request_id="r").to_dict()
    answer.pop("timings_ms")
    return answer


class TestIndexChoice:
    def test_a_small_store_is_searched_exactly_and_says_why(self, lens: Lens) -> None:
        assert lens.status().index == "exact (fewer than 10000 vectors)"

    def test_hnsw_gives_the_answer_of_the_exact_index(self, own_device: Path, lens: Lens) -> None:
        exact = told(lens, TAJ)
        with Lens(Options(data_dir=own_device, index="hnsw")) as other:
            assert other.status().index == "exact (HNSW is not built yet)"
            other.close()
            other.reindex()
            assert other.status().index.startswith("hnsw (")
            graph = told(other, TAJ)
        assert graph.pop("index") == "hnsw"
        assert exact.pop("index") == "exact"
        assert graph == exact

    def test_a_damaged_index_file_is_told_and_exact_search_answers(self, own_device: Path) -> None:
        with Lens(Options(data_dir=own_device, index="hnsw")) as other:
            other.reindex()
        for path in (own_device / "index").iterdir():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        with Lens(Options(data_dir=own_device, index="hnsw")) as other:
            assert "run handlens reindex" in other.status().index
            assert other.search(TAJ).objects[0].type == "place"
            other.reindex()
        with Lens(Options(data_dir=own_device, index="hnsw")) as other:
            assert other.status().index.startswith("hnsw (")


def targets(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in (folder / "targets").rglob(pattern) if path.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class TestInstall:
    def test_what_was_installed_is_told(self, lens: Lens) -> None:
        status = lens.status()
        assert (status.release, status.former, status.outbox) == ("test-1", "", 0)
        assert 0 <= status.age_days < 1
        assert [pack.pack for pack in status.packs] == ["demo"]
        assert json.loads(json.dumps(status.to_dict()))["store_bytes"] > 0

    def test_progress_is_told_to_the_end(self, tmp_path: Path, release: Path) -> None:
        heard: dict[str, tuple[int, int]] = {}
        with Lens(Options(data_dir=tmp_path, index="hnsw")) as lens:
            report = lens.install(release, progress=lambda step, done, total: heard.update({step: (done, total)}))
        assert set(heard) == {"download", "pack demo", "index"}
        assert all(done == total for done, total in heard.values())
        assert (report.release, report.changed, report.packs) == ("test-1", True, ("demo",))

    def test_installing_again_changes_nothing_and_reads_little(self, own_device: Path, release: Path) -> None:
        with Lens(Options(data_dir=own_device)) as lens:
            report = lens.install(release)
        assert not report.changed
        assert report.bytes_received < 4000

    def test_installing_again_repairs_a_damaged_model(self, own_device: Path, release: Path) -> None:
        (broken,) = (own_device / "models").glob("embedder-*/model.tflite")
        broken.write_bytes(b"gone")
        with Lens(Options(data_dir=own_device)) as lens:
            with pytest.raises(ModelError, match="sync again, or install the release again"):
                lens.search(TAJ)
            lens.install(release)
            assert lens.search(TAJ).objects[0].type == "place"

    @pytest.mark.parametrize("name", ["*.base-*.pack", "*.one.json"])
    def test_a_damaged_file_is_refused_and_the_old_release_goes_on(
        self, own_device: Path, tmp_path: Path, shop: Shop, name: str
    ) -> None:
        bundle = shop.backend.bundle(tmp_path / "bundle")
        for path in targets(bundle, name):
            flip(path)
        with Lens(Options(data_dir=own_device, trusted_root=shop.backend.root)) as lens:
            before = told(lens, TAJ)
            with pytest.raises(HashMismatchError, match="sync again"):
                lens.install(bundle)
            assert told(lens, TAJ) == before

    def test_a_missing_file_is_named(self, tmp_path: Path, own_release: Path) -> None:
        (taxonomy,) = targets(own_release / "targets" / "taxonomies" / "..", "*/taxonomies/*") or targets(
            own_release, "taxonomies/*"
        )
        taxonomy.unlink()
        with Lens(Options(data_dir=tmp_path / "d")) as lens, pytest.raises(DownloadError, match="taxonomies"):
            lens.install(own_release)

    def test_a_folder_that_is_no_release_is_refused(self, tmp_path: Path) -> None:
        with Lens(Options(data_dir=tmp_path / "d")) as lens, pytest.raises(DownloadError, match="copy the release"):
            lens.install(tmp_path)

    def test_a_release_of_another_operator_is_refused(self, own_device: Path, tmp_path: Path, shop: Shop) -> None:
        with Lens(Options(data_dir=own_device)) as lens:
            before = told(lens, TAJ)
            with pytest.raises(SyncError):
                lens.install(shop.backend.bundle(tmp_path / "bundle"))
            assert told(lens, TAJ) == before


class Shop:
    """A backend on the network whose catalogue changes: each test's devices are its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder)
        self.items = some_items(12, 60)
        self.backend.define("demo")
        self.count = 0
        self.publish("one")

    def publish(self, name: str | None = None, *, define: dict[str, Rule] | None = None) -> Any:
        """Import the items as they are and make a release."""
        self.count += 1
        feed = write_feed(self.folder / f"feed-{self.count}", self.items)
        self.backend.add(feed, withdraw_missing=True)
        for pack, rule in (define or {}).items():
            self.backend.define(pack, rule)
        return self.backend.publish(name=name)

    def device(self, folder: Path, url: str, **settings: Any) -> Lens:
        options = Options(
            data_dir=folder, server_url=url, trusted_root=self.backend.root, retries=0, timeout=5, **settings
        )
        return Lens(options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    with shop.backend.serve() as address:
        yield address


@pytest.fixture
def own_shop(tmp_path: Path, shop: Shop) -> Shop:
    """A copy of the shop as it was first, for a test that changes it; `own_url` serves it."""
    copied = Shop.__new__(Shop)
    copied.folder, copied.items, copied.count = tmp_path / "shop", [dict(item) for item in shop.items], shop.count
    shutil.copytree(shop.folder, copied.folder)
    copied.backend = Backend(copied.folder)
    return copied


@pytest.fixture
def own_url(own_shop: Shop) -> Iterator[str]:
    with own_shop.backend.serve() as address:
        yield address


def titles(lens: Lens, word: str) -> set[str]:
    """What the catalogue on the device has to say about a word, through a search of a photo with it."""
    with sqlite3.connect(lens.options.data_path / "store.db") as database:
        rows = database.execute("SELECT record FROM items").fetchall()
    database.close()
    return {item["title"] for (record,) in rows for item in [json.loads(record)] if word in item["title"]}


class TestUpgrade:
    def test_the_servers_answer_takes_the_place_of_the_offline_one(
        self, own_shop: Shop, own_url: str, tmp_path: Path
    ) -> None:
        own_shop.publish("two", define={"demo": Rule(kinds=("photo", "recipe")), "rest": Rule(kinds=("how_to",))})
        with own_shop.device(tmp_path / "device", own_url, packs=("demo",)) as lens:
            lens.sync()
            offline = lens.search(CITRUS, request_id="r1", refine="orange")
            assert offline.can_improve
            assert (offline.coverage.held, offline.coverage.known) == (1, 2)
            online = lens.upgrade(offline, limit=40)
            assert (online.served_by, online.request_id, online.image_size) == ("server", "r1", offline.image_size)
            assert [one.region for one in online.objects] == [one.region for one in offline.objects]
            kinds = {match.kind for one in online.objects for row in one.sections for match in row.matches}
            assert {"recipe", "how_to"} <= kinds
            assert online.coverage.is_whole
            matches = [match for one in online.objects for row in one.sections for match in row.matches]
            held = {match.item.item_id: match.item_key for found in offline.objects for match in matches_of(found)}
            assert held
            assert all(match.item_key == held.get(match.item.item_id, match.item_key) for match in matches)
            assert any(match.item.item_id in held for match in matches)  # their pictures are found
            assert lens.thumbnail(next(match for match in matches if match.kind == "how_to")) is None
            assert lens.upgrade(online).to_dict()["objects"] == online.to_dict()["objects"]

    def test_the_photo_is_not_sent(self, shop: Shop, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[bytes] = []
        with shop.device(tmp_path, url) as lens:
            lens.sync()
            result = lens.search(TAJ, request_id="r1")
            request = HttpTransport.request

            def watched(self: Any, method: str, path: str, **settings: Any) -> Any:
                sent.append(settings.get("body", b""))
                return request(self, method, path, **settings)

            monkeypatch.setattr(HttpTransport, "request", watched)
            lens.upgrade(result)
        query = json.loads(sent[-1])
        assert set(query) == {"format", "request_id", "space", "image_size", "limit", "locale", "objects"}
        assert set(query["objects"][0]) == {"box", "found_by", "label", "score", "embedding", "label_scores", "colours"}
        assert len(sent[-1]) < 3000 * len(query["objects"])

    def test_without_the_server_the_offline_answer_stays(self, shop: Shop, device: Path, tmp_path: Path) -> None:
        with Lens(Options(data_dir=device, server_url="http://127.0.0.1:9", timeout=1)) as lens:
            result = lens.search(TAJ)
            with pytest.raises(OfflineError):
                lens.upgrade(result)
            assert lens.search(TAJ, request_id=result.request_id).objects == result.objects

    def test_without_a_server_there_is_nothing_to_ask(self, lens: Lens) -> None:
        with pytest.raises(SyncError, match="server_url"):
            lens.upgrade(lens.search(TAJ))

    def test_what_the_server_cannot_serve_is_told_with_its_reason(self, shop: Shop, url: str, tmp_path: Path) -> None:
        with shop.device(tmp_path, url) as lens:
            lens.sync()
            result = lens.search(TAJ, request_id="no plain\nword")
            with pytest.raises(HTTPStatusError, match="request_id") as caught:
                lens.upgrade(result)
        assert caught.value.status == 400
        assert "later" not in str(caught.value)

    def test_an_answer_without_embeddings_cannot_be_upgraded(self, lens: Lens) -> None:
        with pytest.raises(ValueError, match="no embeddings"):
            lens.upgrade(read_result(lens.search(TAJ).to_dict()))

    @pytest.mark.parametrize("answer", [{}, {"objects": "x"}, [], None])
    def test_a_malformed_answer_is_refused(self, lens: Lens, answer: Any) -> None:
        with pytest.raises(DownloadError, match="cannot be read"):
            merge_answer(lens.search(TAJ), answer, lambda _: {})

    def test_the_answer_to_another_request_is_refused(self, lens: Lens) -> None:
        first, second = lens.search(TAJ), lens.search(TAJ)
        with pytest.raises(DownloadError, match="another request"):
            merge_answer(first, second.to_dict(), lambda _: {})


class TestSync:
    def test_a_device_follows_the_catalogue(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "device", own_url) as lens:
            first = lens.sync()
            assert (first.release, first.changed, first.packs) == ("one", True, ("demo",))
            assert lens.search(TAJ).release == "one"
            own_shop.items[0]["title"] = "A title that was changed"
            gone = own_shop.items.pop()["title"]
            own_shop.publish("two")
            second = lens.sync()
            assert (second.release, second.changes) == ("two", 2)
            assert second.bytes_received < first.bytes_received / 100
            assert titles(lens, "was changed") == {"A title that was changed"}
            assert not titles(lens, gone)
            assert lens.search(TAJ).release == "two"
            assert lens.status().former == "one"

    def test_nothing_new_costs_two_requests_and_little(self, shop: Shop, url: str, tmp_path: Path) -> None:
        with shop.device(tmp_path, url) as lens:
            lens.sync()
            again = lens.sync()
        assert not again.changed
        assert again.requests == 2
        assert again.bytes_received < 4000

    def test_going_back_and_the_release_that_was_left(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "device", own_url) as lens:
            lens.sync()
            before = told(lens, TAJ)
            own_shop.items[0]["title"] = "Spoilt"
            own_shop.publish("bad")
            lens.sync()
            assert lens.rollback().name == "one"
            assert told(lens, TAJ) == before
            left = lens.sync()
            assert (left.release, left.changed, left.left_out) == ("one", False, "bad")
            with pytest.raises(NotReadyError, match="no former release"):
                lens.rollback()
            own_shop.publish("good")
            assert lens.sync().release == "good"

    def test_packs_are_added_and_dropped(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        own_shop.publish("two", define={"food": Rule(types=("food",)), "tools": Rule(types=("tool",))})
        with own_shop.device(tmp_path / "device", own_url) as lens:
            assert lens.sync(["food"]).packs == ("food",)
            assert lens.sync().packs == ("food",)
            assert lens.sync(["food", "tools"]).packs == ("food", "tools")
            assert [pack.pack for pack in lens.status().packs] == ["food", "tools"]
            dropped = lens.sync(["tools"])
            assert dropped.changed
            assert [pack.pack for pack in lens.status().packs] == ["tools"]
            assert lens.sync([]).packs == ("demo", "food", "tools")
            with pytest.raises(SyncError, match="no pack 'shoes': it has 'demo', 'food', 'tools'"):
                lens.sync(["shoes"])

    def test_progress_is_told_to_the_end(self, shop: Shop, url: str, tmp_path: Path) -> None:
        heard: dict[str, tuple[int, int]] = {}
        with shop.device(tmp_path, url, index="hnsw") as lens:
            lens.sync(progress=lambda step, done, total: heard.update({step: (done, total)}))
        assert set(heard) == {"download", "pack demo", "index"}
        assert all(done == total for done, total in heard.values())

    def test_a_budget_is_kept_before_anything_large_is_fetched(self, shop: Shop, url: str, tmp_path: Path) -> None:
        with shop.device(tmp_path, url) as lens:
            with pytest.raises(BudgetError, match="1,000,000 are allowed"):
                lens.sync(max_bytes=1_000_000)
            with pytest.raises(BudgetError, match="may not be used"):
                lens.sync(allow=lambda: False)
            with pytest.raises(NotReadyError):
                lens.search(TAJ)
            assert lens.sync(max_bytes=20_000_000).changed

    def test_a_network_that_goes_away_in_mid_download_costs_nothing_twice(
        self, shop: Shop, url: str, tmp_path: Path
    ) -> None:
        def on_disk() -> int:
            return sum(path.stat().st_size for path in (tmp_path / "downloads").glob("*"))

        with shop.device(tmp_path, url) as lens:
            with pytest.raises(BudgetError):
                lens.sync(allow=lambda: on_disk() < 2_000_000)
            kept = on_disk()
            assert kept > 1_000_000
            rest = lens.sync()
        with shop.device(tmp_path / "other", url) as fresh:
            whole = fresh.sync()
        assert rest.bytes_received <= whole.bytes_received - kept + 10_000

    def test_a_full_disk_is_told_before_anything_changes(
        self, shop: Shop, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
        with shop.device(tmp_path, url) as lens, pytest.raises(SyncError, match="1 MB free, this release needs"):
            lens.sync()

    def test_an_unreachable_server_is_told_and_searches_go_on(self, own_device: Path, release: Path) -> None:
        root = release / "metadata" / "1.root.json"
        options = Options(data_dir=own_device, server_url="http://127.0.0.1:9", trusted_root=root, retries=0, timeout=2)
        with Lens(options) as lens:
            with pytest.raises(OfflineError, match="cannot be reached"):
                lens.sync()
            assert lens.search(TAJ).objects

    def test_without_server_or_trusted_root_the_option_is_named(self, tmp_path: Path, url: str) -> None:
        with Lens(Options(data_dir=tmp_path)) as lens, pytest.raises(SyncError, match="server_url"):
            lens.sync()
        with Lens(Options(data_dir=tmp_path, server_url=url)) as lens, pytest.raises(SyncError, match="trusted_root"):
            lens.sync()

    def test_one_process_syncs_at_a_time(self, shop: Shop, url: str, tmp_path: Path) -> None:
        held = FileLock(tmp_path / "sync.lock")
        with shop.device(tmp_path, url) as lens, held, pytest.raises(BusyError, match="another process"):
            lens.sync()

    def test_a_lens_sees_what_another_installs(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "d", own_url) as writer, Lens(Options(data_dir=tmp_path / "d")) as reader:
            writer.sync()
            assert reader.search(TAJ).release == "one"
            own_shop.publish("two")
            writer.sync()
            until = time.monotonic() + 20
            while reader.search(TAJ).release != "two" and time.monotonic() < until:
                time.sleep(0.02)
            assert reader.search(TAJ).release == "two"

    def test_the_index_follows_the_changes(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "device", own_url, index="hnsw") as lens:
            lens.sync()
            own_shop.items.pop(0)
            own_shop.publish()
            lens.sync()
            assert lens.status().index.startswith("hnsw (")
            graph = told(lens, TAJ)
        with own_shop.device(tmp_path / "device", own_url, index="exact") as lens:
            exact = told(lens, TAJ)
        assert (graph.pop("index"), exact.pop("index")) == ("hnsw", "exact")
        assert graph == exact

    def test_a_release_for_some_devices_reaches_those_only(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        own_shop.backend.publish(name="two", percent=50)
        taken = []
        for at in range(12):
            with own_shop.device(tmp_path / f"device-{at}", own_url) as lens:
                lens.options.data_path.mkdir(parents=True)
                if at:  # the models are the same: no need to fetch them twelve times
                    shutil.copytree(tmp_path / "device-0" / "models", lens.options.data_path / "models")
                taken.append(lens.sync().release)
        assert set(taken) == {"one", "two"}


class TestFeedback:
    def test_what_waits_is_sent_with_the_next_sync_and_stored_once(
        self, own_shop: Shop, own_url: str, tmp_path: Path
    ) -> None:
        with own_shop.device(tmp_path / "device", own_url, consent="events") as lens:
            lens.sync()
            result = lens.search(TAJ)
            match = result.objects[0].sections[0].matches[0]
            kept = lens.feedback(result, saved=match)
            kept += lens.feedback(result, box=Box(0.1, 0.1, 0.5, 0.9), label="taj mahal")
            assert [event.kind for event in kept] == ["save", "box"]
            assert lens.status().outbox == 3  # and the search
            report = lens.sync()
            assert (report.events_sent, report.events_waiting, report.events_error) == (3, 0, "")
            assert lens.sync().events_sent == 0
        assert sorted(stored(own_shop)) == sorted(["search", "save", "box"])

    def test_without_consent_nothing_is_kept(self, device: Path, lens: Lens) -> None:
        result = lens.search(TAJ)
        with pytest.raises(HandlensError, match="consent"):
            lens.feedback(result, label="palace")
        assert lens.outbox.count() == 0

    def test_events_that_cannot_be_sent_wait_and_the_release_comes(
        self, own_shop: Shop, own_url: str, tmp_path: Path
    ) -> None:
        with own_shop.device(tmp_path / "device", own_url, consent="events") as lens:
            lens.sync()
            lens.feedback(lens.search(TAJ), label="palace")
            lens.sync()
            with own_shop.backend.database() as database, database.session() as session:
                from sqlalchemy import text

                session.execute(text("UPDATE devices SET is_revoked = true"))
            lens.feedback(lens.search(TAJ), label="mausoleum")
            own_shop.publish("two")
            report = lens.sync()
            assert report.release == "two"
            assert "refuses this device" in report.events_error
            assert report.events_waiting == 2

    def test_lowered_consent_takes_back_what_waits(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "device", own_url, consent="crop") as lens:
            lens.sync(send_events=False)
            lens.feedback(lens.search(TAJ), label="palace", box=Box(0.1, 0.1, 0.5, 0.9), photo=TAJ)
            assert {"crop", "embedding"} <= fields_waiting(lens)
            lens.lower_consent("embedding")
            assert "embedding" in fields_waiting(lens)
            assert "crop" not in fields_waiting(lens)
            lens.lower_consent("events")
            assert not {"crop", "embedding", "space"} & fields_waiting(lens)
            assert lens.outbox.count() == 2
            with pytest.raises(OptionsError, match="consent"):
                lens.lower_consent("some")
            lens.lower_consent("none")
            assert lens.outbox.count() == 0

    def test_erase_forgets_here_and_there(self, own_shop: Shop, own_url: str, tmp_path: Path) -> None:
        with own_shop.device(tmp_path / "device", own_url, consent="events") as lens:
            lens.sync()
            lens.feedback(lens.search(TAJ), label="palace")
            lens.sync()
            device = lens.outbox.device_id()
            lens.feedback(lens.search(TAJ), label="mausoleum")
            assert lens.erase()
            assert lens.outbox.count() == 0
            assert lens.outbox.device_id() != device
            assert lens.search(TAJ).objects
        assert stored(own_shop) == []


def fields_waiting(lens: Lens) -> set[str]:
    """The fields of all events that wait."""
    return {name for line in lens.outbox.lines() for name in json.loads(line)}


def matches_of(found: FoundObject) -> list[Match]:
    return [match for section in found.sections for match in section.matches]


def stored(shop: Shop) -> list[str]:
    """The kinds of the events that the server has."""
    from handlens_server.tables import EventRow

    with shop.backend.database() as database, database.read() as session:
        return [row.kind for row in session.query(EventRow)]


class TestBadInput:
    def test_a_device_with_nothing_installed_says_so(self, tmp_path: Path) -> None:
        with Lens(Options(data_dir=tmp_path / "nothing")) as lens, pytest.raises(NotReadyError, match="install"):
            lens.search(TAJ)

    def test_an_unknown_pack_is_refused_with_the_known_ones(self, device: Path) -> None:
        with Lens(Options(data_dir=device, packs=("fashion",))) as lens, pytest.raises(UnknownPackError, match="demo"):
            lens.search(TAJ)

    def test_a_store_of_a_newer_handlens_is_refused(self, own_device: Path) -> None:
        with sqlite3.connect(own_device / "store.db") as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        with Lens(Options(data_dir=own_device)) as lens, pytest.raises(StoreVersionError, match="upgrade"):
            lens.search(TAJ)

    def test_a_store_that_is_no_database_is_refused(self, own_device: Path) -> None:
        for extra in own_device.glob("store.db-*"):
            extra.unlink()
        (own_device / "store.db").write_bytes(b"not a database" * 1000)
        with Lens(Options(data_dir=own_device)) as lens, pytest.raises(StoreCorruptError, match="sync again"):
            lens.search(TAJ)

    @pytest.mark.parametrize("photo", [b"", b"no image", Image.new("RGB", (1, 1))])
    def test_after_a_bad_photo_the_next_search_works(self, lens: Lens, photo: Any) -> None:
        with pytest.raises(ImageError):
            lens.search(photo)
        assert lens.search(TAJ).objects

    @pytest.mark.parametrize(
        "wrong",
        [
            {"runtime": "onnx"},
            {"threads": 0},
            {"index": "flat"},
            {"packs": "demo"},
            {"crop_margin": 2.0},
            {"consent": "all"},
            {"server_url": "lens.example.com"},
            {"timeout": 0},
            {"deadline_ms": 0},
        ],
    )
    def test_an_option_that_cannot_work_is_refused_by_name(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(OptionsError, match=next(iter(wrong))):
            Options(**wrong)

    def test_every_error_is_of_the_tree(self) -> None:
        import handlens.errors as tree

        assert all(issubclass(getattr(tree, name), HandlensError) for name in tree.__all__)
