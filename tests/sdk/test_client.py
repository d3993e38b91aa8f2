from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.paths import QUERIES

from handlens import (
    Box,
    DecodeError,
    HandlensError,
    ImageError,
    IncompatibleError,
    Lens,
    ModelError,
    NotReadyError,
    Options,
    OptionsError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    UnknownPackError,
)
from handlens.wire.pack import read_pack, write_pack

TAJ = QUERIES / "images" / "taj-mahal.jpg"
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
                    assert match.why.source in ("visual", "annotation")
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
        assert answer["as_of"] == "2026-01-01T00:00:00Z"
        assert answer["objects"][0]["sections"][0]["matches"][0]["why"]["rule"]
        assert set(answer["timings_ms"]) == {"decode", "detect", "embed", "index", "understand", "sources", "blend"}

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


class TestInstall:
    def test_what_was_installed_is_told(self, lens: Lens) -> None:
        status = lens.status()
        assert (status.release, status.as_of) == ("test-1", "2026-01-01T00:00:00Z")
        assert [pack.pack for pack in status.packs] == ["demo"]
        assert json.loads(json.dumps(status.to_dict()))["store_bytes"] > 0

    def test_a_lens_sees_what_another_installs(self, tmp_path: Path, release: Path) -> None:
        with Lens(Options(data_dir=tmp_path)) as writer, Lens(Options(data_dir=tmp_path)) as reader:
            writer.install(release)
            assert reader.status().release == "test-1"
            change_release(release, tmp_path / "next", lambda values: values.update(release="test-2"))
            writer.install(tmp_path / "next")
            assert reader.status().release == "test-2"

    def test_progress_is_told_to_the_end(self, tmp_path: Path, release: Path) -> None:
        heard: dict[str, tuple[int, int]] = {}
        with Lens(Options(data_dir=tmp_path, index="hnsw")) as lens:
            lens.install(release, progress=lambda step, done, total: heard.update({step: (done, total)}))
        assert set(heard) == {"verify", "pack demo", "index"}
        assert all(done == total for done, total in heard.values())

    def test_installing_again_repairs_a_damaged_model(self, own_device: Path, release: Path) -> None:
        (broken,) = (own_device / "models").glob("embedder-*/model.tflite")
        broken.write_bytes(b"gone")
        with Lens(Options(data_dir=own_device)) as lens:
            with pytest.raises(ModelError, match="install the models again"):
                lens.search(TAJ)
            lens.install(release)
            assert lens.search(TAJ).objects[0].type == "place"

    @pytest.mark.parametrize("path", ["packs/demo.pack", "models/embedder/model.tflite", "policy.json"])
    def test_a_damaged_file_is_refused_and_the_old_release_goes_on(
        self, own_device: Path, own_release: Path, path: str
    ) -> None:
        data = bytearray((own_release / path).read_bytes())
        data[len(data) // 2] ^= 1
        (own_release / path).write_bytes(data)
        with Lens(Options(data_dir=own_device)) as lens:
            before = told(lens, TAJ)
            with pytest.raises(StoreCorruptError, match="copy the release again"):
                lens.install(own_release)
            assert told(lens, TAJ) == before

    def test_a_missing_file_is_named(self, tmp_path: Path, own_release: Path) -> None:
        (own_release / "taxonomy.json").unlink()
        with Lens(Options(data_dir=tmp_path / "d")) as lens, pytest.raises(StoreError, match="taxonomy.json"):
            lens.install(own_release)

    def test_a_folder_that_is_no_release_is_refused(self, tmp_path: Path) -> None:
        with Lens(Options(data_dir=tmp_path / "d")) as lens, pytest.raises(StoreError, match="release.json"):
            lens.install(tmp_path)

    def test_a_pack_of_another_embedder_is_refused_by_name(
        self, tmp_path: Path, own_device: Path, release: Path
    ) -> None:
        def other_space(folder: Path) -> None:
            header, rows = read_pack(folder / "packs/demo.pack")
            write_pack(folder / "packs/demo.pack", replaced(header, space="someone-else"), list(rows))

        change_release(release, tmp_path / "other", lambda values: None, other_space)
        with Lens(Options(data_dir=own_device)) as lens:
            before = told(lens, TAJ)
            with pytest.raises(IncompatibleError, match="someone-else.*build the pack again"):
                lens.install(tmp_path / "other")
            assert told(lens, TAJ) == before

    def test_a_malformed_policy_is_refused_whole(self, tmp_path: Path, own_device: Path, release: Path) -> None:
        change_release(
            release, tmp_path / "other", lambda values: None, lambda folder: (folder / "policy.json").write_text("{}")
        )
        with Lens(Options(data_dir=own_device)) as lens:
            with pytest.raises(DecodeError, match="policy"):
                lens.install(tmp_path / "other")
            assert lens.status().release == "test-1"


def replaced(record: Any, **change: Any) -> Any:
    import dataclasses

    return dataclasses.replace(record, **change)


def change_release(
    release: Path,
    target: Path,
    change: Callable[[dict[str, Any]], None],
    edit: Callable[[Path], object] = lambda folder: None,
) -> None:
    """Copy a release, edit its files, and make release.json vouch for them."""
    import hashlib

    shutil.copytree(release, target)
    edit(target)
    values = json.loads((target / "release.json").read_text("utf-8"))
    change(values)
    for path, file in values["files"].items():
        data = (target / path).read_bytes()
        file.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    (target / "release.json").write_text(json.dumps(values), "utf-8")


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
        with Lens(Options(data_dir=own_device)) as lens, pytest.raises(StoreCorruptError, match="install"):
            lens.search(TAJ)

    @pytest.mark.parametrize("photo", [b"", b"no image", Image.new("RGB", (1, 1))])
    def test_after_a_bad_photo_the_next_search_works(self, lens: Lens, photo: Any) -> None:
        with pytest.raises(ImageError):
            lens.search(photo)
        assert lens.search(TAJ).objects

    @pytest.mark.parametrize(
        "wrong", [{"runtime": "onnx"}, {"threads": 0}, {"index": "flat"}, {"packs": "demo"}, {"crop_margin": 2.0}]
    )
    def test_an_option_that_cannot_work_is_refused_by_name(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(OptionsError, match=next(iter(wrong))):
            Options(**wrong)

    def test_every_error_is_of_the_tree(self) -> None:
        import handlens.errors as tree

        assert all(issubclass(getattr(tree, name), HandlensError) for name in tree.__all__)
