"""``POST /partner/v1/lens``: from what a camera sends to what it may show.

Rules:

1. The answer is the server's own (`SearchEngine`), narrowed to the partner's audiences and kinds, under its policy.
2. Actions stand in the order of the policy, whose sections are ordered by what people want of such an object; the
   profile may put intents first that a surface is used for.
3. Nothing is fetched: a picture is bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handlens.errors import BoxError
from handlens.geometry import Box
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.guard import Caller
from handlens_server.partner.showing import Shower

if TYPE_CHECKING:
    from handlens.results import Annotation, FoundObject, Match, SearchResult, Section
    from handlens_server.search_requests import SearchRequest, SearchScope

__all__ = ["SURFACE", "intent_of", "lens_answer", "lens_request", "lens_scope"]

SURFACE = "camera"  # where a request names none
_SURE_WORD = 0.25  # below this a word does not name the object
_MOST_WORDS = 50
_BY_NAME = {
    "similar": "similar",
    "closest": "similar",
    "outfits": "looks",
    "care": "how_to",
}
_BY_KIND = {
    "article": "read",
    "how_to": "how_to",
    "idea": "ideas",
    "photo": "similar",
    "place": "place",
    "product": "shop",
    "recipe": "recipes",
}


def lens_request(values: Mapping[str, Any], who: Caller, request_id: str, *, is_crop: bool = False) -> SearchRequest:
    """The search that a checked request asks for; a crop is searched as what it shows, without looking for objects.

    Raises:
        PartnerError: it asks for what the profile does not allow, or a box is none (422).
    """
    from handlens.geometry import WHOLE
    from handlens.wire.fields import Fields
    from handlens_server.search_requests import SearchRequest

    objects = values.get("objects", [])
    for at, one in enumerate(objects):
        _box(one.get("box"), f"/objects/{at}/box")
    limit, deadline = values.get("max_results"), values.get("deadline_ms")
    return SearchRequest(
        request_id=request_id,
        limit=None if limit is None else int(limit),
        refine=values.get("refine"),
        locale=_locale(values.get("locale"), who),
        deadline_ms=None if deadline is None else float(deadline),
        packs=(),
        space=values.get("space", ""),
        box=WHOLE if is_crop else _box(values.get("crop_area"), "/crop_area"),
        image_size=(0, 0),
        objects=tuple(Fields(one, what=f"objects[{at}]") for at, one in enumerate(objects)),
        kinds=_kinds(values.get("kinds", ()), who),
    )


def lens_scope(who: Caller, surface: str) -> SearchScope:
    """Whom the answer is for."""
    from handlens_server.search_requests import SearchScope

    profile = who.profile
    name = f"{who.partner_id} {surface} {profile.digest}"
    return SearchScope(name, profile.own_audience, profile.audiences, profile.policy_for(surface))


def lens_answer(result: SearchResult, shower: Shower, surface: str, *, with_why: bool) -> dict[str, Any]:
    """The part of the answer that tells what was found."""
    first = shower.who.profile.first_intents(surface)
    return {
        "tags": [_tag(found, at, shower, first, with_why) for at, found in enumerate(result.objects)],
        "degraded": bool(result.left_out),
        "left_out": [one.to_dict() for one in result.left_out],
        "served": {"release": result.release, "policy": result.policy, "as_of": result.as_of},
    }


def intent_of(section: Section) -> str:
    """What somebody who opens the section wants."""
    if section.name in _BY_NAME:
        return _BY_NAME[section.name]
    counts = Counter(_BY_KIND.get(match.kind, "similar") for match in section.matches)
    return max(counts, key=lambda intent: (counts[intent], intent))


def _tag(found: FoundObject, at: int, shower: Shower, first: Sequence[str], with_why: bool) -> dict[str, Any]:
    words = [note for note in found.annotations if note.confidence >= _SURE_WORD]
    actions = [_action(section, shower, with_why) for section in found.sections]
    ranks = {intent: rank for rank, intent in enumerate(first)}
    return {
        "tag_id": f"t{at}",
        "object": words[0].tag if words else found.region.label or "",
        "type": found.type,
        "type_confidence": round(found.understanding.type_confidence, 4),
        "box": [round(edge, 6) for edge in found.box.to_list()],
        "confidence": round(found.region.score, 4),
        "main": found.region.is_main,
        "labels": [
            {"label": one.tag, "confidence": round(one.confidence, 4)} for one in found.annotations[:_MOST_WORDS]
        ],
        "colours": [{"name": one.name, "share": one.share} for one in found.colours],
        "actions": sorted(actions, key=lambda action: ranks.get(action["intent"], len(ranks))),
    }


def _label(note: Annotation) -> dict[str, Any]:
    return {"label": note.tag, "confidence": round(note.confidence, 4)}


def _action(section: Section, shower: Shower, with_why: bool) -> dict[str, Any]:
    intent = intent_of(section)
    results = [_result(match, shower, intent, with_why) for match in section.matches]
    return {"intent": intent, "title": section.title, "results": results}


def _result(match: Match, shower: Shower, intent: str, with_why: bool) -> dict[str, Any]:
    shown = {**shower.common(match.item, intent), "score": round(match.score, 4)}
    if with_why:
        why = match.why
        shown["why"] = {"source": why.source, "reason": why.reason, "rule": why.rule, "policy": why.policy}
    return shown


def _box(edges: Any, pointer: str) -> Box | None:
    try:
        return None if edges is None else Box.from_list(edges)
    except BoxError as error:
        raise PartnerError(422, "box-invalid", f"{pointer}: left must be below right, and top below bottom") from error


def _locale(asked: str | None, who: Caller) -> str | None:
    allowed = who.profile.locales
    if asked is None:
        return allowed[0] if allowed else None
    if allowed and not any(asked == one or asked.startswith(f"{one}-") for one in allowed):
        raise PartnerError(422, "locale-not-allowed", f"the profile allows {', '.join(allowed)}")
    return asked


def _kinds(asked: Sequence[str], who: Caller) -> tuple[str, ...]:
    refused = [kind for kind in asked if not who.profile.shows_kind(kind)]
    if refused:
        raise PartnerError(422, "kind-not-allowed", f"the profile does not allow {', '.join(refused)}")
    return tuple(asked) or who.profile.kinds
