"""Old clients go on working: calls recorded against each released version of the contract are sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.catalogue import some_items, write_feed
from support.partner_recordings import RECORDINGS, play, uncovered
from support.partner_server import PartnerServer

from handlens.partner.access import Key, TokenBook, read_signer, token_call
from handlens.partner.exchange import Call
from handlens.partner.line import Line
from handlens_server.partner.contract_file import CONTRACT_PATH, read_contract
from handlens_server.times import utc_now

FILES = sorted(RECORDINGS.glob("v*/*.json"))
RELEASED = sorted((CONTRACT_PATH.parent / "released").glob("*.yaml"))


class Sender:
    """Sends the steps of a recording with the credentials that they name."""

    def __init__(self, server: PartnerServer, url: str) -> None:
        self._line = Line(url)
        self._key = Key(server.key.key_id, server.key.secret)
        self._signer = read_signer(f"{server.device_key.key_id}:{server.key_file}")
        self._tokens = TokenBook(self._line, self._key)

    def __call__(self, step: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        answer = self._line.send(self._call(step))
        return answer.status, answer.headers, answer.body

    def _call(self, step: dict[str, Any]) -> Call:
        if "form" in step:
            wrong = Key(self._key.key_id, "hls_wrong")
            return token_call(wrong if step["auth"] == "wrong" else self._key, **step["form"])
        body = json.dumps(step["body"]).encode() if "body" in step else b""
        kind = {"Content-Type": "application/json"} if body else {}
        call = Call(step["method"], step["path"], {**kind, **step.get("headers", {})}, body)
        if step["auth"] == "signature":
            return self._signer.sign(call, self._line.authority, "http", created=utc_now().timestamp())
        token = {"token": self._tokens.token(), "unknown-token": "hlt_" + "A" * 43}.get(step["auth"], "")
        return call.with_headers(Authorization=f"Bearer {token}") if token else call


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    folder = tmp_path_factory.mktemp("partner")
    server = PartnerServer.make(folder, write_feed(folder / "feed", some_items(4, 4)))
    with server.serve() as url:
        yield Sender(server, url)


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name} {file.stem}" for file in FILES])
def test_a_recorded_client_is_answered_as_it_was(send: Sender, file: Path) -> None:
    assert play(json.loads(file.read_text("utf-8")), send) == []


@pytest.mark.parametrize("released", RELEASED, ids=[path.stem for path in RELEASED])
def test_each_released_version_has_recordings_of_every_operation(released: Path) -> None:
    steps = [
        step for file in RECORDINGS.glob(f"{released.stem}/*.json") for step in json.loads(file.read_text("utf-8"))
    ]
    called = {(step["method"], tuple(step["path"].split("?")[0].split("/"))) for step in steps}
    for operation in read_contract(released).operations.values():
        parts = operation.path.split("/")
        assert any(method == operation.method and _fits(parts, path) for method, path in called), operation.operation_id


def _fits(parts: list[str], path: tuple[str, ...]) -> bool:
    same = (one == other or one.startswith("{") for one, other in zip(parts, path, strict=False))
    return len(parts) == len(path) and all(same)


@pytest.mark.parametrize(
    ("now", "fault"),
    [
        ({"a": 1, "new": 2}, []),
        ({}, ["/a is gone"]),
        ({"a": "1"}, ["/a was of type number"]),
        ([], [" was an object"]),
    ],
)
def test_members_may_come_and_none_may_go(now: Any, fault: list[str]) -> None:
    assert uncovered({"a": "number"}, now) == fault
