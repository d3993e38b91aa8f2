from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from support.paths import MODELS

from handlens.errors import ModelError
from handlens.wire.pack import read_pack
from handlens.wire.release import Release
from handlens_server.bundle import BundleError, PackSource, build_bundle
from handlens_server.catalogue import CatalogueError, read_catalogue
from handlens_server.cli import main

PIE = {"item_id": "pie", "kind": "recipe", "object_type": "food", "title": "Apple pie", "annotations": {"apple": 1.0}}
APPLE = {"item_id": "apple", "kind": "photo", "object_type": "food", "title": "An apple", "image": "apple.png"}


def catalogue(folder: Path, *items: Any) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "apple.png")
    return folder


class TestCatalogue:
    def test_items_come_in_the_order_of_their_lines(self, tmp_path: Path) -> None:
        read = read_catalogue(catalogue(tmp_path, PIE, "", APPLE))
        assert [item.item_id for item in read.items] == ["pie", "apple"]
        assert read.picture(read.items[0]) is None
        assert read.picture(read.items[1]) == tmp_path / "apple.png"

    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            ("{not json", "line 2: item is not valid JSON"),
            ({**PIE, "item_id": "x", "kind": "song"}, "line 2: item 'x'.kind"),
            ({**PIE, "item_id": "x", "object_type": "fruit"}, "object_type"),
            (PIE, "stands on line 1 already"),
            ({**PIE, "item_id": "x", "link": "javascript:alert(1)"}, "only https"),
            ({**APPLE, "image": "missing.png"}, "not there: missing.png"),
            ({**APPLE, "image": "../secret.png"}, "outside the catalogue"),
        ],
    )
    def test_a_bad_line_is_named_and_nothing_is_taken(self, tmp_path: Path, line: Any, cause: str) -> None:
        with pytest.raises(CatalogueError, match=cause):
            read_catalogue(catalogue(tmp_path, PIE, line))

    def test_all_faults_are_collected(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogueError) as caught:
            read_catalogue(catalogue(tmp_path, *["{"] * 7))
        assert len(caught.value.faults) == 7
        assert "and 2 more" in str(caught.value)

    def test_a_missing_or_empty_catalogue_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogueError, match="cannot be read"):
            read_catalogue(tmp_path / "nowhere")
        with pytest.raises(CatalogueError, match="no item"):
            read_catalogue(catalogue(tmp_path))


class TestBundle:
    def test_the_release_binds_every_file_by_hash(self, release: Path) -> None:
        made = Release.from_json((release / "release.json").read_text("utf-8"))
        on_disk = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
        assert set(made.files) == on_disk - {"release.json"}
        assert {"models/detector/CARD.md", "models/embedder/model.tflite", "policy.json"} <= set(made.files)

    def test_pictures_have_embeddings_of_the_whole_and_of_its_objects(self, release: Path) -> None:
        header, rows = read_pack(release / "packs/demo.pack")
        by_picture: dict[bool, list[int]] = {True: [], False: []}
        for row in rows:
            by_picture[row.item.image is not None].append(len(row.embeddings))
        assert min(by_picture[True]) == 1
        assert max(by_picture[True]) > 1
        assert set(by_picture[False]) == {0}
        assert header.vectors == sum(by_picture[True])

    def test_an_existing_folder_is_never_overwritten(self, tmp_path: Path, release: Path) -> None:
        with pytest.raises(BundleError, match="exists"):
            build_bundle([], MODELS, release, name="x")
        assert (release / "release.json").exists()

    def test_a_picture_that_is_none_leaves_no_folder_behind(self, tmp_path: Path) -> None:
        folder = catalogue(tmp_path / "c", APPLE)
        (folder / "apple.png").write_bytes(b"not a picture")
        with pytest.raises(CatalogueError, match="apple.png"):
            build_bundle([PackSource("c", read_catalogue(folder))], MODELS, tmp_path / "out", name="x")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]

    def test_missing_models_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="handlens-convert"):
            build_bundle([], tmp_path, tmp_path / "out", name="x")

    @pytest.mark.parametrize("name", ["", "Demo", "../x", "a b", "-a"])
    def test_a_pack_name_that_is_no_file_name_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(BundleError, match="pack name"):
            PackSource(name, read_catalogue(catalogue(tmp_path, PIE)))


class TestCommandLine:
    def test_check_counts_and_bundle_writes_a_release(self, tmp_path: Path) -> None:
        folder = catalogue(tmp_path / "small", PIE, APPLE)
        told = CliRunner().invoke(main, ["check", str(folder)])
        assert "2 items are good: 1 photo, 1 recipe" in told.stdout
        out = tmp_path / "release"
        made = CliRunner().invoke(main, ["bundle", f"mine={folder}", "--models", str(MODELS), "--out", str(out)])
        assert made.exit_code == 0
        assert "packs mine" in made.stdout
        assert (out / "packs" / "mine.pack").exists()

    def test_a_users_mistake_is_one_line_and_exit_1(self, tmp_path: Path) -> None:
        for arguments in (["check", str(tmp_path)], ["bundle", str(tmp_path), "--out", str(tmp_path / "out")]):
            told = CliRunner().invoke(main, arguments)
            assert told.exit_code == 1
            assert told.stderr.startswith("Error: catalogue")
            assert len(told.stderr.strip().splitlines()) == 1
