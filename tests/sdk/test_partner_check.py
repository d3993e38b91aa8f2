"""The conformance kit without a server: what it refuses, and what its records show."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from handlens.cli import main
from handlens.partner.access import Key, read_key
from handlens.partner.checks import ALL_CHECKS
from handlens.partner.contract import read_contract
from handlens.partner.exchange import Answer, Call
from handlens.partner.line import Line
from handlens.partner.outcomes import ConformanceError, FailedError

KEY = ["--key", "hl_test_1:hls_secret"]


def check(*words: str) -> Result:
    return CliRunner().invoke(main, ["partner", "check", *words])


class SomethingElse(BaseHTTPRequestHandler):
    """A web server that is no partner endpoint."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<h1>Welcome</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test reads its own output."""


def serve(server: HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def something_else() -> Iterator[int]:
    yield from serve(HTTPServer(("127.0.0.1", 0), SomethingElse))


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[int]:
    """A server whose certificate nobody signed."""
    server = HTTPServer(("127.0.0.1", 0), SomethingElse)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    yield from serve(server)


def _self_signed(folder: Path) -> Path:
    import ipaddress
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=True).sign(key, hashes.SHA256())
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_every_check_names_its_clause_and_a_remedy_and_has_an_id_of_its_own() -> None:
    ids = [one.check_id for one in ALL_CHECKS]
    assert len(ids) == len(set(ids)) > 70
    assert all(one.title and one.clause and one.remedy and "." in one.check_id for one in ALL_CHECKS)


def test_the_checks_are_listed_without_a_server() -> None:
    listed = check("--list", "--json")
    assert listed.exit_code == 0
    assert [one["id"] for one in json.loads(listed.output)] == [one.check_id for one in ALL_CHECKS]
    assert "idempotency.replay" in check("--list", "--only", "idempotency").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "HANDLENS_PARTNER_KEY"),
        ([*KEY], "give --base-url"),
        ([*KEY, "--base-url", "lens.example.com"], "give one such as https://lens.example.com"),
        ([*KEY, "--base-url", "https://lens.example.com/partner/v1"], "give https://HOST"),
        ([*KEY, "--base-url", "http://127.0.0.1:1"], "cannot be reached"),
        (["--key", "no-colon", "--base-url", "http://127.0.0.1:1"], "--key is not ID:SECRET"),
        (["--key-file", "/nowhere/key", "--base-url", "http://127.0.0.1:1"], "give a file with ID:SECRET"),
        ([*KEY, "--signing-key", "a:/nowhere/key", "--base-url", "http://127.0.0.1:1"], "private key's file"),
        ([*KEY, "--only", "everything", "--base-url", "http://127.0.0.1:1"], "there is no check everything"),
        ([*KEY, "--ca-file", "/nowhere/ca", "--base-url", "https://127.0.0.1:1"], "give certificates in PEM"),
    ],
)
def test_what_cannot_be_checked_is_told_in_a_line_with_exit_code_2(words: list[str], told: str) -> None:
    done = check(*words)
    assert done.exit_code == 2
    assert told in done.output
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1


def test_another_web_server_is_told_apart(something_else: int) -> None:
    done = check(*KEY, "--base-url", f"http://127.0.0.1:{something_else}")
    assert done.exit_code == 2
    assert "gives no token" in done.output


def test_a_certificate_that_is_not_trusted_is_told_with_its_remedy(untrusted: int) -> None:
    done = check(*KEY, "--base-url", f"https://127.0.0.1:{untrusted}")
    assert done.exit_code == 2
    assert "is not trusted" in done.output
    assert "--ca-file" in done.output


def test_a_certificate_of_ones_own_can_be_trusted(untrusted: int, tmp_path: Path) -> None:
    line = Line(f"https://127.0.0.1:{untrusted}", ca_file=tmp_path / "server.pem")
    assert line.send(Call("POST", "/", body=b"x")).status == 200
    line.close()


def test_what_is_missing_of_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = check(*KEY, "--base-url", "http://127.0.0.1:1")
    assert done.exit_code == 2
    assert "pip install 'handlens[partner]'" in done.output


def test_a_record_shows_no_secret() -> None:
    call = Call(
        "POST",
        "/partner/v1/oauth/token",
        {"Authorization": "Basic c2VjcmV0", "Signature": "sig1=:c2VjcmV0c2VjcmV0c2VjcmV0:"},
        b"grant_type=client_credentials&client_secret=secret",
    )
    answer = Answer(200, {}, b'{"access_token": "secret", "scope": "lens"}')
    shown = call.shown() + answer.shown()
    assert "secret" not in shown.replace("client_secret", "")
    assert "c2VjcmV0c2VjcmV0" not in shown
    assert "lens" in shown
    assert "secret" not in repr(Key("id", "secret")).replace("secret_", "")


@pytest.mark.parametrize("text", ["", ":", "id:", ":secret", "id", "ïd:secret"])
def test_a_key_is_an_id_and_a_secret(text: str) -> None:
    with pytest.raises(ConformanceError, match="ID:SECRET"):
        read_key(text)


def test_an_answer_is_judged_by_status_headers_and_body() -> None:
    contract = read_contract()
    pong = {
        "partner": "acme",
        "mode": "test",
        "key_id": "hl_test_1",
        "scopes": ["lens"],
        "contract": "1.0.0",
        "time": "2026-03-01T12:00:00Z",
    }
    headers = {"content-type": "application/json", "x-request-id": "r-1"}
    assert contract.faults("ping", Answer(200, headers, json.dumps(pong).encode())) == []
    grown = json.dumps({**pong, "of_a_later_version": 1}).encode()
    assert contract.faults("ping", Answer(200, {**headers, "x-new": "1"}, grown)) == []
    assert contract.faults("ping", Answer(201, headers, b"{}")) == ["ping may not answer 201"]
    assert (
        "X-Request-Id is missing"
        in contract.faults("ping", Answer(200, {"content-type": "application/json"}, grown))[0]
    )
    wrong = json.dumps({**pong, "time": "noon"}).encode()
    assert contract.faults("ping", Answer(200, headers, wrong))[0].startswith("/time: ")
    with pytest.raises(FailedError, match="no JSON"):
        contract.faults("ping", Answer(200, headers, b"{"))
