"""The conformance kit: this repository's server passes it, and each promise that is broken fails its own check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.broken_partner import FAULTS, Broken, Talkative
from support.catalogue import some_items, write_feed
from support.partner_server import PartnerServer, kit_command
from support.paths import ROOT

from handlens.partner.access import Key, TokenBook
from handlens.partner.contract import CONTRACT_PATH
from handlens.partner.line import Line
from handlens_server.partner.contract_file import contract


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> PartnerServer:
    folder = tmp_path_factory.mktemp("partner")
    return PartnerServer.make(folder, write_feed(folder / "feed", some_items(12, 12)))


@contextmanager
def gunicorn(server: PartnerServer) -> Iterator[str]:
    """The server as an operator starts it: two workers."""
    program = "from handlens_server.cli import main; main()"
    where = ["--data-dir", str(server.backend.config.data_dir), "--workers", "2", "--threads", "8", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", *where],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))},
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
        process.stdout.close()


def failed(server: PartnerServer, url: str, *more: str) -> set[str]:
    """The ids of the checks that fail."""
    done = kit_command("--base-url", url, *server.options(), "--json", *more)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert (done.returncode == 1) == bool(report["failed"])
    return {one["id"] for one in report["checks"] if one["state"] == "failed"}


def broken(server: PartnerServer, names: list[str]) -> Any:
    """What wraps the application so that it has these faults."""

    def wrap(app: Any) -> Any:
        tokens: list[str] = []

        def token() -> str:
            if not tokens:
                key = server.key.key_id, server.key.secret
                form = {"grant_type": "client_credentials"}
                answer = app.test_client().post("/partner/v1/oauth/token", data=form, auth=key)
                tokens.append(answer.get_json()["access_token"])
            return tokens[0]

        return Broken(app, names, token)

    return wrap


def test_the_server_of_this_repository_keeps_every_promise(server: PartnerServer, tmp_path: Path) -> None:
    junit, html = tmp_path / "report" / "junit.xml", tmp_path / "report" / "report.html"
    with gunicorn(server) as url:
        done = kit_command("--base-url", url, *server.options(), "--junit", str(junit), "--html", str(html))
    assert done.returncode == 0, done.stdout
    assert "keeps the contract" in done.stdout
    suites = ET.fromstring(junit.read_bytes())
    assert int(suites.get("failures", "")) == 0
    assert int(suites.get("tests", "")) == len(list(suites.iter("testcase"))) > 70
    skipped = {case.get("name") for case in suites.iter("testcase") if case.find("skipped") is not None}
    assert skipped == {"limits.enforced", "contract.thumbnail"}
    page = html.read_text("utf-8")
    assert "Keeps the contract" in page
    assert "<script" not in page
    assert "http://" not in page.replace(url, "")


def test_a_server_without_faults_passes_through_the_shell_that_puts_faults_in(server: PartnerServer) -> None:
    with server.serve(broken(server, [])) as url:
        assert failed(server, url) == set()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fails_its_own_check_and_no_other(server: PartnerServer, name: str) -> None:
    with server.serve(broken(server, [name])) as url:
        assert failed(server, url) == {FAULTS[name][0]}


def test_a_server_with_ten_faults_fails_exactly_ten_checks(server: PartnerServer) -> None:
    assert len(FAULTS) == 10
    with server.serve(broken(server, list(FAULTS))) as url:
        assert failed(server, url) == {check for check, _ in FAULTS.values()}


def test_members_and_headers_of_a_later_version_are_ignored(server: PartnerServer) -> None:
    with server.serve(Talkative) as url:
        assert failed(server, url) == set()


def test_nothing_stays_in_the_sandbox(server: PartnerServer) -> None:
    with server.serve() as url:
        failed(server, url, "--only", "batch", "--only", "pagination")
        line = Line(url)
        tokens = TokenBook(line, Key(server.key.key_id, server.key.secret))
        from handlens.partner.exchange import Call

        headers = {"Authorization": f"Bearer {tokens.token()}"}
        assert line.send(Call("GET", "/partner/v1/catalog/batches", headers)).json()["batches"] == []
        line.close()


def test_what_failed_is_told_with_clause_remedy_and_exchange_but_without_secrets(
    server: PartnerServer, tmp_path: Path
) -> None:
    junit, html = tmp_path / "junit.xml", tmp_path / "report.html"
    with server.serve(broken(server, list(FAULTS))) as url:
        done = kit_command("--base-url", url, *server.options(), "--junit", str(junit), "--html", str(html))
        as_json = kit_command("--base-url", url, *server.options(), "--json")
    assert done.returncode == as_json.returncode == 1
    for text in (done.stdout, junit.read_text("utf-8"), html.read_text("utf-8"), as_json.stdout):
        assert "signature.replay" in text
        assert "RFC 9421, section 7.2.2" in text
        assert "Remember each nonce" in text
        assert "GET /partner/v1/ping" in text
        for secret in (server.key.secret, "Bearer hlt_", "Basic ", server.foreign_key.secret):
            assert secret not in text


def test_a_live_key_is_refused_before_anything_is_written(server: PartnerServer) -> None:
    with server.serve() as url:
        done = kit_command("--base-url", url, "--key", f"{server.live_key.key_id}:{server.live_key.secret}")
    assert done.returncode == 2
    assert "give a test key" in done.stderr


def test_checks_that_lack_something_are_skipped_and_say_what(server: PartnerServer) -> None:
    key = f"{server.key.key_id}:{server.key.secret}"
    with server.serve() as url:
        done = kit_command("--base-url", url, "--key", key, "--only", "signature", "--only", "auth.foreign")
        strict = kit_command("--base-url", url, "--key", key, "--only", "auth.foreign", "--strict")
    assert done.returncode == 0
    assert "--signing-key ID:FILE" in done.stdout
    assert "--foreign-key ID:SECRET" in done.stdout
    assert strict.returncode == 1


def test_a_wrong_secret_is_told_apart_from_a_server_that_is_not_there(server: PartnerServer) -> None:
    with server.serve() as url:
        wrong = kit_command("--base-url", url, "--key", f"{server.key.key_id}:hls_wrong")
    gone = kit_command("--base-url", url, "--key", "a:b")
    assert (wrong.returncode, gone.returncode) == (2, 2)
    assert "check the key and its scopes" in wrong.stderr
    assert "cannot be reached" in gone.stderr


def test_the_kit_has_the_contract_that_the_server_keeps() -> None:
    assert json.loads(CONTRACT_PATH.read_bytes()) == contract().document, "run: python scripts/copy_contract.py"
