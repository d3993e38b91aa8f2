"""One store, two processes: one syncs, the other searches, and neither disturbs the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.backend import Backend
from support.paths import QUERIES, ROOT
from support.signed_release import rows

from handlens import BusyError, Lens, Options
from handlens.sync.session import locked

PHOTO = QUERIES / "images" / "claw-hammer.jpg"
SEARCHER = """
import json, sys, time
from handlens import Lens, Options
data_dir, photo, stop = sys.argv[1:]
answers = []
with Lens(Options(data_dir=data_dir)) as lens:
    lens.search(photo)
    print("ready", flush=True)
    ends = time.monotonic() + 30
    last = None
    while time.monotonic() < ends and not (last == stop):
        result = lens.search(photo)
        parts = [part for found in result.objects for part in found.sections]
        values = {match.title.split()[-1] for part in parts for match in part.matches}
        answers.append((result.release, sorted(values)))
        last = result.release
print(json.dumps(answers))
"""


def test_searches_go_on_while_another_process_syncs(tmp_path: Path) -> None:
    backend = Backend(tmp_path / "backend")
    names = [f"item-{at}" for at in range(200)]
    backend.publish_rows({"demo": rows(*names, value=1)}, name="r1")
    with backend.serve() as url:
        options = Options(data_dir=tmp_path / "device", server_url=url, trusted_root=backend.root)
        with Lens(options) as lens:
            lens.sync()
            searcher = subprocess.Popen(
                [sys.executable, "-c", SEARCHER, str(options.data_path), str(PHOTO), "r6"],
                env={**os.environ, "PYTHONPATH": str(ROOT / "sdk")},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert searcher.stdout is not None
            assert searcher.stdout.readline() == "ready\n"
            for serial in range(2, 7):
                backend.publish_rows({"demo": rows(*names, value=serial)}, name=f"r{serial}")
                lens.sync()
            out, _ = searcher.communicate(timeout=60)
    answers = json.loads(out)
    assert searcher.returncode == 0
    assert answers[-1][0] == "r6"
    # An answer never mixes releases: items that were replaced meanwhile are left out of it.
    assert all(len(values) <= 1 for _, values in answers)


def test_two_syncs_at_once(tmp_path: Path) -> None:
    options = Options(data_dir=tmp_path, server_url="http://127.0.0.1:9", trusted_root=tmp_path / "root.json")
    with locked(tmp_path), Lens(options) as lens, pytest.raises(BusyError, match="another process is syncing"):
        lens.sync(send_events=False)
