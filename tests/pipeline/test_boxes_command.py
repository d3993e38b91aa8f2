"""`handlens-convert boxes`: what is wrong with the machine or the options is one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from handlens_conversion.cli import main
from handlens_conversion.pipeline.session import SparkOptions, open_session, require_java

pytest.importorskip("pyarrow", reason="the command needs the extra pipeline")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["boxes", *map(str, arguments)])


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.output
    return lines[0]


@pytest.fixture
def export(tmp_path: Path) -> list[str | Path]:
    return [tmp_path / "events.jsonl", "--photos", tmp_path / "photos.jsonl", "--out", tmp_path / "out", "--quiet"]


def test_without_java_the_package_to_install_is_named(
    export: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "openjdk-17-jre-headless" in error_of(run(*export))
    assert not (tmp_path / "out").exists()


def test_a_java_home_without_java_is_named(
    export: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "JAVA_HOME" in error_of(run(*export))


@pytest.mark.parametrize(
    ("version", "fits"), [("1.8.0_402", False), ("11.0.2", False), ("17.0.15", True), ("25", True)]
)
def test_a_java_that_is_too_old_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if fits:
        require_java()
    else:
        with pytest.raises(Exception, match="needs Java 17"):
            require_java()


def test_without_pyspark_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(Exception, match=r"handlens\[pipeline\]"), open_session(SparkOptions(scratch=tmp_path)):
        pass


def test_sides_that_leave_nothing_to_train_on_are_refused(export: list[str | Path]) -> None:
    assert "--val" in error_of(run(*export, "--val", "0.5", "--test", "0.5"))


@pytest.mark.parametrize("option", ["--gate", "--neighbours", "--detector"])
def test_a_folder_that_is_no_model_is_named(export: list[str | Path], tmp_path: Path, option: str) -> None:
    assert option in error_of(run(*export, option, tmp_path))


def test_the_command_is_told_without_loading_spark() -> None:
    heavy = ("pyspark", "pyarrow", "pandas")
    code = f"import sys, handlens_conversion.cli; print([name for name in {heavy} if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
