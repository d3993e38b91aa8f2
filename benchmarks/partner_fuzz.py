"""Thousands of calls made from the partner contract, against gunicorn and PostgreSQL: none may break it (Schemathesis).

Every operation is called with what its schema allows and with what it does not, and in sequences along the contract's
links; every check of Schemathesis is on. The server is a real one (two workers), the database a private PostgreSQL.

Exit code 1: an answer broke the contract, an operation never succeeded, or fewer than ``--least`` cases were made.
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
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("sdk", "server", "tests")]

from support.catalogue import some_items, write_feed  # noqa: E402
from support.partner_server import PartnerServer  # noqa: E402
from support.postgres import private_postgres  # noqa: E402
from support.searching import SPACE  # noqa: E402

from handlens.partner.access import Key, TokenBook  # noqa: E402
from handlens.partner.contract import CONTRACT_PATH, read_contract  # noqa: E402
from handlens.partner.line import Line  # noqa: E402
from handlens_server.partner.partners import NewKey  # noqa: E402

_PHOTO = ROOT / "demo" / "queries" / "images" / "cup-and-saucer.jpg"

# A live key: its searches are real ones. Resetting the sandbox takes a test key. What must be known beforehand is in
# dictionaries, from which Schemathesis takes every second value where it makes valid calls: a picture, an item that is
# there, the address of a thumbnail, an answer to send feedback on. A request that the schema allows may still ask for
# what is not there, or not theirs: the contract lists these answers. So does 503, with `Retry-After`, for deadlines
# that cannot be kept, and deadlines of a few milliseconds are drawn too; any other 5xx is a failure.
#
# A signature that was made up beside a good token is refused at once: no call would be looked at, so none is made up.
_SETTINGS = """
[generation]
with-security-parameters = false

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
positive_data_acceptance.expected-statuses = ["2xx", 404, 409, 422, 503]
negative_data_rejection.expected-statuses = ["4xx"]
missing_required_header.expected-statuses = ["4xx"]

[[operations]]
include-path = "/partner/v1/oauth/token"
headers = {{ Authorization = "Basic {basic}" }}

[[operations]]
include-path = "/partner/v1/sandbox/reset"
headers = {{ Authorization = "Bearer {test_token}" }}

[[operations]]
exclude-path = ["/partner/v1/oauth/token", "/partner/v1/sandbox/reset"]
headers = {{ Authorization = "Bearer {live_token}" }}

[dictionaries]
photo.values = ["{photo}"]
space.values = ["{space}"]
item.values = ["{item}"]
ticket.values = ["{ticket}"]
insights.values = ["{insights}"]

[parameters]
"body.photo" = {{ dictionary = "photo", probability = 0.5 }}
"body.crop" = {{ dictionary = "photo", probability = 0.5 }}
"body.space" = {{ dictionary = "space", probability = 0.5 }}
"body.insights_token" = {{ dictionary = "insights", probability = 0.5 }}
"path.item_id" = {{ dictionary = "item", probability = 0.5 }}
"path.ticket" = {{ dictionary = "ticket", probability = 0.5 }}
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
            began = time.perf_counter()
            code = _fuzz(asked, folder, address)
            seconds = time.perf_counter() - began
        answers = _answers(folder / "events.ndjson")
    cases = sum(sum(one.values()) for one in answers.values())
    unserved = [one for one in _operations() if not any(200 <= status < 300 for status in answers.get(one, ()))]
    report: dict[str, Any] = {
        "cases": cases,
        "answers_by_operation": {one: dict(sorted(answers[one].items())) for one in sorted(answers)},
        "operations_without_a_good_answer": unserved,
        "schemathesis_exit": code,
        "seconds": round(seconds, 1),
        "seed": asked.seed,
    }
    print(json.dumps(report, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return int(code != 0 or bool(unserved) or cases < asked.least)


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
    live, test = server.live_key, server.key
    photo = base64.b64encode(_PHOTO.read_bytes()).decode()
    live_token = _token(address, live)
    answer = _search(address, live_token, photo)
    shown = next(one for one in _results(answer) if one["thumbnails"])
    return _SETTINGS.format(
        basic=base64.b64encode(f"{live.key_id}:{live.secret}".encode()).decode(),
        live_token=live_token,
        test_token=_token(address, test),
        photo=photo,
        space=SPACE,
        item=shown["item_id"],
        ticket=shown["thumbnails"][0]["url"].rpartition("/")[2],
        insights=answer["insights_token"],
    )


def _token(address: str, key: NewKey) -> str:
    line = Line(address)
    try:
        return TokenBook(line, Key(key.key_id, key.secret)).token()
    finally:
        line.close()


def _search(address: str, token: str, photo: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps({"photo": photo}).encode()
    with urlopen(Request(f"{address}/partner/v1/lens", data, headers), timeout=60) as answer:
        return dict(json.loads(answer.read()))


def _results(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tag in answer["tags"]:
        for action in tag["actions"]:
            yield from action["results"]


def _fuzz(asked: Any, folder: Path, address: str) -> int:
    command = [
        "st", "--config-file", str(folder / "schemathesis.toml"), "run", str(CONTRACT_PATH), "--url", address,
        "--phases", "examples,coverage,fuzzing,stateful", "--checks", "all", "--seed", str(asked.seed),
        "--max-examples", str(asked.examples), "--suppress-health-check", "all", "--continue-on-failure",
        *(["--max-time", str(asked.seconds)] if asked.seconds else []), "--no-color",
        "--report", "ndjson", "--report-ndjson-path", str(folder / "events.ndjson"),
    ]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, env={**os.environ, "PATH": path}, cwd=folder, check=False)
    return done.returncode


def _answers(events: Path) -> dict[str, Counter[int]]:
    """How each operation was answered, by status."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    with events.open(encoding="utf-8") as lines:
        for line in lines:
            for operation, status in _exchanges(json.loads(line)):
                counts[operation][status] += 1
    return counts


def _exchanges(event: Any) -> Iterator[tuple[str, int]]:
    """The operation and the status of each exchange that an event of Schemathesis tells; 0: there was no answer."""
    recorder = event.get("ScenarioFinished", {}).get("recorder", {})
    cases = recorder.get("cases", {})
    for case_id, interaction in recorder.get("interactions", {}).items():
        value = cases.get(case_id, {}).get("value", {})
        operation = f"{value.get('method', '?')} {value.get('path', recorder.get('label', '?'))}"
        yield operation, (interaction.get("response") or {}).get("status_code", 0)


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
