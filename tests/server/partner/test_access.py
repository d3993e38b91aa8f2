"""Who may call: tokens, signatures, scopes and keys; and that no URL of the partner endpoint is open by accident."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.clock import Clock
from support.partner import Contracted, Signer, basic, join, key_of, signed, token_of

from handlens_server.app import create_app
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.partner.contract_file import contract
from handlens_server.partner.partners import (
    NewKey,
    PartnerSetupError,
    list_keys,
    new_secret_key,
    revoke_key,
    set_disabled,
)
from handlens_server.partner.profiles import SCOPES
from handlens_server.partner.tables import KeyRow, NonceRow, TokenRow

PING = "/partner/v1/ping"
OPEN = {
    "/partner/v1/oauth/token",
    "/partner/v1/openapi.json",
    "/partner/v1/docs",
    "/partner/v1/docs/<name>",
    "/partner/v1/thumbnails/<ticket>",
}


@pytest.fixture
def app(config: Config, clock: Clock, database: Database) -> Any:
    made = create_app(config, clock=clock)
    made.test_client_class = Contracted
    join(database, "acme", clock())
    yield made
    made.extensions["handlens"].close()


@pytest.fixture
def database(config: Config) -> Any:
    from handlens_server.database import open_database

    with open_database(config) as opened:
        yield opened


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def key(database: Database, app: Flask, clock: Clock) -> NewKey:
    return key_of(database, "acme", clock())


@pytest.fixture
def device(database: Database, app: Flask, clock: Clock) -> NewKey:
    return key_of(database, "acme", clock(), device=True)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class TestEveryUrl:
    def test_is_closed_but_for_those_that_say_that_they_are_open(self, app: Flask, client: FlaskClient) -> None:
        device = client.post("/v1/devices", json={"device_id": str(uuid.uuid4())}).json["token"]
        closed = 0
        for rule in app.url_map.iter_rules():
            if not rule.rule.startswith("/partner/"):
                continue
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
                url = re.sub(r"<[^>]+>", "x", rule.rule)
                tries: list[dict[str, str]] = [{}, bearer("x"), bearer(device), {"Signature": "x"}]
                statuses = {client.open(url, method=method, headers=headers).status_code for headers in tries}
                assert (statuses == {401}) == (rule.rule not in OPEN), f"{method} {rule.rule}: {statuses}"
                closed += statuses == {401}
        assert closed >= 8

    def test_stands_in_the_contract_and_every_operation_has_one(self, app: Flask) -> None:
        served = {
            (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
            for rule in app.url_map.iter_rules()
            if rule.rule.startswith("/partner/") and rule.rule != "/partner/v1/docs/<name>"
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
        }
        assert served == {(one.method, one.path) for one in contract().operations.values()}

    def test_names_the_scope_that_the_contract_names(
        self, client: FlaskClient, database: Database, clock: Clock
    ) -> None:
        for name, operation in contract().operations.items():
            needs = contract().document["paths"][operation.path][operation.method.lower()].get("security", [{}])
            scopes = [one["oauth2"] for one in needs if "oauth2" in one]
            if not scopes or not scopes[0]:
                continue
            others = [scope for scope in SCOPES if scope not in scopes[0]]
            made = key_of(database, "acme", clock(), scopes=others)
            url = re.sub(r"\{\w+\}", "x", operation.path)
            answer = client.open(url, method=operation.method, headers=bearer(token_of(client, made)))
            assert refusal(answer) == (403, "scope-missing"), name
            with database.session() as session:
                revoke_key(session, made.key_id, clock())


class TestTokens:
    def test_a_token_opens_what_its_scopes_say(self, client: FlaskClient, key: NewKey) -> None:
        token = token_of(client, key, "usage:read lens")
        assert client.get(PING, headers=bearer(token)).json["scopes"] == ["lens", "usage:read"]
        assert client.get("/partner/v1/usage", headers=bearer(token)).status_code == 200
        assert refusal(client.get("/partner/v1/items/x", headers=bearer(token))) == (403, "scope-missing")

    def test_a_secret_in_the_form_is_as_good_as_one_in_the_header(self, client: FlaskClient, key: NewKey) -> None:
        form = {"grant_type": "client_credentials", "client_id": key.key_id, "client_secret": key.secret}
        assert client.post("/partner/v1/oauth/token", data=form).status_code == 200

    def test_a_token_ends_when_it_says(self, client: FlaskClient, key: NewKey, clock: Clock) -> None:
        token = token_of(client, key)
        clock.advance(seconds=3599)
        assert client.get(PING, headers=bearer(token)).status_code == 200
        clock.advance(seconds=1)
        assert refusal(client.get(PING, headers=bearer(token))) == (401, "token-expired")

    def test_a_revoked_key_and_its_tokens_end_at_once(
        self, client: FlaskClient, key: NewKey, database: Database, clock: Clock
    ) -> None:
        token = token_of(client, key)
        with database.session() as session:
            revoke_key(session, key.key_id, clock())
        assert refusal(client.get(PING, headers=bearer(token))) == (401, "token-invalid")
        assert asked(client, {"grant_type": "client_credentials"}, key)[0] == 401

    def test_a_disabled_partner_is_refused_until_it_is_taken_back(
        self, client: FlaskClient, key: NewKey, device: NewKey, database: Database, clock: Clock
    ) -> None:
        token = token_of(client, key)
        with database.session() as session:
            set_disabled(session, "acme", True, clock())
        assert refusal(client.get(PING, headers=bearer(token))) == (403, "partner-disabled")
        assert refusal(signed(client, Signer(device, clock()), "GET", PING)) == (403, "partner-disabled")
        with database.session() as session:
            set_disabled(session, "acme", False, clock())
        assert client.get(PING, headers=bearer(token)).status_code == 200

    @pytest.mark.parametrize(
        ("form", "status", "error"),
        [
            ({"scope": "lens"}, 400, "invalid_request"),
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
            ({"grant_type": "client_credentials", "scope": "lens everything"}, 400, "invalid_scope"),
            ({"grant_type": "client_credentials", "scope": "LENS"}, 400, "invalid_scope"),
            ({"grant_type": "client_credentials", "surprise": "1"}, 400, "invalid_request"),
            ({"grant_type": "client_credentials", "client_id": "x"}, 400, "invalid_request"),
        ],
    )
    def test_a_form_that_cannot_be_served_gets_the_error_of_oauth(
        self, client: FlaskClient, key: NewKey, form: dict[str, str], status: int, error: str
    ) -> None:
        assert asked(client, form, key) == (status, error)

    @pytest.mark.parametrize(
        "header",
        [
            "Basic",
            "Basic !!!",
            "Basic /////w==",
            basic("nobody", "x"),
            basic("hl_live_x", ""),
            "Bearer x",
            "Digest x=1",
        ],
    )
    def test_credentials_that_are_none_are_refused_alike(self, client: FlaskClient, header: str) -> None:
        sent = {"grant_type": "client_credentials"}
        answer = client.post("/partner/v1/oauth/token", data=sent, headers={"Authorization": header})
        assert refusal(answer) == (401, "oauth-invalid-client")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")

    def test_a_wrong_secret_is_refused(self, client: FlaskClient, key: NewKey) -> None:
        wrong = NewKey(key.key_id, key.secret[:-1] + ("A" if key.secret[-1] != "A" else "B"))
        assert asked(client, {"grant_type": "client_credentials"}, wrong) == (401, "invalid_client")

    def test_the_key_of_a_device_is_no_client(self, client: FlaskClient, device: NewKey) -> None:
        assert asked(client, {"grant_type": "client_credentials"}, device)[0] == 401

    def test_a_token_and_a_signature_together_are_refused(
        self, client: FlaskClient, key: NewKey, device: NewKey, clock: Clock
    ) -> None:
        answer = signed(client, Signer(device, clock()), "GET", PING, Authorization=f"Bearer {token_of(client, key)}")
        assert refusal(answer) == (401, "credentials-ambiguous")


def asked(client: FlaskClient, form: dict[str, str], key: NewKey) -> tuple[int, str]:
    """Status and error of a request for a token."""
    headers = {"Authorization": basic(key.key_id, key.secret or "none")}
    answer = client.post("/partner/v1/oauth/token", data=form, headers=headers)
    return answer.status_code, answer.json["error"]


class TestSignatures:
    def test_a_signed_request_is_taken_with_query_and_body(
        self, client: FlaskClient, device: NewKey, clock: Clock
    ) -> None:
        signer = Signer(device, clock())
        assert signed(client, signer, "GET", PING).json["key_id"] == device.key_id
        assert signed(client, signer, "GET", "/partner/v1/usage?from=2026-02-01&to=2026-02-03").status_code == 200
        body = b'{"items": [{"id": "a", "kind": "product", "object_type": "food", "title": "A thing"}]}'
        sent = {"Content_Type": "application/json", "Idempotency_Key": "0123456789"}
        answer = signed(client, signer, "PUT", "/partner/v1/catalog/batches/b1", body, **sent)
        assert refusal(answer) == (503, "search-unavailable")  # nothing was published here, but it was let in

    def test_a_nonce_is_taken_once(self, client: FlaskClient, device: NewKey, clock: Clock) -> None:
        headers = Signer(device, clock()).headers("GET", PING)
        assert client.get(PING, headers=headers).status_code == 200
        assert refusal(client.get(PING, headers=headers)) == (401, "signature-replayed")
        clock.advance(seconds=299)
        assert refusal(client.get(PING, headers=headers)) == (401, "signature-replayed")

    def test_nonces_are_forgotten_when_no_signature_with_them_can_be_in_time(
        self, client: FlaskClient, device: NewKey, clock: Clock, database: Database
    ) -> None:
        for _ in range(3):
            signed(client, Signer(device, clock()), "GET", PING)
        clock.advance(seconds=700)
        signed(client, Signer(device, clock()), "GET", PING)
        with database.read() as session:
            assert session.query(NonceRow).count() == 1

    @pytest.mark.parametrize(
        "away", [timedelta(seconds=301), timedelta(seconds=-301), timedelta(days=1), timedelta(days=-1)]
    )
    def test_a_clock_that_is_off_is_refused(
        self, client: FlaskClient, device: NewKey, clock: Clock, away: timedelta, database: Database
    ) -> None:
        answer = signed(client, Signer(device, clock() + away), "GET", PING)
        assert refusal(answer) == (401, "signature-expired")
        with database.read() as session:
            assert session.query(NonceRow).count() == 0

    @pytest.mark.parametrize("away", [299, -299])
    def test_a_clock_that_is_nearly_right_is_good(
        self, client: FlaskClient, device: NewKey, clock: Clock, away: int
    ) -> None:
        assert signed(client, Signer(device, clock() + timedelta(seconds=away)), "GET", PING).status_code == 200

    def test_another_path_query_method_or_body_than_was_signed_is_refused(
        self, client: FlaskClient, device: NewKey, clock: Clock
    ) -> None:
        signer = Signer(device, clock())
        usage = "/partner/v1/usage?from=2026-02-01"
        headers = signer.headers("GET", usage)
        assert refusal(client.get("/partner/v1/usage?from=2026-02-02", headers=headers)) == (401, "signature-invalid")
        assert refusal(client.get(PING, headers=signer.headers("GET", "/other"))) == (401, "signature-invalid")
        assert refusal(client.get(PING, headers=signer.headers("POST", PING))) == (401, "signature-invalid")
        headers = signer.headers("POST", "/partner/v1/feedback", b"{}")
        changed = client.post("/partner/v1/feedback", data=b'{"a": 1}', headers=headers)
        assert refusal(changed) == (401, "digest-mismatch")

    @pytest.mark.parametrize("left_out", ["@method", "@authority", "@path"])
    def test_what_must_be_covered_must_be_covered(
        self, client: FlaskClient, device: NewKey, clock: Clock, left_out: str
    ) -> None:
        covered = tuple(name for name in ("@method", "@authority", "@path") if name != left_out)
        answer = signed(client, Signer(device, clock(), covered=covered), "GET", PING)
        assert refusal(answer) == (401, "signature-incomplete")

    def test_a_body_that_no_digest_covers_is_refused(self, client: FlaskClient, device: NewKey, clock: Clock) -> None:
        headers = Signer(device, clock()).headers("POST", "/partner/v1/feedback")
        answer = client.post("/partner/v1/feedback", data=b"{}", headers=headers)
        assert refusal(answer) == (401, "signature-incomplete")

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"tag": "other"}, "signature-malformed"),
            ({"nonce": "short"}, "signature-incomplete"),
        ],
    )
    def test_a_signature_without_tag_or_nonce_is_refused(
        self, client: FlaskClient, device: NewKey, clock: Clock, changed: dict[str, str], code: str
    ) -> None:
        assert refusal(signed(client, Signer(device, clock(), **changed), "GET", PING)) == (401, code)

    def test_an_unknown_a_revoked_and_a_foreign_key_are_refused(
        self, client: FlaskClient, device: NewKey, clock: Clock, database: Database
    ) -> None:
        other = key_of(database, "acme", clock(), device=True)
        unknown = NewKey("hl_live_00000000000000000000", device.secret)
        assert refusal(signed(client, Signer(unknown, clock()), "GET", PING)) == (401, "signature-key-unknown")
        foreign = NewKey(device.key_id, other.secret)
        assert refusal(signed(client, Signer(foreign, clock()), "GET", PING)) == (401, "signature-invalid")
        with database.session() as session:
            revoke_key(session, device.key_id, clock())
        assert refusal(signed(client, Signer(device, clock()), "GET", PING)) == (401, "signature-key-unknown")

    @pytest.mark.parametrize(
        ("given", "signature"),
        [
            ("", ""),
            ("a=()", "b=:AA==:"),
            ('a=("@method");created=1', "a=:!!!:"),
            ('a=("@method");created=x', "a=:AA==:"),
            ("%%%", "%%%"),
            ('a=("@method";req);created=1;keyid="k";tag="handlens-partner"', "a=:AA==:"),
            ('a=("@status");created=1;keyid="k";tag="handlens-partner"', "a=:AA==:"),
            ("a=1;" * 500, "a=:AA==:"),
            ('a=("\xe9")', "a=:AA==:"),
        ],
    )
    def test_headers_that_are_no_signature_are_refused(self, client: FlaskClient, given: str, signature: str) -> None:
        answer = client.get(PING, headers={"Signature-Input": given, "Signature": signature})
        assert answer.status_code == 401
        assert answer.json["code"].startswith("signature-")

    def test_a_key_that_the_partner_made_itself_is_good(
        self, client: FlaskClient, database: Database, clock: Clock, app: Flask
    ) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )

        from handlens_server.partner.partners import new_device_key

        own = Ed25519PrivateKey.generate()
        public = own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        with database.session() as session:
            made = new_device_key(session, "acme", "live", SCOPES, clock(), public_key=public)
        assert made.secret == ""
        assert signed(client, Signer(NewKey(made.key_id, private), clock()), "GET", PING).status_code == 200


class TestKeys:
    def test_two_keys_of_a_kind_and_mode_work_at_a_time_and_no_third(
        self, client: FlaskClient, database: Database, clock: Clock, key: NewKey
    ) -> None:
        second = key_of(database, "acme", clock())
        assert all(token_of(client, one) for one in (key, second))
        with pytest.raises(PartnerSetupError, match=f"revoke one first.*{key.key_id}"), database.session() as session:
            new_secret_key(session, "acme", "live", SCOPES, clock())
        key_of(database, "acme", clock(), mode="test")
        key_of(database, "acme", clock(), device=True)
        with database.session() as session:
            revoke_key(session, key.key_id, clock())
            new_secret_key(session, "acme", "live", SCOPES, clock())

    def test_no_secret_is_stored(self, client: FlaskClient, database: Database, key: NewKey, device: NewKey) -> None:
        token = token_of(client, key)
        with database.read() as session:
            stored = [one.check for one in session.query(KeyRow)] + [one.token for one in session.query(TokenRow)]
            shown = str(list_keys(session, "acme"))
        for secret in (key.secret, device.secret, token):
            assert secret not in str(stored)
            assert secret not in shown

    def test_a_secret_does_not_show_in_a_keys_text(self, key: NewKey) -> None:
        assert key.secret not in repr(key)


def test_ids_of_keys_say_whether_they_are_live_or_test(database: Database, app: Flask) -> None:
    now = datetime.now(timezone.utc)
    assert key_of(database, "acme", now).key_id.startswith("hl_live_")
    assert key_of(database, "acme", now, mode="test").key_id.startswith("hl_test_")
