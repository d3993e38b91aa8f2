"""`handlens-convert train detector` and `models publish`, on the demo's windmills: nothing is replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.paths import MODELS
from support.taught import DEMO, TRAINED, UNSEEN, coco, windmill_dataset, write

pytest.importorskip("torch", reason="training needs torch: pip install '.[conversion]'")

from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.cli import main

pytestmark = pytest.mark.heavy

SPENT = ("--epochs", "4", "--views", "4", "--quiet")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def train(dataset: Path, out: Path, *more: str | Path, cache: Path | None = None) -> Result:
    kept = cache or out.parent / "cache"
    given = ("--photos", DEMO, "--models", MODELS, "--out", out, "--cache", kept)
    return run("train", "detector", dataset, *given, *SPENT, *more)


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    result = train(windmill_dataset(folder / "data"), folder / "out", "--type", "windmill=place")
    assert result.exit_code == 0, result.output
    assert "AP50" in result.stdout
    return folder / "out"


def cache_of(trained: Path) -> Path:
    """The cache that the training of the fixture filled: the same photos need not be computed again."""
    return trained.parent / "cache"


def windmills(detector: Detector) -> int:
    photos = [load_photo(DEMO / photo) for photo in UNSEEN]
    return sum(found.label == "windmill" for photo in photos for found in detector.detect(photo))


def test_the_detector_finds_what_the_shipped_one_cannot(trained: Path) -> None:
    detector = Detector.open(trained / "detector")
    assert detector.spec.labels[80:] == ("windmill",)
    assert windmills(detector) >= 2
    assert windmills(Detector.open(MODELS / "detector")) == 0


def test_taxonomy_card_and_record_say_what_was_taught(trained: Path) -> None:
    assert Taxonomy.from_json((trained / "taxonomy.json").read_bytes()).detector["windmill"] == "place"
    card = (trained / "detector" / "CARD.md").read_text("utf-8")
    assert "windmill (place)" in card
    assert "CC BY-SA 3.0" in card
    training = json.loads((trained / "detector" / "training.json").read_bytes())
    assert f"**AP50 {training['figures']['new']['ap50']:.3f}**" in card
    assert training["figures"]["old_map"][0] == training["figures"]["old_map"][1]
    assert str(trained.parent) not in json.dumps(training)


def test_run_again_it_is_the_same_model_and_from_the_cache(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.parent / "cache", tmp_path / "cache")
    kept = sorted((tmp_path / "cache").rglob("*.*"))
    dataset = windmill_dataset(tmp_path / "data")
    assert train(dataset, tmp_path / "out", "--type", "windmill=place").exit_code == 0
    first, again = (folder / "detector" / "model.tflite" for folder in (trained, tmp_path / "out"))
    assert first.read_bytes() == again.read_bytes()
    assert sorted((tmp_path / "cache").rglob("*.*")) == kept


def test_a_damaged_file_of_the_cache_is_made_again(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.parent / "cache" / "detector-cells", tmp_path / "cache" / "detector-cells")
    for file in (tmp_path / "cache" / "detector-cells").iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    assert train(windmill_dataset(tmp_path / "data"), tmp_path / "out", "--type", "windmill=place").exit_code == 0
    first, again = (folder / "detector" / "model.tflite" for folder in (trained, tmp_path / "out"))
    assert first.read_bytes() == again.read_bytes()


def test_what_learned_nothing_is_refused_and_nothing_is_replaced(trained: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "out"))
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    dataset = windmill_dataset(tmp_path / "data")
    result = train(dataset, out, "--type", "windmill=place", "--least-ap50", "1", cache=cache_of(trained))
    said = error_of(result)
    assert "is refused" in said
    assert "AP50 of the new labels" in said
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--type 'windmill=TYPE'"),
        (("--type", "windmill=building"), "building is no object type"),
        (("--type", "mill=place"), "trained are windmill"),
        (("--type", "windmill"), "LABEL=TYPE"),
        (("--type", "windmill=place", "--directed", "mill"), "trained are windmill"),
        (("--type", "windmill=place", "--least-photos", "50"), "windmill (13), wanted 50"),
        (("--type", "windmill=place", "--guard", "nothing.json"), "nothing.json cannot be read"),
        (("--type", "windmill=place", "--photos", "nowhere"), "--photos"),
        (("--type", "windmill=place", "--models", "nowhere"), "--models"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line_before_anything_is_computed(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    assert said in error_of(train(windmill_dataset(tmp_path / "data"), tmp_path / "out", *more))
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "out").exists()


def test_labels_of_the_detectors_own_are_not_taught(tmp_path: Path) -> None:
    write(tmp_path / "data.json", coco(TRAINED, label="cow"))
    assert "are the detector's own" in error_of(train(tmp_path / "data.json", tmp_path / "out"))


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("three years", "utf-8")
    result = train(windmill_dataset(tmp_path / "data"), tmp_path / "out", "--type", "windmill=place")
    assert "holds other files" in error_of(result)
    assert (tmp_path / "out" / "thesis.txt").read_text("utf-8") == "three years"


def test_published_it_stands_where_the_server_takes_models_from(trained: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    result = run("models", "publish", trained, "--models", models)
    assert result.exit_code == 0, result.output
    assert "handlens-server release publish --models" in result.stdout
    assert windmills(Detector.open(models / "detector")) >= 2
    assert "windmill" in Taxonomy.from_json((models / "taxonomy.json").read_bytes()).detector
    shipped = (MODELS / "detector" / "model.tflite").read_bytes()
    assert (models / "detector.former" / "model.tflite").read_bytes() == shipped
    assert (models / "embedder" / "model.tflite").exists()


def test_publishing_that_was_stopped_between_its_renames_is_done_by_the_next_run(trained: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    (models / "detector").rename(models / "detector.former")
    assert run("models", "publish", trained, "--models", models).exit_code == 0
    assert windmills(Detector.open(models / "detector")) >= 2
    assert windmills(Detector.open(models / "detector.former")) == 0


def test_a_damaged_detector_is_not_published(trained: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    bad = Path(shutil.copytree(trained, tmp_path / "bad"))
    content = bytearray((bad / "detector" / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (bad / "detector" / "model.tflite").write_bytes(content)
    assert "fits its model.json" in error_of(run("models", "publish", bad, "--models", models))
    assert windmills(Detector.open(models / "detector")) == 0


def test_labels_that_were_taught_before_are_not_forgotten(trained: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    run("models", "publish", trained, "--models", models)
    other = Path(shutil.copytree(MODELS, tmp_path / "other"))
    assert "has forgotten windmill" in error_of(run("models", "publish", other, "--models", models))


def test_a_taught_label_can_be_taught_again_from_the_taught_detector(trained: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    run("models", "publish", trained, "--models", models)
    dataset, out = windmill_dataset(tmp_path / "data"), tmp_path / "again"
    result = train(dataset, out, "--models", models, cache=cache_of(trained))
    assert result.exit_code == 0, result.output  # its type is known by now
    first, again = (Detector.open(folder / "detector").spec for folder in (trained, tmp_path / "again"))
    assert again.labels == first.labels
    heat = [np.prod(spec.outputs["heatmap"].shape) for spec in (first, again)]
    assert heat[0] == heat[1]
