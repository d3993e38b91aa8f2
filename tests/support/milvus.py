"""A private Milvus for one test session: the real server from the package `milvus`, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).with_name("milvus_server.py")


class Milvus:
    """A running server. It may be stopped or killed, and started again with what it holds."""

    def __init__(self, python: str, folder: Path) -> None:
        self._python, self._folder = python, folder
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """As HANDLENS_INDEX takes it."""
        return f"milvus://127.0.0.1:{self._port}"

    def start(self) -> None:
        log = (self._folder / "server.log").open("a")
        with log:
            self._process = subprocess.Popen(
                [self._python, "-I", str(_PROGRAM), str(self._folder), str(self._port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        assert words[:1] == ["port"], (self._folder / "server.log").read_text()
        self._port, self._pid = int(words[1]), int(words[3])

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None

    def kill(self) -> None:
        """End the server as a power cut would."""
        os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def clear(self, kept: str) -> None:
        """Empty the collections whose names hold `kept`, and drop the others: to make one takes seconds."""
        from pymilvus import MilvusClient

        client = MilvusClient(uri=f"http://127.0.0.1:{self._port}")
        for name in client.list_collections():
            if kept in name:
                client.delete(name, filter="sequence >= 0")
                client.query(name, filter="sequence >= 0", output_fields=["id"], limit=1, consistency_level="Strong")
            else:
                for alias in client.list_aliases(name)["aliases"]:
                    client.drop_alias(alias)
                client.drop_collection(name)
        client.close()


@contextmanager
def private_milvus() -> Iterator[Milvus]:
    """Start a server, and take it away in the end; skips where the package is missing, unless it must be there."""
    python = os.environ.get("HANDLENS_MILVUS_PYTHON", "")
    if not python:
        missing: Callable[[str], object] = pytest.fail if "HANDLENS_REQUIRE_HEAVY" in os.environ else pytest.skip
        missing("there is no Milvus here: `scripts/test all` makes its environment and names it HANDLENS_MILVUS_PYTHON")
    folder = Path(tempfile.mkdtemp(prefix="hl-milvus-"))
    milvus = Milvus(python, folder)
    try:
        milvus.start()
        yield milvus
    finally:
        milvus.stop()
        shutil.rmtree(folder, ignore_errors=True)
