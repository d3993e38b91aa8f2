"""Deep links by a partner's template, such as ``https://go.acme.example/open?u={link}&i={item_id}``.

Rules:

1. A template is https to a host that stands in it plainly: what is filled in can change neither scheme nor host.
2. Every value is percent-encoded, also ``/`` and ``&``: it fills one place and opens no other.
3. A template that needs the item's link gives none where the item has none. Only https links leave here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from handlens.errors import HandlensError

__all__ = ["PLACES", "TemplateError", "check_template", "deep_link"]

PLACES = ("link", "item_id", "kind", "intent", "surface", "locale", "request_id", "partner")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLAIN = re.compile(r"[!-~]+")


class TemplateError(HandlensError):
    """A link template cannot be used."""


def check_template(template: str) -> None:
    """Refuse a template that could lead elsewhere.

    Raises:
        TemplateError: it is no https address, fills in its host, or names a place that there is not.
    """
    unknown = [name for name in _PLACE.findall(template) if name not in PLACES]
    if unknown or re.search(r"[{}]", _PLACE.sub("", template)):
        raise TemplateError(
            f"link_template may fill in {', '.join(PLACES)}, each in braces; it has {unknown or 'a single brace'}"
        )
    try:
        parts = urlsplit(_PLACE.sub("0", template))
        host = urlsplit(template.partition("{")[0]).hostname
        is_good = parts.scheme == "https" and bool(parts.hostname) and parts.hostname == host and parts.port != 0
    except ValueError:
        is_good = False
    begins = re.match(r"https://[^/?#{}@\\]+[/?#]", template)
    if not is_good or not begins or not _PLAIN.fullmatch(template):
        raise TemplateError(
            "link_template must be https:// to a host, then a path or query; only there may it be filled in"
        )


def deep_link(template: str | None, link: str | None, values: Mapping[str, str]) -> str | None:
    """The link of a result; None where it leads nowhere."""
    own = link if link is not None and link.startswith("https://") else None
    if template is None:
        return own
    if "{link}" in template and own is None:
        return None
    filled = {**values, "link": own or ""}
    return _PLACE.sub(lambda place: quote(filled.get(place[1], ""), safe=""), template)
