"""The contract: well formed, tight, told to everybody, and never broken for who works with a released one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from handlens_server.partner.breaking import breaking_changes, last_released
from handlens_server.partner.contract_file import CONTRACT_PATH, Contract, contract, read_contract

Document = dict[str, Any]
Change = Callable[[Document], Any]


def schemas(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below, with its place."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str | list):
            yield place, value
        for name, one in value.items():
            if name not in ("example", "examples", "default"):
                yield from schemas(one, f"{place}/{name}")
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from schemas(one, f"{place}/{at}")


def of_requests() -> Iterator[tuple[str, dict[str, Any]]]:
    document = contract().document
    names = ("LensRequest", "LensForm", "LensOptions", "FeedbackRequest", "BatchRequest", "TokenRequest", "OwnItem")
    for name in (*names, "SeenObject", "SeenColour", "FeedbackEvent"):
        yield from schemas(document["components"]["schemas"][name], name)


class TestForm:
    def test_is_openapi_3_1(self) -> None:
        validate(dict(contract().document))
        assert contract().document["openapi"].startswith("3.1.")

    def test_every_object_of_a_request_is_closed(self) -> None:
        for place, schema in of_requests():
            if schema["type"] == "object":
                assert "additionalProperties" in schema, place

    def test_everything_in_a_request_is_bounded(self) -> None:
        for place, schema in of_requests():
            kinds = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "number": "maximum"}
            bound = kinds.get(str(schema["type"]))
            is_bounded = bound is None or bound in schema or "enum" in schema or "const" in schema
            is_bytes = "contentMediaType" in schema  # a file of a form: the body's bound is its own
            assert is_bounded or is_bytes, place

    def test_every_operation_names_its_problems(self) -> None:
        document = contract().document
        for operation in contract().operations.values():
            responses = document["paths"][operation.path][operation.method.lower()]["responses"]
            assert {"400", "429", "500", "503"} <= responses.keys(), operation.operation_id
            if document["paths"][operation.path][operation.method.lower()].get("security"):
                wanted = {"401"} if operation.operation_id == "createToken" else {"401", "403"}
                assert wanted <= responses.keys(), operation.operation_id

    def test_every_write_needs_a_key(self) -> None:
        for name in ("sendFeedback", "putBatch", "resetSandbox"):
            operation = contract().operations[name]
            assert any(one["name"] == "Idempotency-Key" and one["required"] for one in operation.parameters)

    def test_every_example_of_a_request_is_good(self) -> None:
        document = contract().document
        for operation in contract().operations.values():
            body = document["paths"][operation.path][operation.method.lower()].get("requestBody", {})
            for kind, content in body.get("content", {}).items():
                for name, example in content.get("examples", {}).items():
                    faults = list(contract().validator(operation.bodies[kind]).iter_errors(example["value"]))
                    assert not faults, (operation.operation_id, name, faults)


class TestServed:
    def test_as_json_that_a_client_may_keep(self, client: FlaskClient) -> None:
        answer = client.get("/partner/v1/openapi.json")
        assert answer.json == json.loads(contract().text)
        again = client.get("/partner/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304

    def test_as_a_page_that_loads_nothing_from_elsewhere(self, client: FlaskClient) -> None:
        answer = client.get("/partner/v1/docs")
        page = answer.get_data(as_text=True)
        assert "http://" not in page
        assert "https://" not in page
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "begin.js", "favicon-32x32.png"):
            assert f"docs/{name}" in page
            asset = client.get(f"/partner/v1/docs/{name}")
            assert asset.status_code == 200
            assert asset.headers["X-Content-Type-Options"] == "nosniff"

    def test_no_other_file_of_the_package_is_served(self, client: FlaskClient) -> None:
        for name in ("swagger-ui.js", "index.html", "..%2f..%2fetc%2fpasswd", "..%5cx"):
            assert client.get(f"/partner/v1/docs/{name}").status_code == 404


def at(document: Document, *path: Any) -> Any:
    for name in path:
        document = document[name]
    return document


LENS = ("paths", "/partner/v1/lens", "post")
REQUEST = ("components", "schemas", "LensRequest")
ANSWER = ("components", "schemas", "LensAnswer")


def breaks(change: Change) -> list[str]:
    """What the checker says to a changed contract with a higher version."""
    document = copy.deepcopy(json.loads(contract().text))
    document["info"]["version"] = "9.0.0"
    change(document)
    return breaking_changes(contract(), Contract(document))


BREAKING: dict[str, Change] = {
    "an operation is gone": lambda d: d["paths"].pop("/partner/v1/usage"),
    "an operation has another path": lambda d: d["paths"].update(
        {"/partner/v1/use": d["paths"].pop("/partner/v1/usage")}
    ),
    "a parameter is gone": lambda d: at(d, "paths", "/partner/v1/usage", "get", "parameters").pop(0),
    "a parameter is required": lambda d: at(d, "paths", "/partner/v1/usage", "get", "parameters", 0).update(
        required=True
    ),
    "a parameter has a lower bound": lambda d: at(
        d, "paths", "/partner/v1/catalog/batches", "get", "parameters", 0, "schema"
    ).update(maximum=50),
    "a field of a request is required": lambda d: at(d, *REQUEST).update(required=["locale"]),
    "a field of a request is gone": lambda d: at(d, *REQUEST, "properties").pop("refine"),
    "a text of a request may be less long": lambda d: at(d, *REQUEST, "properties", "refine").update(maxLength=10),
    "a text of a request has a pattern": lambda d: at(d, *REQUEST, "properties", "refine").update(pattern="^a"),
    "a list of a request may hold less": lambda d: at(d, *REQUEST, "properties", "objects").update(maxItems=4),
    "a number of a request begins higher": lambda d: at(d, *REQUEST, "properties", "deadline_ms").update(minimum=50),
    "a word of a request is not allowed any more": lambda d: at(d, "components", "schemas", "Surface", "enum").pop(),
    "a field of a request has another type": lambda d: at(d, *REQUEST, "properties", "why").update(type="string"),
    "a form of a request is gone": lambda d: at(d, *REQUEST, "oneOf").pop(),
    "a field of a request needs another": lambda d: at(d, *REQUEST, "dependentRequired").update(locale=["surface"]),
    "a nested field of a request is required": lambda d: at(d, "components", "schemas", "SeenObject").update(
        required=["embedding", "label"]
    ),
    "a type of body is gone": lambda d: at(d, *LENS, "requestBody", "content").pop("multipart/form-data"),
    "a field of an answer is gone": lambda d: at(d, "components", "schemas", "Tag", "properties").pop("colours"),
    "a field of an answer may be missing": lambda d: at(d, *ANSWER, "required").remove("degraded"),
    "a field of an answer may be null": lambda d: at(d, *ANSWER, "properties", "degraded").update(
        type=["boolean", "null"]
    ),
    "a number of an answer may be larger": lambda d: at(d, "components", "schemas", "Fraction").update(maximum=100),
    "a list of an answer may hold more": lambda d: at(d, *ANSWER, "properties", "tags").update(maxItems=100),
    "a word of an answer is new": lambda d: at(d, "components", "schemas", "Mode", "enum").append("trial"),
    "a successful status is new": lambda d: at(d, *LENS, "responses").update({"202": at(d, *LENS, "responses", "200")}),
    "a successful status is gone": lambda d: at(
        d, "paths", "/partner/v1/catalog/batches/{batch_id}", "put", "responses"
    ).pop("201"),
    "a type of answer is gone": lambda d: at(d, *LENS, "responses", "200", "content").clear(),
    "a link is gone": lambda d: at(d, *LENS, "responses", "200", "links").pop("getItem"),
    "a problem's code is gone": lambda d: at(d, "components", "responses", "Forbidden", "x-problem-codes").pop(),
    "a header is not promised any more": lambda d: at(d, "components", "headers", "X-Request-Id").pop("required"),
    "another scope is needed": lambda d: at(d, *LENS, "security", 0).update(oauth2=["lens", "usage:read"]),
    "a way of access is gone": lambda d: at(d, *LENS, "security").pop(),
    "a body is required": lambda d: at(d, "paths", "/partner/v1/sandbox/reset", "post").update(
        requestBody={"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    ),
}

FINE: dict[str, Change] = {
    "nothing": lambda d: None,
    "a new operation": lambda d: d["paths"].update(
        {"/partner/v1/new": {"get": {"operationId": "new", "responses": {"200": {"description": "new"}}}}}
    ),
    "a new field of a request": lambda d: at(d, *REQUEST, "properties").update(mood={"type": "string", "maxLength": 9}),
    "a new parameter": lambda d: at(d, "paths", "/partner/v1/usage", "get", "parameters").append(
        {"name": "group", "in": "query", "schema": {"type": "string", "maxLength": 9}}
    ),
    "a longer text of a request": lambda d: at(d, *REQUEST, "properties", "refine").update(maxLength=2000),
    "a new word of a request": lambda d: at(d, "components", "schemas", "Surface", "enum").append("wallpaper"),
    "a new form of a request": lambda d: at(d, *REQUEST, "oneOf").append({"required": ["refine"]}),
    "a new field of an answer": lambda d: at(d, *ANSWER, "properties").update(mood={"type": "string"}),
    "a new promise of an answer": lambda d: at(d, "components", "schemas", "Result", "required").append("why"),
    "a tighter bound of an answer": lambda d: at(d, *ANSWER, "properties", "tags").update(maxItems=4),
    "a new problem": lambda d: at(d, *LENS, "responses").update({"451": at(d, *LENS, "responses", "403")}),
    "a new code": lambda d: at(d, "components", "responses", "Forbidden", "x-problem-codes").append("new-code"),
    "another way of access": lambda d: at(d, *LENS, "security").append({"clientBasic": []}),
    "other words for people": lambda d: at(d, *REQUEST, "properties", "why").update(description="Other words."),
}


class TestBreaking:
    @pytest.mark.parametrize("change", list(BREAKING.values()), ids=list(BREAKING))
    def test_what_breaks_a_partner_is_found(self, change: Change) -> None:
        assert breaks(change)

    @pytest.mark.parametrize("change", list(FINE.values()), ids=list(FINE))
    def test_what_breaks_nobody_passes(self, change: Change) -> None:
        assert breaks(change) == []

    def test_a_change_needs_a_higher_version(self) -> None:
        document = copy.deepcopy(json.loads(contract().text))
        document["info"]["summary"] = "Other words."
        (fault,) = breaking_changes(contract(), Contract(document))
        assert "give it a higher version" in fault

    def test_the_present_contract_breaks_nothing_of_the_released_one(self) -> None:
        assert breaking_changes(read_contract(last_released()), contract()) == []

    def test_every_released_contract_is_kept(self) -> None:
        versions = [read_contract(path).version for path in (CONTRACT_PATH.parent / "released").glob("v*.yaml")]
        assert versions
        assert all((CONTRACT_PATH.parent / "released" / f"v{version}.yaml").exists() for version in versions)
