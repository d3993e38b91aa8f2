"""The partner's documents: every snippet runs against a real server, every number and name is that of the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.catalogue import some_items, write_feed
from support.partner_server import PartnerServer
from support.paths import QUERIES, ROOT

from handlens.partner.console import check
from handlens_server.metrics import Metrics
from handlens_server.partner.contract_file import contract
from handlens_server.partner.profiles import SCOPES, read_profile
from handlens_server.partner.signatures import MAX_SKEW

DOCS = ROOT / "docs" / "partner"
TOKEN = """
TOKEN=$(curl -sS --fail -u "$KEY_ID:$KEY_SECRET" -d grant_type=client_credentials "$LENS/partner/v1/oauth/token" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who follows the pages, with a server that runs."""
    folder = tmp_path_factory.mktemp("partner")
    server = PartnerServer.make(folder, write_feed(folder / "feed", some_items(8, 8)))
    with server.serve() as url:
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LENS": url,
            "KEY_ID": server.key.key_id,
            "KEY_SECRET": server.key.secret,
            "DEVICE_KEY_ID": server.device_key.key_id,
            "DEVICE_KEY_FILE": str(server.key_file),
            "PHOTO": str(next(QUERIES.glob("images/*.jpg"))),
        }


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)


def rows(name: str) -> list[list[str]]:
    lines = [line for line in page(name).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quick_start_in_curl_runs_from_the_token_to_the_reset(served: dict[str, str], tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(blocks("quick-start.md", "bash"))
    told = run(["bash", "-c", script], served, tmp_path)
    assert '"mode":"test"' in told.replace(" ", "")
    assert "orange food" in told
    assert '"stored":1' in told.replace(" ", "")
    assert '"batches":1' in told.replace(" ", "")


@pytest.mark.parametrize("name", ["quick-start.md", "authentication.md"])
def test_every_snippet_in_python_runs(served: dict[str, str], tmp_path: Path, name: str) -> None:
    snippets = blocks(name, "python")
    assert snippets
    for snippet in snippets:
        assert run([sys.executable, "-c", snippet], served, tmp_path)


def test_a_fault_can_be_asked_for_as_the_page_shows(served: dict[str, str], tmp_path: Path) -> None:
    told = run(
        ["bash", "-c", "set -euo pipefail\n" + TOKEN + "\n".join(blocks("sandbox.md", "bash"))], served, tmp_path
    )
    assert "retry-after: " in told.lower()


def test_the_errors_page_lists_every_code_of_the_contract_with_its_status() -> None:
    listed = {(int(row[0]), code) for row in rows("errors.md")[1:] for code in re.findall(r"`([a-z0-9-]+)`", row[1])}
    document = contract().document
    known: set[tuple[int, str]] = set()
    for entry in document["paths"].values():
        for operation in entry.values():
            for status, answer in operation.get("responses", {}).items() if isinstance(operation, dict) else ():
                name = answer.get("$ref", "").rpartition("/")[2]
                codes = document["components"]["responses"].get(name, {}).get("x-problem-codes", ())
                known |= {(int(status), code) for code in codes}
    assert listed == known


def test_the_limits_page_has_the_numbers_of_profile_and_contract() -> None:
    table = {row[0]: row[1] for row in rows("limits.md")[1:]}
    profile: Any = read_profile("acme", json.dumps({"format": 1, "name": "Acme"})).values
    schemas = contract().document["components"]["schemas"]
    lens, batch = schemas["LensRequest"]["properties"], schemas["BatchRequest"]["properties"]
    pages = next(one for one in contract().operations["listBatches"].parameters if one["name"] == "limit")
    wanted = {
        "requests a minute": profile["limits"]["requests_per_minute"],
        "requests at once, in one worker of the server": profile["limits"]["concurrent"],
        "requests a day (UTC)": profile["quotas"]["requests_per_day"],
        "own items": profile["quotas"]["items"],
        "bytes of a body": 5_000_000,
        "items of a batch, withdrawals of a batch": batch["items"]["maxItems"],
        "events of a feedback": schemas["FeedbackRequest"]["properties"]["events"]["maxItems"],
        "objects that a camera sends": lens["objects"]["maxItems"],
        "results of a tag (`max_results`)": lens["max_results"]["maximum"],
        "milliseconds of a deadline (`deadline_ms`)": lens["deadline_ms"]["maximum"],
        "batches of a page": pages["schema"]["maximum"],
        "days of usage": schemas["Usage"]["properties"]["days"]["maxItems"],
        "seconds that a token works": profile["token_seconds"],
        "hours that feedback on an answer is taken": profile["insights_hours"],
        "seconds that a signature's clock may be off": int(MAX_SKEW.total_seconds()),
        "hours that an Idempotency-Key is kept": 24,
    }
    assert table == {name: f"{value:,}" for name, value in wanted.items()}
    assert "at most 5,000,000 bytes" in contract().document["info"]["description"]
    assert batch["withdraw"]["maxItems"] == batch["items"]["maxItems"]


def test_the_scopes_are_those_of_the_contract_and_the_server() -> None:
    listed = [row[0].strip("`") for row in rows("authentication.md")[1:]]
    flows = contract().document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert listed == list(flows["clientCredentials"]["scopes"]) == list(SCOPES)


def test_the_service_levels_ask_for_metrics_and_buckets_that_there_are() -> None:
    metrics = Metrics()
    metrics.count_request("POST", "/partner/v1/lens", 200, 0.1)
    rendered = metrics.render().decode()
    queries = "\n".join(blocks("service-levels.md", "promql"))
    names = set(re.findall(r"handlens_\w+", queries))
    assert names
    assert all(f"{name}{{" in rendered for name in names)
    for le in re.findall(r'le="([^"]+)"', queries):
        assert f'le="{le}"' in rendered


def test_the_kits_page_names_every_option() -> None:
    options = {option for parameter in check.params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options if option not in page("conformance.md")} <= {"--key", "--timeout"}
