"""Thousands of calls made from the partner contract, against gunicorn and PostgreSQL: none may break it (Schemathesis).

Every operation is called with what its schema allows and with what it does not, and in sequences along the contract's
links; every check of Schemathesis is on. The server is a real one (two workers), the database a private PostgreSQL.

Exit code 1: an answer broke the contract, an operation was not reached, or fewer than ``--least`` cases were made.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("sdk", "server", "tests")]

from support.catalogue import some_items, write_feed  # noqa: E402
from support.partner_server import PartnerServer  # noqa: E402
from support.postgres import private_postgres  # noqa: E402

from handlens.partner.contract import CONTRACT_PATH, read_contract  # noqa: E402

_PHOTO = ROOT / "demo" / "queries" / "images" / "cup-and-saucer.jpg"

# A request that the schema allows may still ask for what is not there, or not theirs: the contract lists these answers.
_SETTINGS = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429, 503]
negative_data_rejection.expected-statuses = ["4xx"]
missing_required_header.expected-statuses = ["4xx"]

[[operations]]
include-path = "/partner/v1/oauth/token"
headers = {{ Authorization = "Basic {basic}" }}

[[operations]]
exclude-path = "/partner/v1/oauth/token"
headers = {{ Authorization = "Bearer {token}" }}
"""


# Schemathesis makes up pictures: bytes that are none. So many of those that it may send become a real one, or nothing
# that follows from an answer would be reached.
_HOOKS = """
import base64, re, schemathesis

PHOTO = base64.b64decode({photo!r})
BASE64 = re.compile("[A-Za-z0-9+/]{{2,}}={{0,2}}")


@schemathesis.hook
def map_body(context, body):
    for name in ("photo", "crop") if isinstance(body, dict) else ():
        made_up = body.get(name)
        if isinstance(made_up, str) and BASE64.fullmatch(made_up) and len(body) % 2:
            body[name] = base64.b64encode(PHOTO).decode()
    return body
"""


def main() -> int:
    """Run, and write what came of it."""
    asked = _asked()
    with tempfile.TemporaryDirectory(prefix="handlens-fuzz-") as name, private_postgres() as postgres:
        folder = Path(name)
        url = postgres.url(postgres.create())
        free = {"requests_per_minute": 10_000_000, "concurrent": 100_000}
        server = PartnerServer.make(
            folder, write_feed(folder / "feed", some_items(8, 8)), profile={"limits": free}, database_url=url
        )
        with _gunicorn(server, url) as address:
            (folder / "schemathesis.toml").write_text(_settings(server, address), "utf-8")
            photo = base64.b64encode(_PHOTO.read_bytes()).decode()
            (folder / "fuzz_hooks.py").write_text(_HOOKS.format(photo=photo), "utf-8")
            began = time.perf_counter()
            code = _fuzz(asked, folder, address)
            seconds = time.perf_counter() - began
        calls = _calls(folder / "events.ndjson")
    report: dict[str, Any] = {
        "cases": sum(calls.values()),
        "cases_by_operation": dict(sorted(calls.items())),
        "schemathesis_exit": code,
        "seconds": round(seconds, 1),
        "seed": asked.seed,
    }
    missed = [one for one in _operations() if one not in calls]
    report["operations_missed"] = missed
    print(json.dumps(report, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return int(code != 0 or bool(missed) or sum(calls.values()) < asked.least)


def _operations() -> list[str]:
    """Every operation of the contract."""
    return [f"{one.method} {one.path}" for one in read_contract().operations.values()]


def _asked() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1500, help="cases an operation and phase")
    parser.add_argument("--least", type=int, default=20_000, help="cases that must be made")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, help="go on until this time is over, however many cases there are")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _settings(server: PartnerServer, address: str) -> str:
    from handlens.partner.access import Key, TokenBook
    from handlens.partner.line import Line

    line = Line(address)
    token = TokenBook(line, Key(server.key.key_id, server.key.secret)).token()
    line.close()
    basic = base64.b64encode(f"{server.key.key_id}:{server.key.secret}".encode()).decode()
    return _SETTINGS.format(basic=basic, token=token)


def _fuzz(asked: Any, folder: Path, address: str) -> int:
    command = [
        "st", "--config-file", str(folder / "schemathesis.toml"), "run", str(CONTRACT_PATH), "--url", address,
        "--phases", "examples,coverage,fuzzing,stateful", "--checks", "all", "--seed", str(asked.seed),
        "--max-examples", str(asked.examples), "--suppress-health-check", "all", "--continue-on-failure",
        *(["--max-time", str(asked.seconds)] if asked.seconds else []), "--no-color",
        "--report", "ndjson", "--report-ndjson-path", str(folder / "events.ndjson"),
    ]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    hooks = {"SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(folder)}
    done = subprocess.run(command, env={**os.environ, "PATH": path, **hooks}, cwd=folder, check=False)
    return done.returncode


def _calls(events: Path) -> Counter[str]:
    """How many calls each operation was sent."""
    counts: Counter[str] = Counter()
    with events.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(_labels(json.loads(line)))
    return counts


def _labels(event: Any) -> Iterator[str]:
    """The operation of each interaction that an event of Schemathesis tells."""
    finished = event.get("ScenarioFinished", {})
    recorder = finished.get("recorder", {})
    cases = recorder.get("cases", {})
    for case_id in recorder.get("interactions", {}):
        value = cases.get(case_id, {}).get("value", {})
        yield f"{value.get('method', '?')} {value.get('path', recorder.get('label', '?'))}"


@contextmanager
def _gunicorn(server: PartnerServer, database_url: str) -> Iterator[str]:
    program = "from handlens_server.cli import main; main()"
    where = ["--data-dir", str(server.backend.config.data_dir), "--workers", "2", "--threads", "8", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", *where],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("sdk", "server")),
            "HANDLENS_DATABASE_URL": database_url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().removeprefix("listening on ")
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
