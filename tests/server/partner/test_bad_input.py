"""What is wrong with a request is told with its status and code, nothing is written, and none is a 500."""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import func, select
from support.backend import Backend, served
from support.partner import token_of
from support.paths import QUERIES
from support.searching import SPACE

from handlens_server.database import Database
from handlens_server.partner.contract_file import contract
from handlens_server.partner.partners import NewKey
from handlens_server.partner.tables import BatchRow, FeedbackRow, OwnItemRow
from handlens_server.tables import EmbeddingRow, ItemRow

Call = Callable[..., Any]
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
END = b"--x--\r\n"
VECTOR = [1.0] * 128


def seen(**more: Any) -> bytes:
    return json.dumps({"space": SPACE, "objects": [{"embedding": VECTOR}], **more}).encode()


def photo(text: str, **more: Any) -> bytes:
    return json.dumps({"photo": text, **more}).encode()


def part(name: str, data: bytes) -> bytes:
    return f"--x\r\nContent-Disposition: form-data; name={name}\r\n\r\n".encode() + data + b"\r\n"


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb() -> bytes:
    """A small file of very many pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def counts(database: Database) -> list[int]:
    with database.read() as session:
        tables = (BatchRow, FeedbackRow, OwnItemRow, ItemRow, EmbeddingRow)
        return [int(session.scalar(select(func.count()).select_from(table)) or 0) for table in tables]


@pytest.fixture(autouse=True)
def nothing_is_written(database: Database) -> Iterator[None]:
    before = counts(database)
    yield
    assert counts(database) == before


LENS: list[tuple[str, Any, str, int, str]] = [
    ("another type", b"photo", "text/plain", 415, "unsupported-media-type"),
    ("no type", b"{}", "", 415, "unsupported-media-type"),
    ("nothing", b"", JSON, 400, "malformed-json"),
    ("no JSON", b"{", JSON, 400, "malformed-json"),
    ("JSON that is no object", b"[1]", JSON, 400, "request-invalid"),
    ("an empty object", b"{}", JSON, 400, "request-invalid"),
    ("a photo and a crop", b'{"photo": "AAAA", "crop": "AAAA"}', JSON, 400, "request-invalid"),
    ("a field that is not known", seen(surprise=1), JSON, 400, "request-invalid"),
    ("a surface that is none", seen(surface="fridge"), JSON, 400, "request-invalid"),
    ("an area without a photo", seen(crop_area=[0, 0, 1, 1]), JSON, 400, "request-invalid"),
    ("an inverted area", photo("AAAA", crop_area=[0.9, 0, 0.1, 1]), JSON, 422, "box-invalid"),
    ("an area outside", photo("AAAA", crop_area=[0, 0, 2, 1]), JSON, 400, "request-invalid"),
    ("a deadline of 0", seen(deadline_ms=0), JSON, 400, "request-invalid"),
    ("a million results", seen(max_results=10**6), JSON, 400, "request-invalid"),
    ("a locale that is none", seen(locale="'; DROP TABLE items"), JSON, 400, "request-invalid"),
    ("10 kB of refine", seen(refine="red " * 2560), JSON, 400, "request-invalid"),
    ("NaN", seen().replace(b"1.0", b"NaN", 1), JSON, 400, "malformed-json"),
    ("infinity", seen().replace(b"1.0", b"-Infinity", 1), JSON, 400, "malformed-json"),
    ("1e999", seen().replace(b"1.0", b"1e999", 1), JSON, 400, "malformed-json"),
    ("a number of 5,000 digits", seen().replace(b"1.0", b"9" * 5000, 1), JSON, 400, "malformed-json"),
    ("1e200", seen().replace(b"1.0", b"1e200", 1), JSON, 400, "request-invalid"),
    ("deep JSON", b'{"photo": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400, "malformed-json"),
    ("JSON of depth 40", b"[" * 40 + b"]" * 40, JSON, 400, "malformed-json"),
    ("a name twice", b'{"photo": "AAAA", "photo": "AAAA"}', JSON, 400, "malformed-json"),
    ("bytes that are no UTF-8", b'{"refine": "\xff"}', JSON, 400, "malformed-json"),
    ("UTF-16", "{}".encode("utf-16"), JSON, 400, "malformed-json"),
    ("half a surrogate pair", b'{"refine": "\\ud83d", "photo": "AAAA"}', JSON, 400, "malformed-json"),
    ("an address as a photo", photo("https://example.com/a.jpg"), JSON, 400, "request-invalid"),
    ("the base64 of an address", photo(coded(b"https://x.org/a")), JSON, 422, "photo-unusable"),
    ("a photo that is none", photo("AAAA"), JSON, 422, "photo-unusable"),
    ("a bomb", photo(coded(bomb())), JSON, 413, "photo-too-large"),
    ("another space", seen(space="other-e1"), JSON, 422, "embedding-space-unknown"),
    ("zeros", seen(objects=[{"embedding": [0.0] * 128}]), JSON, 422, "embedding-unusable"),
    ("a short embedding", seen(objects=[{"embedding": [1.0]}]), JSON, 422, "embedding-unusable"),
    ("a label that is not known", seen(objects=[{"embedding": VECTOR, "label": "?"}]), JSON, 422, "label-unknown"),
    ("nine objects", seen(objects=[{"embedding": VECTOR}] * 9), JSON, 400, "request-invalid"),
]  # fmt: skip


class TestLens:
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize(
        ("body", "kind", "status", "code"), [row[1:] for row in LENS], ids=[row[0] for row in LENS]
    )
    def test_what_cannot_be_served_is_told(self, call: Call, body: bytes, kind: str, status: int, code: str) -> None:
        answer = call("POST", "/lens", data=body, content_type=kind)
        assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
        assert code in documented("lens", status)
        assert len(answer.json["detail"]) < 500

    @pytest.mark.parametrize(
        ("body", "kind", "code"),
        [
            (b"no form at all", FORM, "malformed-form"),
            (b"no form at all", "multipart/form-data", "malformed-form"),
            (part("photo", b"cut short"), FORM, "malformed-form"),
            (END, FORM, "request-invalid"),
            (part("other", b"A") + END, FORM, "request-invalid"),
            (part("photo", b"") + END, FORM, "request-invalid"),
            (part("photo", b"A") * 2 + END, FORM, "request-invalid"),
            (part("photo", b"A") + part("crop", b"A") + END, FORM, "request-invalid"),
            (part("photo", b"A") + part("request", b"{") + END, FORM, "malformed-json"),
        ],
    )  # fmt: skip
    def test_a_form_that_is_broken_is_told(self, call: Call, body: bytes, kind: str, code: str) -> None:
        answer = call("POST", "/lens", data=body, content_type=kind)
        assert (answer.status_code, answer.json["code"]) == (400, code), answer.text

    def test_a_form_of_very_many_parts_is_refused(self, call: Call) -> None:
        body = b"".join(part(f"a{at}", b"A") for at in range(2000)) + END
        answer = call("POST", "/lens", data=body, content_type=FORM)
        assert (answer.status_code, answer.json["code"]) == (413, "request-entity-too-large")

    def test_an_address_is_never_fetched(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_arguments: Any, **_more: Any) -> Any:
            raise AssertionError("something was fetched")

        monkeypatch.setattr(socket, "create_connection", refuse)
        for address in (b"http://127.0.0.1/a.jpg", b"file:///etc/passwd", b"/etc/passwd"):
            answer = call("POST", "/lens", json={"photo": coded(address)})
            assert (answer.status_code, answer.json["code"]) == (422, "photo-unusable")

    def test_a_tiny_area_is_no_mistake(self, call: Call) -> None:
        photo = coded((QUERIES / "images" / "taj-mahal.jpg").read_bytes())
        answer = call("POST", "/lens", json={"photo": photo, "crop_area": [0.5, 0.5, 0.500001, 0.500001]})
        assert answer.status_code in (200, 422)


def documented(operation_id: str, status: int) -> list[str]:
    """The problem codes that the contract names for a status of an operation."""
    operation = contract().operations[operation_id]
    responses = contract().document["paths"][operation.path][operation.method.lower()]["responses"]
    name = responses[str(status)]["$ref"].rpartition("/")[2]
    return list(contract().document["components"]["responses"][name]["x-problem-codes"])


class TestOthers:
    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "code"),
        [
            ("POST", "/feedback", {"insights_token": "x", "events": []}, 400, "request-invalid"),
            ("POST", "/feedback", {"insights_token": "x", "events": [{"event_id": "x"}]}, 400, "request-invalid"),
            ("PUT", "/catalog/batches/b%20b", {"items": [{}]}, 400, "request-invalid"),
            ("PUT", "/catalog/batches/b", {}, 400, "request-invalid"),
            ("PUT", "/catalog/batches/b", {"items": [{"id": "../x", "kind": "product"}]}, 400, "request-invalid"),
            ("GET", "/catalog/batches?limit=0", None, 400, "request-invalid"),
            ("GET", "/catalog/batches?limit=x", None, 400, "request-invalid"),
            ("GET", "/catalog/batches?limit=1&limit=2", None, 400, "request-invalid"),
            ("GET", "/catalog/batches?cursor=forged", None, 422, "cursor-invalid"),
            ("GET", "/catalog/batches?page=2", None, 400, "parameter-unknown"),
            ("GET", "/usage?from=2026-02-30", None, 400, "request-invalid"),
            ("GET", "/usage?from=2026-03-02&to=2026-03-01", None, 422, "range-invalid"),
            ("GET", "/usage?from=2020-01-01&to=2026-01-01", None, 422, "range-invalid"),
            ("GET", "/usage?to=0001-01-01", None, 200, ""),
            ("GET", "/items/%00", None, 400, "request-invalid"),
            ("GET", "/items/no-such-item", None, 404, "item-unknown"),
            ("GET", "/items/" + "x" * 201, None, 400, "request-invalid"),
            ("GET", "/nothing", None, 404, "not-found"),
            ("DELETE", "/lens", None, 405, "method-not-allowed"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_told(self, call: Call, method: str, path: str, body: Any, status: int, code: str) -> None:
        more = {} if body is None else {"json": body}
        answer = call(method, path, **more)
        assert answer.status_code == status, answer.text
        assert (answer.json.get("code") or "") == code

    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/feedback"), ("PUT", "/catalog/batches/b"), ("POST", "/sandbox/reset")]
    )
    @pytest.mark.parametrize(
        ("key", "code"),
        [
            (None, "idempotency-key-missing"),
            ("short", "idempotency-key-malformed"),
            ("x" * 100, "idempotency-key-malformed"),
        ],
    )
    def test_a_write_needs_a_key_of_its_own(
        self, client: FlaskClient, keys: dict[str, NewKey], method: str, path: str, key: str | None, code: str
    ) -> None:
        headers = {"Authorization": f"Bearer {token_of(client, keys['acme test'])}"}
        headers |= {} if key is None else {"Idempotency-Key": key}
        answer = client.open(f"/partner/v1{path}", method=method, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (400, code)  # type: ignore[index]


class TestLargeBodies:
    def test_50_megabytes_are_refused_before_they_are_read(self, app: Flask, client: FlaskClient, keys: Any) -> None:
        token = token_of(client, keys["acme live"])
        with served(app) as url, connected(url) as connection:
            head = request_head("POST", "/partner/v1/lens", token, f"Content-Length: {50_000_000}")
            connection.sendall(head)  # and not one byte of the body
            assert status_of(connection) == (413, "request-entity-too-large")

    def test_a_large_body_without_credentials_is_refused_for_these(self, app: Flask) -> None:
        with served(app) as url, connected(url) as connection:
            connection.sendall(request_head("POST", "/partner/v1/lens", "", f"Content-Length: {50_000_000}"))
            assert status_of(connection) == (401, "credentials-missing")

    def test_a_large_form_is_refused_too(self, call: Call) -> None:
        answer = call("POST", "/lens", data=b"x" * 5_000_001, content_type="multipart/form-data; boundary=x")
        assert (answer.status_code, answer.json["code"]) == (413, "request-entity-too-large")


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def request_head(method: str, path: str, token: str, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *more]
    lines += [f"Authorization: Bearer {token}"] if token else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(connection: socket.socket) -> tuple[int, str]:
    data = b""
    while chunk := connection.recv(65_536):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


class TestSecrets:
    def test_never_appear_in_logs_or_problems(
        self, app: Flask, client: FlaskClient, keys: dict[str, NewKey], caplog: pytest.LogCaptureFixture, capsys: Any
    ) -> None:
        caplog.set_level(logging.DEBUG)
        key = keys["acme live"]
        token = token_of(client, key)
        wrong = f"hls_{uuid.uuid4().hex}"
        secrets = [key.secret, token, wrong, "hlt_" + "x" * 43, keys["acme device"].secret]
        told = []
        for authorization in (
            f"Bearer {token}",
            "Bearer hlt_" + "x" * 43,
            f"Basic {coded(f'{key.key_id}:{wrong}'.encode())}",
        ):
            for method, path in (("POST", "/lens"), ("GET", "/ping"), ("POST", "/oauth/token"), ("GET", "/nothing")):
                sent = {"Authorization": authorization}
                data = {"grant_type": "client_credentials"} if path == "/oauth/token" else b"{}"
                answer = client.open(f"/partner/v1{path}", method=method, headers=sent, data=data)
                if answer.status_code >= 400:
                    told.append(answer.get_data(as_text=True) + str(answer.headers))
        form = {
            "grant_type": "client_credentials",
            "client_id": key.key_id,
            "client_secret": wrong,
            "extra": key.secret,
        }
        told.append(client.post("/partner/v1/oauth/token", data=form).get_data(as_text=True))
        seen = caplog.text + "".join(capsys.readouterr()) + "".join(told)
        assert len(told) >= 8
        assert [
            secret for secret in secrets if secret in seen or coded(f"{key.key_id}:{secret}".encode()) in seen
        ] == []

    def test_the_servers_own_secret_is_for_its_user_alone(self, backend: Backend, call: Call) -> None:
        call("POST", "/lens", data=seen(), content_type=JSON)
        path = backend.config.data_dir / "partner-secret"
        assert path.stat().st_mode & 0o077 == 0
        assert len(path.read_text("ascii")) >= 43
