"""Which versions of the contract there are, and what an answer says of one that is on its way out.

Rules:

1. The versions are data (``lifecycles.json``): a major version, when it was released, and where it applies since when
   it is deprecated, from when it is gone, and where that is explained.
2. Of a deprecated version every answer, also a refusal, has ``Deprecation`` (RFC 9745: a date of structured fields),
   ``Sunset`` (RFC 8594: an HTTP date) where that is set, and a ``Link`` to what explains it.
3. From its sunset on a version is refused: 410 `version-gone`.

>>> lifecycle_headers(Lifecycle("1", "2026-01-01T00:00:00Z", deprecated="2027-01-01T00:00:00Z"))["Deprecation"]
'@1798761600'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from werkzeug.http import http_date

from handlens.wire.fields import Fields
from handlens_server.partner.refusals import VersionGoneError
from handlens_server.times import parse_time

__all__ = ["Lifecycle", "lifecycle_headers", "read_lifecycles", "refuse_gone"]

_FILE = Path(__file__).parent / "lifecycles.json"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A major version of the contract; times are ISO 8601 in UTC, empty where they are not set."""

    version: str
    released: str
    deprecated: str = ""
    sunset: str = ""
    link: str = ""  # where it is explained

    @classmethod
    def from_dict(cls, values: object) -> Lifecycle:
        """The record in a decoded JSON object.

        Raises:
            DecodeError: a field is missing or of another type. TimeTextError: a time is none.
        """
        fields = Fields(values, what="lifecycle")
        made = cls(
            version=fields.text("version"),
            released=fields.text("released"),
            deprecated=fields.text("deprecated", ""),
            sunset=fields.text("sunset", ""),
            link=fields.text("link", ""),
        )
        for time in (made.released, made.deprecated, made.sunset):
            if time:
                parse_time(time)
        if (made.sunset and not made.deprecated <= made.sunset) or (made.sunset and not made.deprecated):
            raise fields.wrong("sunset", "a time after that of `deprecated`")
        return made


def read_lifecycles(text: str | bytes | None = None) -> Mapping[str, Lifecycle]:
    """The versions by their name: of `text`, or of the file that is shipped.

    Raises:
        DecodeError, TimeTextError: it cannot be read.
    """
    values = json.loads(_FILE.read_bytes() if text is None else text)
    versions = [Lifecycle.from_dict(one) for one in values["versions"]]
    return {one.version: one for one in versions}


def lifecycle_headers(version: Lifecycle) -> dict[str, str]:
    """What every answer of a version says of its end; nothing, where that is not set."""
    if not version.deprecated:
        return {}
    headers = {"Deprecation": f"@{int(parse_time(version.deprecated).timestamp())}"}
    if version.sunset:
        headers["Sunset"] = http_date(parse_time(version.sunset))
    if version.link:
        relations = ["deprecation", *(["sunset"] if version.sunset else [])]
        headers["Link"] = ", ".join(f'<{version.link}>; rel="{one}"; type="text/html"' for one in relations)
    return headers


def refuse_gone(version: Lifecycle, now: datetime) -> None:
    """Refuse a version that is past its sunset.

    Raises:
        VersionGoneError: it is.
    """
    if version.sunset and parse_time(version.sunset) <= now:
        raise VersionGoneError(f"contract version {version.version} is gone since {version.sunset}: use a newer one")
