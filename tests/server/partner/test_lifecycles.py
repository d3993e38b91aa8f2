"""A version of the contract on its way out says so in every answer, and is refused from its sunset on."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from support.clock import NOON

from handlens.errors import DecodeError
from handlens_server.partner.lifecycles import Lifecycle, lifecycle_headers, read_lifecycles, refuse_gone
from handlens_server.partner.refusals import VersionGoneError
from handlens_server.times import TimeTextError

ENDING = {
    "version": "1",
    "released": "2026-01-01T00:00:00Z",
    "deprecated": "2026-02-01T00:00:00Z",
    "sunset": "2026-03-01T12:00:00Z",
    "link": "https://lens.example.com/v1-ends",
}


def read(**changes: Any) -> Lifecycle:
    return read_lifecycles(json.dumps({"versions": [{**ENDING, **changes}]}))["1"]


def test_the_shipped_versions_can_be_read_and_the_first_is_alive() -> None:
    assert lifecycle_headers(read_lifecycles()["1"]) == {}


def test_a_deprecated_version_says_since_when_and_until_when() -> None:
    assert lifecycle_headers(read()) == {
        "Deprecation": "@1769904000",
        "Sunset": "Sun, 01 Mar 2026 12:00:00 GMT",
        "Link": '<https://lens.example.com/v1-ends>; rel="deprecation"; type="text/html", '
        '<https://lens.example.com/v1-ends>; rel="sunset"; type="text/html"',
    }


def test_without_a_sunset_it_says_only_that_it_is_deprecated() -> None:
    assert lifecycle_headers(read(sunset="", link="")) == {"Deprecation": "@1769904000"}


def test_it_is_refused_from_its_sunset_on_and_not_before() -> None:
    refuse_gone(read(), NOON - timedelta(seconds=1))
    with pytest.raises(VersionGoneError, match="gone since 2026-03-01T12:00:00Z"):
        refuse_gone(read(), NOON)
    refuse_gone(read(sunset=""), NOON)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sunset": "2026-01-15T00:00:00Z"}, DecodeError),
        ({"deprecated": ""}, DecodeError),
        ({"version": 1}, DecodeError),
        ({"sunset": "soon"}, TimeTextError),
    ],
)
def test_versions_that_cannot_be_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read(**changes)
