"""``POST /v1/search``: what it answers, what it refuses, and that it follows the catalogue and the releases."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select
from support.backend import Backend
from support.paths import CATALOG, QUERIES
from support.searching import SPACE, multipart

from handlens.errors import HandlensError
from handlens.wire.pack import decode_codes
from handlens_server.app import create_app
from handlens_server.catalogue import restore_items, withdraw_items
from handlens_server.full_index import FullIndex
from handlens_server.index_choice import open_full_index
from handlens_server.local_index import LocalIndex
from handlens_server.packs import Rule
from handlens_server.tables import EmbeddingRow, ItemRow

TAJ = QUERIES / "images" / "taj-mahal.jpg"
DIM = 128


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Backend:
    """A copy of the backend that made the release of all tests."""
    folder = tmp_path_factory.mktemp("backend")
    for name in ("server", "keys"):
        shutil.copytree(release.parent / name, folder / name)
    shutil.copy(release.parent / "root.json", folder / "root.json")
    return Backend(folder, search_poll_ms=20, search_pixels=3_000_000)


@pytest.fixture(scope="module")
def client(backend: Backend) -> Iterator[FlaskClient]:
    app = create_app(backend.config)
    made = app.test_client()
    device = {"device_id": "00000000-0000-4000-8000-000000000001"}
    token = made.post("/v1/devices", json=device).json["token"]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    yield made
    app.extensions["handlens"].close()


def embedding_of(backend: Backend, item_id: str) -> str:
    """The code of the whole picture of an item, in base64."""
    query = select(EmbeddingRow.codes).join(ItemRow, ItemRow.picture == EmbeddingRow.picture)
    with backend.database() as database, database.read() as session:
        codes = session.scalars(query.where(ItemRow.item_id == item_id)).one()
    return base64.b64encode(codes[:DIM]).decode()


@pytest.fixture(scope="module")
def code(backend: Backend) -> str:
    return embedding_of(backend, shown())


def shown() -> str:
    """An item of the small catalogue with a photograph."""
    lines = (CATALOG / "items.jsonl").read_text("utf-8").splitlines()
    return str(next(item["item_id"] for item in map(json.loads, lines) if item.get("image")))


def query(embedding: Any, **more: Any) -> dict[str, Any]:
    fields = {name: more.pop(name) for name in ("label", "label_scores", "box", "score", "colours") if name in more}
    return {"space": SPACE, "objects": [{"embedding": embedding, **fields}], **more}


def coloured(count: int = 1, **wrong: Any) -> dict[str, Any]:
    """A query whose object has a colour so often."""
    return query([1.0] * DIM, colours=[{"name": "red", "share": 0.05, "rgb": [1, 2, 3], **wrong}] * count)


def asked(client: FlaskClient, body: Any) -> dict[str, Any]:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def items(answer: dict[str, Any]) -> list[str]:
    return [
        match["item_id"] for found in answer["objects"] for section in found["sections"] for match in section["matches"]
    ]


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what the server takes over behind the searches."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


class TestAnswers:
    def test_a_photo_gets_sections_with_their_reasons(self, client: FlaskClient) -> None:
        body, kind = multipart(TAJ.read_bytes(), {"request_id": "r1", "limit": 5})
        answer = client.post("/v1/search", data=body, content_type=kind).json
        assert (answer["request_id"], answer["served_by"], answer["image_size"][0] > 0) == ("r1", "server", True)
        main = answer["objects"][0]
        assert main["type"] == "place"
        assert 1 <= len(items(answer)) <= 5 * len(answer["objects"])
        assert all(match["why"]["reason"] for section in main["sections"] for match in section["matches"])

    def test_a_code_and_a_list_of_numbers_are_the_same_embedding(self, client: FlaskClient, code: str) -> None:
        numbers = decode_codes(np.frombuffer(base64.b64decode(code), np.int8)[None])[0].tolist()
        answers = [asked(client, query(one, request_id="r")) for one in (code, numbers, [3 * one for one in numbers])]
        assert answers[0]["objects"] == answers[1]["objects"] == answers[2]["objects"]
        assert shown() in items(answers[0])

    def test_the_words_and_the_box_of_the_device_come_back(self, client: FlaskClient, code: str) -> None:
        answer = asked(client, query(code, label="orange", score=0.5, box=[0.1, 0.2, 0.5, 0.6], image_size=[640, 480]))
        (found,) = answer["objects"]
        assert (found["label"], found["score"], found["box"]) == ("orange", 0.5, [0.1, 0.2, 0.5, 0.6])
        assert (found["found_by"], answer["image_size"]) == ("detector", [640, 480])

    def test_a_pack_narrows_the_answer(self, client: FlaskClient, backend: Backend, code: str) -> None:
        backend.define("recipes", Rule(kinds=("recipe",)))
        body = query(code, packs=["recipes"], refine="cake")
        eventually(lambda: client.post("/v1/search", json=body).status_code == 200)
        answer = asked(client, body)
        assert answer["packs"] == ["recipes"]
        assert answer["coverage"]["held"] == 1 < answer["coverage"]["known"]
        kinds = {match["kind"] for found in answer["objects"] for one in found["sections"] for match in one["matches"]}
        assert kinds == {"recipe"}

    @pytest.mark.parametrize("text", ['" OR 1', "tags:*", "NEAR(a b)", "a AND (b", "'; DROP TABLE items; --", "\x00🍊"])
    def test_what_the_user_types_is_never_a_search_command(self, client: FlaskClient, code: str, text: str) -> None:
        assert shown() in items(asked(client, query(code, refine=text)))

    def test_after_the_deadline_no_source_is_asked_but_the_first_and_the_others_are_named(
        self, client: FlaskClient, code: str
    ) -> None:
        asked(client, query(code))  # the index is open from here on
        answer = asked(client, query(code, deadline_ms=0.001))
        assert {one["source"] for one in answer["left_out"]} == {"object", "curated", "annotation"}
        assert all(one["late"] and "0.001 ms" in one["reason"] for one in answer["left_out"])
        assert answer["can_improve"]
        assert shown() in items(answer)

    def test_a_photo_whose_deadline_is_over_is_searched_as_a_whole_and_the_detector_is_named(
        self, client: FlaskClient, code: str
    ) -> None:
        asked(client, query(code))  # the index is open from here on
        body, kind = multipart(TAJ.read_bytes(), {"deadline_ms": 0.001})
        answer = client.post("/v1/search", data=body, content_type=kind).json
        (found,) = answer["objects"]
        assert (found["found_by"], found["main"], found["sections"] != []) == ("whole", True, True)
        assert "detector" in {one["source"] for one in answer["left_out"] if one["late"]}
        assert "detect" not in answer["timings_ms"]

    def test_a_photo_with_time_enough_is_answered_as_one_without_a_deadline(self, client: FlaskClient) -> None:
        answers = [
            client.post("/v1/search", data=body, content_type=kind).json
            for body, kind in (
                multipart(TAJ.read_bytes(), {"request_id": "r", **more}) for more in ({}, {"deadline_ms": 60_000})
            )
        ]
        assert answers[0]["objects"] == answers[1]["objects"]
        assert answers[1]["left_out"] == []


REFUSED: list[tuple[str, Any, int, str]] = [
    ("no JSON", "nonsense", 400, "malformed-request"),
    ("no object", [1], 400, "malformed-request"),
    ("a newer format", {"format": 2}, 400, "malformed-request"),
    ("nothing", {}, 422, "nothing-to-search"),
    ("no space", {"objects": [{"embedding": "AAAA"}]}, 422, "embedding-space-unknown"),
    ("another embedder", {**query([1.0] * DIM), "space": "other-e1"}, 422, "embedding-space-unknown"),
    ("a short embedding", query([1.0] * 127), 422, "embedding-unusable"),
    ("a long code", query(base64.b64encode(b"\1" * 129).decode()), 422, "embedding-unusable"),
    ("an empty embedding", query([]), 422, "embedding-unusable"),
    ("zeros", query([0.0] * DIM), 422, "embedding-unusable"),
    ("a code of zeros", query(base64.b64encode(b"\0" * DIM).decode()), 422, "embedding-unusable"),
    ("NaN", query([math.nan] * DIM), 422, "embedding-unusable"),
    ("infinity", query([math.inf] + [0.0] * 127), 422, "embedding-unusable"),
    ("a huge number", query([1e300] * DIM), 422, "embedding-unusable"),
    ("a huge whole number", query([10**400] + [1] * 127), 422, "embedding-unusable"),
    ("text among numbers", query(["1"] * DIM), 400, "malformed-request"),
    ("true among numbers", query([True] * DIM), 400, "malformed-request"),
    ("no base64", query("%%%"), 400, "malformed-request"),
    ("no embedding", {"space": SPACE, "objects": [{}]}, 400, "malformed-request"),
    ("an unknown label", query([1.0] * DIM, label="no such label"), 422, "label-unknown"),
    ("an unknown class", query([1.0] * DIM, label_scores=[["no such label", 0.5]]), 422, "label-unknown"),
    ("a probability above 1", query([1.0] * DIM, label_scores=[["lemon", 1.5]]), 400, "malformed-request"),
    (
        "a colour of no name",
        coloured(name="mauve"),
        400,
        "malformed-request",
    ),
    (
        "a colour that is none",
        coloured(rgb=[1, 2]),
        400,
        "malformed-request",
    ),
    (
        "more than the whole",
        coloured(share=2),
        400,
        "malformed-request",
    ),
    (
        "colours without end",
        coloured(12),
        400,
        "malformed-request",
    ),
    ("labels that are no pairs", query([1.0] * DIM, label_scores=[["lemon"]]), 400, "malformed-request"),
    ("an inverted box", query([1.0] * DIM, box=[0.9, 0.1, 0.2, 0.5]), 400, "malformed-request"),
    ("a box outside", query([1.0] * DIM, box=[0.1, 0.1, 2, 0.5]), 400, "malformed-request"),
    ("10 KB of refine", query([1.0] * DIM, refine="red " * 2560), 422, "refine-too-long"),
    ("a limit of 0", query([1.0] * DIM, limit=0), 400, "malformed-request"),
    ("a limit of a million", query([1.0] * DIM, limit=10**6), 400, "malformed-request"),
    ("a deadline of 0", query([1.0] * DIM, deadline_ms=0), 400, "malformed-request"),
    ("a locale that is none", query([1.0] * DIM, locale="'; DROP"), 400, "malformed-request"),
    ("an unknown pack", query([1.0] * DIM, packs=["nope"]), 422, "pack-unknown"),
    ("nine objects", {"space": SPACE, "objects": [{"embedding": [1.0] * DIM}] * 9}, 422, "too-many-objects"),
    ("a request id with a line break", query([1.0] * DIM, request_id="a\nb"), 400, "malformed-request"),
    ("half a megabyte", query([1.0] * DIM, image_size="x" * 500_000), 413, "request-entity-too-large"),
]


class TestRefusals:
    @pytest.mark.parametrize(("body", "status", "told"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
    def test_a_query_that_cannot_be_served_is_a_problem_with_its_code(
        self, client: FlaskClient, body: Any, status: int, told: str
    ) -> None:
        answer = client.post("/v1/search", data=json.dumps(body), content_type="application/json")
        assert (answer.status_code, answer.json["code"]) == (status, told), answer.text
        assert answer.content_type == "application/problem+json"
        assert not answer.json["retryable"]
        assert len(answer.json["detail"]) < 400

    @pytest.mark.parametrize(
        ("photo", "status", "told"),
        [
            (b"", 422, "photo-unusable"),
            (b"no image", 422, "photo-unusable"),
            (b"\xff\xd8\xff\xe0 cut short", 422, "photo-unusable"),
        ],
    )
    def test_a_photo_that_cannot_be_used_is_told(
        self, client: FlaskClient, photo: bytes, status: int, told: str
    ) -> None:
        body, kind = multipart(photo, {})
        answer = client.post("/v1/search", data=body, content_type=kind)
        assert (answer.status_code, answer.json["code"]) == (status, told)

    @pytest.mark.parametrize("side", [2000, 10_000, 14_000])
    def test_a_photo_with_too_many_pixels_is_refused_before_it_is_decoded(self, client: FlaskClient, side: int) -> None:
        file = io.BytesIO()
        Image.new("1", (side, side)).save(file, "PNG")
        body, kind = multipart(file.getvalue(), {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            answer = client.post("/v1/search", data=body, content_type=kind)
        assert (answer.status_code, answer.json["code"]) == (413, "photo-too-large")

    def test_a_body_beyond_the_limit_is_refused(self, client: FlaskClient) -> None:
        body, kind = multipart(b"\xff" * 6_000_000, {})
        assert client.post("/v1/search", data=body, content_type=kind).status_code == 413

    def test_a_form_without_a_photo_is_told(self, client: FlaskClient) -> None:
        answer = client.post("/v1/search", data={"query": "{}"}, content_type="multipart/form-data")
        assert (answer.status_code, answer.json["code"]) == (422, "nothing-to-search")


def test_the_colours_that_a_device_saw_come_back(client: FlaskClient, code: str) -> None:
    seen = [{"name": "red", "share": 0.7, "rgb": [200, 20, 30]}]
    found = asked(client, query(code, colours=seen))["objects"][0]
    assert (found["colours"], found["main"]) == (seen, True)


def broken(*_: Any, **__: Any) -> Any:
    raise IndexDownError("connection to 10.1.2.3 refused")


class IndexDownError(HandlensError):
    """The index of this test is down."""


class TestTheIndexIsDown:
    def test_other_sources_answer_and_the_answer_says_so(
        self, client: FlaskClient, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked(client, query(code))
        monkeypatch.setattr(LocalIndex, "search", broken)
        answer = asked(client, query(code, label="orange", score=0.9, label_scores=[["orange", 0.9]]))
        assert {one["source"] for one in answer["left_out"]} == {"visual", "object"}
        assert not any(one["late"] or "10.1.2.3" in one["reason"] for one in answer["left_out"])
        assert items(answer)

    def test_when_nothing_else_answers_the_server_asks_to_try_later(
        self, client: FlaskClient, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked(client, query(code))
        monkeypatch.setattr(LocalIndex, "search", broken)
        answer = client.post("/v1/search", json=query(code))
        assert (answer.status_code, answer.json["code"]) == (503, "search-unavailable")
        assert answer.json["retryable"]
        assert int(answer.headers["Retry-After"]) > 0
        assert "10.1.2.3" not in answer.text


class TestFollowing:
    def test_what_is_withdrawn_is_gone_and_comes_back_when_it_is_restored(
        self, client: FlaskClient, backend: Backend, code: str
    ) -> None:
        assert shown() in items(asked(client, query(code)))
        for change, is_there in ((withdraw_items, False), (restore_items, True)):
            with backend.database() as database, database.session() as session:
                change(session, [shown()])
            eventually(partial(is_answered, client, code, is_there))

    def test_a_new_policy_is_answered_by_when_it_is_published(
        self, client: FlaskClient, backend: Backend, code: str
    ) -> None:
        assert asked(client, query(code))["release"] == "test-1"
        backend.publish(name="test-2")
        eventually(lambda: asked(client, query(code))["release"] == "test-2")

    def test_a_restart_answers_as_before_and_derived_files_may_be_deleted(
        self, client: FlaskClient, backend: Backend, code: str
    ) -> None:
        before = asked(client, query(code, request_id="r"))["objects"]
        for prepare in (lambda: None, lambda: shutil.rmtree(backend.config.data_dir / "search"), damage(backend)):
            client.application.extensions["handlens"].close()
            prepare()
            app = create_app(backend.config)
            try:
                again = app.test_client()
                again.environ_base.update(client.environ_base)
                assert asked(again, query(code, request_id="r"))["objects"] == before
            finally:
                app.extensions["handlens"].close()

    def test_before_anything_is_published_searches_are_told_to_wait(self, tmp_path: Path) -> None:
        made = Backend(tmp_path, search_wait_seconds=0)
        with made.database():
            pass
        app = create_app(made.config)
        try:
            client = app.test_client()
            token = client.post("/v1/devices", json={"device_id": "00000000-0000-4000-8000-000000000002"}).json["token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.post("/v1/search", json=query([1.0] * DIM), headers=headers)
            assert (answer.status_code, answer.json["code"]) == (503, "search-unavailable")
        finally:
            app.extensions["handlens"].close()

    def test_nobody_is_answered_from_an_index_that_another_process_still_fills(
        self, client: FlaskClient, backend: Backend, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filling: list[FilledByAnother] = []

        def opened(*given: Any, **named: Any) -> FilledByAnother:
            filling.append(FilledByAnother(open_full_index(*given, **named)))
            return filling[-1]

        monkeypatch.setattr("handlens_server.search_engine.open_full_index", opened)
        app = create_app(replace(backend.config, search_wait_seconds=0))
        try:
            waiting = app.test_client()
            waiting.environ_base.update(client.environ_base)
            for _ in range(10):
                answer = waiting.post("/v1/search", json=query(code))
                assert (answer.status_code, answer.json["code"]) == (503, "search-unavailable")
                time.sleep(0.05)
            assert len(filling) == 1  # it is waited for, not opened again and again
            filling[0].is_whole = True
            eventually(lambda: waiting.post("/v1/search", json=query(code)).status_code == 200)
            assert shown() in items(asked(waiting, query(code)))
        finally:
            app.extensions["handlens"].close()

    def test_who_has_a_deadline_waits_no_longer_than_that_for_the_index(
        self, client: FlaskClient, backend: Backend, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def opened(*given: Any, **named: Any) -> FilledByAnother:
            return FilledByAnother(open_full_index(*given, **named))

        monkeypatch.setattr("handlens_server.search_engine.open_full_index", opened)
        app = create_app(replace(backend.config, search_wait_seconds=600))
        try:
            waiting = app.test_client()
            waiting.environ_base.update(client.environ_base)
            assert waiting.post("/v1/search", json=query(code, deadline_ms=50)).status_code == 503
        finally:
            app.extensions["handlens"].close()

    def test_nothing_is_opened_before_somebody_searches(self, backend: Backend) -> None:
        app = create_app(backend.config)
        assert app.test_client().get("/healthz").status_code == 200
        assert not app.extensions["handlens"].searching.is_open
        app.extensions["handlens"].close()


class FilledByAnother:
    """A shared index: what is in it so far another process put there."""

    def __init__(self, index: FullIndex) -> None:
        self._index = index
        self.is_whole = False

    def refresh(self, session: Any) -> int:
        return self._index.refresh(session) if self.is_whole else 0

    @property
    def sequence(self) -> int:
        return self._index.sequence if self.is_whole else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


def is_answered(client: FlaskClient, code: str, is_there: bool) -> bool:
    return (shown() in items(asked(client, query(code)))) is is_there


def damage(backend: Backend) -> Callable[[], None]:
    def write() -> None:
        (store,) = (backend.config.data_dir / "search").glob("*/store.db")
        for extra in store.parent.glob("store.db-*"):
            extra.unlink()
        store.write_bytes(b"not a database" * 1000)

    return write
