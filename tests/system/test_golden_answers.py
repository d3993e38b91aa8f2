"""A device and the server give the same answer: 300 cases of photo, policy and packs, over a real HTTP server.

The device runs its whole search; only what it sees in a photo is kept from one case to the next. The server is asked
with the embeddings that the device saw, and for one policy with the photo itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.backend import Backend
from support.paths import CATALOG, MODELS, QUERIES
from support.searching import enrolled, post_photo, post_query, query_of

import handlens.client
from handlens import Lens, Options
from handlens.answering import Look, Seen, look_each
from handlens_server.packs import Rule

PHOTOS = sorted((QUERIES / "images").iterdir())[:20]
ITEMS = [json.loads(line)["item_id"] for line in (CATALOG / "items.jsonl").read_text("utf-8").splitlines()]
PACKS = {
    "all": ("everything",),
    "eaten": ("food",),
    "overlapping": ("living", "food", "tools-and-places"),
}
RULES = {
    "everything": Rule(),
    "food": Rule(types=("food",)),
    "living": Rule(types=("animal", "plant", "food")),
    "tools-and-places": Rule(types=("tool", "place"), kinds=("photo", "article", "how_to")),
}


def shipped(policy: Any) -> Any:
    return policy


def reversed_sections(policy: Any) -> Any:
    return changed(policy, "sections", lambda sections: sections[::-1])


def every_source(policy: Any) -> Any:
    found = changed(policy, "sources", lambda _: ["annotation", "curated", "object", "visual"])
    picks = [{"item_id": one, "types": [], "tags": []} for one in ITEMS[:: len(ITEMS) // 7]]
    return {**changed(found, "min_score", lambda _: 0), "picks": picks}


def scenes_first(policy: Any) -> Any:
    return changed(policy, "sources", lambda sources: ["object", *(one for one in sources if one == "annotation")])


def never_sure(policy: Any) -> Any:
    found = changed(policy, "max_per_group", lambda _: 1)
    bands = [{**band, "from": band["from"] and 0.97 - at / 100} for at, band in enumerate(found["bands"])]
    return {**found, "bands": bands, "gates": {**found["gates"], "annotation": 0.1}}


POLICIES = (shipped, reversed_sections, every_source, scenes_first, never_sure)


def changed(value: Any, name: str, change: Any) -> Any:
    """A policy with each field `name` changed, wherever it stands."""
    if isinstance(value, list):
        return [changed(one, name, change) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: change(changed(one, name, change)) if key == name else changed(one, name, change)
        for key, one in value.items()
    }


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Backend:
    """The backend that made the release of all tests, copied, with four packs."""
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(release.parent / "server", folder / "server")
    shutil.copytree(release.parent / "keys", folder / "keys")
    shutil.copy(release.parent / "root.json", folder / "root.json")
    made = Backend(folder)
    for name, rule in RULES.items():
        made.define(name, rule)
    return made


@pytest.fixture(scope="module")
def url(backend: Backend) -> Iterator[str]:
    with backend.serve() as address:
        yield address


@pytest.fixture(scope="module")
def connection(url: str) -> Iterator[Any]:
    """Posts to the server as an enrolled device."""
    address = urlsplit(url)
    opened = HTTPConnection(address.hostname or "", address.port, timeout=60)
    yield partial(enrolled, opened)
    opened.close()


@pytest.fixture(scope="module", params=POLICIES, ids=[policy.__name__ for policy in POLICIES])
def policy(request: pytest.FixtureRequest, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A release with one of the policies, published; its name."""
    models = tmp_path_factory.mktemp("models") / "models"
    shutil.copytree(MODELS, models)
    made = request.param(json.loads((MODELS / "policy.json").read_text("utf-8")))
    (models / "policy.json").write_text(json.dumps({**made, "version": request.param.__name__}), "utf-8")
    with backend.database() as database:
        return str(backend.publisher.publish(database, models, name=f"golden-{request.param.__name__}").name)


@pytest.fixture(scope="module")
def lenses(backend: Backend, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lens]]:
    """A device for each choice of packs."""
    folder = tmp_path_factory.mktemp("devices")
    opened = {
        name: Lens(Options(data_dir=folder / name, server_url=url, trusted_root=backend.root, packs=packs))
        for name, packs in PACKS.items()
    }
    yield opened
    for lens in opened.values():
        lens.close()


class Remembering:
    """Looks at each photo once: the models are the same in all cases."""

    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[Seen, ...]] = {}
        self.last: tuple[Seen, ...] = ()

    def __call__(self, photo: Any, *rest: Any) -> Iterator[Look]:
        pixels = photo.image.tobytes()
        if pixels not in self.kept:
            self.kept[pixels] = tuple(seen for look in look_each(photo, *rest) for seen in look())
        self.last = self.kept[pixels]
        return iter([lambda: self.last])


@pytest.fixture(scope="module")
def eyes() -> Iterator[Remembering]:
    """What the devices see with; the server has its own."""
    made = Remembering()
    patch = pytest.MonkeyPatch()
    patch.setattr(handlens.client, "look_each", made)
    yield made
    patch.undo()


def told(answer: dict[str, Any]) -> list[Any]:
    """What must be the same: objects with their sections, order and why. How prominent each is, is not asked again."""
    return [{name: value for name, value in found.items() if name != "prominence"} for found in answer["objects"]]


@pytest.mark.parametrize("packs", PACKS)
def test_a_device_and_the_server_answer_alike(
    policy: str, packs: str, lenses: dict[str, Lens], eyes: Remembering, connection: Any
) -> None:
    lens, post = lenses[packs], connection()
    lens.sync(PACKS[packs])
    empty = 0
    for photo in PHOTOS:
        device = lens.search(photo, request_id=photo.stem)
        asked = {"packs": list(PACKS[packs]), "request_id": photo.stem, "locale": "en"}
        server = post_query(post, {**query_of(eyes.last, device.image_size), **asked}, release=policy)
        assert told(server) == told(device.to_dict()), photo.name
        assert (server["policy"], server["release"]) == (device.policy, device.release)
        empty += not any(found.sections for found in device.objects)
        if policy == "golden-every_source":
            assert told(post_photo(post, photo, asked)) == told(device.to_dict()), photo.name
    assert empty == 0
