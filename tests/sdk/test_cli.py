from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.backend import Backend
from support.paths import QUERIES

from handlens import Lens, Options
from handlens.cli import main

TAJ = str(QUERIES / "images" / "taj-mahal.jpg")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture
def store(device: Path) -> tuple[str, str]:
    return ("--data-dir", str(device))


def test_search_tells_type_sections_and_why(store: tuple[str, str]) -> None:
    result = run("search", TAJ, *store)
    assert result.exit_code == 0
    assert "[1] place" in result.stdout
    assert "similar)" in result.stdout
    assert "offline" in result.stdout


def test_search_as_json_is_the_answer_of_the_api(store: tuple[str, str], device: Path) -> None:
    answer = json.loads(run("search", TAJ, "--json", *store).stdout)
    with Lens(Options(data_dir=device)) as lens:
        expected: dict[str, Any] = lens.search(TAJ).to_dict()
    assert answer["objects"] == json.loads(json.dumps(expected["objects"]))


def test_search_draws_photo_boxes_and_sections(store: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "answer.jpg"
    assert run("search", TAJ, "--out", str(out), *store).exit_code == 0
    with Image.open(out) as picture:
        assert picture.width > 1000
        assert len(set(picture.convert("P").tobytes())) > 50


def test_a_box_is_given_in_pixels_of_the_photo(store: tuple[str, str]) -> None:
    with Image.open(TAJ) as photo:
        width, height = photo.size
    half = f"0,0,{width // 2},{height}"
    answer = json.loads(run("search", TAJ, "--box", half, "--json", *store).stdout)
    assert answer["objects"][0]["box"] == [0, 0, pytest.approx(0.5, abs=0.01), 1]
    assert answer["objects"][0]["found_by"] == "user"


def test_limit_and_refine_are_obeyed(store: tuple[str, str]) -> None:
    answer = json.loads(run("search", TAJ, "--limit", "4", "--refine", "idea", "--json", *store).stdout)
    sections = answer["objects"][0]["sections"]
    assert sum(len(section["matches"]) for section in sections) <= 4
    assert sections[0]["matches"][0]["kind"] == "idea"


def test_status_says_which_index_and_runtime_run(store: tuple[str, str]) -> None:
    told = run("status", *store)
    assert told.exit_code == 0
    assert "exact (fewer than 10000 vectors)" in told.stdout
    values = json.loads(run("status", "--json", *store).stdout)
    assert values["packs"][0]["pack"] == "demo"
    assert values["runtime"].split()[0] in ("ai-edge-litert", "tflite-runtime")


def test_bench_measures_every_step(store: tuple[str, str]) -> None:
    values = json.loads(run("bench", TAJ, "--runs", "5", "--json", *store).stdout)
    steps = values["steps_ms"]
    assert set(steps) == {*("decode", "detect", "embed", "colours", "index", "understand", "sources", "blend", "total")}
    assert all(0 < row["p50"] <= row["p95"] for row in steps.values())


def test_install_and_reindex_make_a_device(tmp_path: Path, release: Path) -> None:
    store = ("--data-dir", str(tmp_path / "device"))
    assert "now at release test-1 of " in run("install", str(release), *store).stdout
    assert "already at release test-1" in run("install", str(release), *store).stdout
    assert "index hnsw (" in run("reindex", "--index", "hnsw", *store).stdout
    assert "index          hnsw (" in run("status", *store).stdout
    assert run("search", TAJ, *store).exit_code == 0


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, small_catalogue: Path) -> Backend:
    made = Backend(tmp_path_factory.mktemp("backend"))
    made.add(small_catalogue)
    made.define("demo")
    made.publish(name="one")
    return made


@pytest.fixture
def url(backend: Backend) -> Iterator[str]:
    with backend.serve() as address:
        yield address


def test_sync_feedback_outbox_rollback_and_erase(backend: Backend, url: str, tmp_path: Path) -> None:
    store = ("--data-dir", str(tmp_path / "device"))
    first = run("sync", "--server", url, "--trusted-root", str(backend.root), *store)
    assert "now at release one" in first.stdout
    values = json.loads(run("sync", "--json", *store).stdout)  # the server is remembered, the root is kept
    assert (values["changed"], values["requests"]) == (False, 2)

    kept = json.loads(run("feedback", TAJ, "--label", "taj mahal", "--consent", "events", "--json", *store).stdout)
    assert [event["kind"] for event in kept["kept"]] == ["label"]
    waiting = json.loads(run("outbox", "--json", *store).stdout)["waiting"]
    assert [event["kind"] for event in waiting] == ["search", "label"]
    assert "2 events sent" in run("sync", *store).stdout
    assert json.loads(run("outbox", "--json", *store).stdout) == {"waiting": [], "refused": {}}

    name = f"next-{tmp_path.name}"
    backend.publish(name=name)
    assert f"now at release {name}" in run("sync", *store).stdout
    assert re.search(rf"^former +{run_release(backend, 1)}$", run("status", *store).stdout, re.MULTILINE)
    assert "back at release" in run("rollback", *store).stdout
    assert f"release {name} is offered and left out" in run("sync", *store).stdout

    assert run("erase", *store).exit_code == 1  # nobody said yes
    assert "erased here and on the server" in run("erase", "--yes", *store).stdout


def run_release(backend: Backend, back: int) -> str:
    return str(backend.publisher.releases()[back].release.name)


def test_sync_holds_chosen_packs_and_keeps_the_budget(backend: Backend, url: str, tmp_path: Path) -> None:
    known = ("--server", url, "--trusted-root", str(backend.root), "--data-dir", str(tmp_path / "device"))
    too_much = run("sync", "--max-bytes", "1000", *known)
    assert too_much.exit_code == 1
    assert "1,000 are allowed" in too_much.stderr
    unknown = run("sync", "--pack", "shoes", *known)
    assert unknown.exit_code == 1
    assert "no pack 'shoes': it has 'demo'" in unknown.stderr
    assert run("sync", "--pack", "demo", *known).exit_code == 0


def test_sync_without_a_server_names_the_option(tmp_path: Path) -> None:
    result = run("sync", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "--server" in result.stderr


@pytest.fixture
def not_an_image(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("dear diary")
    return path


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("search", "missing.jpg"), "no file missing.jpg"),
        (("search", str(QUERIES)), "folder"),
        (("search", TAJ, "--box", "0,0,99999,10"), "leaves the photo, which is"),
        (("search", TAJ, "--box", "9,9,0,5"), "empty or inverted"),
        (("search", TAJ, "--box", "9,9,-4,5"), "empty or inverted"),
        (("search", TAJ, "--box", "a,b"), "X,Y,W,H"),
        (("search", TAJ, "--box", "nan,0,5,5"), "finite"),
        (("search", TAJ, "--pack", "fashion"), "demo"),
        (("search", TAJ, "--out", "answer.xyz"), ".jpg, .png or .webp"),
        (("search", TAJ, "--out", "no/such/folder/answer.jpg"), "choose another --out"),
        (("install", "nowhere"), "nowhere has no metadata/"),
        (("rollback",), "no former release"),
    ],
)
def test_a_users_mistake_is_one_line_with_cause_and_remedy_and_exit_1(
    store: tuple[str, str], arguments: tuple[str, ...], cause: str
) -> None:
    result = run(*arguments, *store)
    assert result.exit_code == 1
    assert cause in result.stderr
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert run("status", *store).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--label", "palace"), "has not consented"),
        (("--consent", "events"), "nothing to tell"),
        (("--save", "nothing-1", "--consent", "events"), "is not in the answer"),
    ],
)
def test_feedback_that_cannot_be_kept_says_why(own_device: Path, arguments: tuple[str, ...], cause: str) -> None:
    result = run("feedback", TAJ, *arguments, "--data-dir", str(own_device))
    assert result.exit_code == 1
    assert cause in result.stderr
    assert result.stderr.startswith("Error: ")


def test_a_file_that_is_no_image_is_named(store: tuple[str, str], not_an_image: Path) -> None:
    result = run("search", str(not_an_image), *store)
    assert result.exit_code == 1
    assert "notes.jpg is not an image" in result.stderr


def test_a_device_with_nothing_on_it_says_what_to_do(tmp_path: Path) -> None:
    for command in (("status",), ("search", TAJ), ("reindex",), ("bench", TAJ)):
        result = run(*command, "--data-dir", str(tmp_path / "empty"))
        assert result.exit_code == 1
        assert "install" in result.stderr
