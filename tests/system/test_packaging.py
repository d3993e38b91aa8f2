"""What a device installs and what an import costs."""

from __future__ import annotations

import configparser
import subprocess
import sys

import pytest
from support.paths import ROOT

import handlens


def test_a_device_installs_a_runtime_and_little_else() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    names = {line.split(">")[0].split("<")[0].split("=")[0].split(";")[0].strip() for line in lines if line.strip()}
    assert names == {"numpy", "pillow", "click", "filelock", "tuf", "urllib3", "ai-edge-litert", "tflite-runtime"}


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import handlens", {"numpy", "PIL", "click", "hnswlib", "ai_edge_litert", "tflite_runtime", "sqlite3"}),
        (
            "from handlens import Lens",
            {"hnswlib", "ai_edge_litert", "tflite_runtime", "tuf", "urllib3", "flask", "sqlalchemy"},
        ),
        ("import handlens.cli", {"numpy", "PIL", "hnswlib", "ai_edge_litert", "tflite_runtime"}),
        ("import handlens_server.cli", {"numpy", "PIL", "ai_edge_litert", "flask", "sqlalchemy", "tuf"}),
        ("import handlens_conversion.cli", {"torch", "ai_edge_quantizer", "ai_edge_litert"}),
    ],
)
def test_an_import_loads_nothing_that_it_does_not_need(statement: str, not_loaded: set[str]) -> None:
    script = f"import sys; sys.path[:0] = {sys.path!r}\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not_loaded.isdisjoint(done.stdout.split())


def test_every_public_name_can_be_imported() -> None:
    assert handlens.__all__ == sorted(handlens.__all__)
    assert all(getattr(handlens, name) is not None for name in handlens.__all__)
    assert set(handlens.__all__) <= set(dir(handlens))
