"""A decision drawn: as lines of text, and as one HTML page that needs nothing else, for those who edit policies.

The page shows how the object was understood, how the places were shared out, and every candidate: on the left where it
stands, with its score, its value on the common scale and its rank as bars, or why it was left out.

>>> page = draw_page([found.decision for found in result.objects], title="street.jpg")   # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from handlens.decision import Decision, SectionDecision, Verdict
from handlens.errors import OptionsError

__all__ = ["draw_page", "tell_decision", "write_decisions"]

_MOST_LEFT_OUT = 40  # of those left out that are told as text; the page has all
_COLOURS = ("#b4582f", "#2f6fb4", "#3a8a57", "#a87a1f", "#7b4aa8", "#4a8f97", "#a84a6c", "#6b7280")
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#212529;background:#faf9f6;margin:24px auto;max-width:1080px}
h1{font-size:20px}h2{font-size:17px;margin:28px 0 4px}p{margin:4px 0}.faint{color:#666}
table{border-collapse:collapse;width:100%;margin-top:8px}
th{text-align:left;font-weight:600;border-bottom:2px solid #ccc}
td,th{padding:3px 8px 3px 0;vertical-align:top}tr{border-bottom:1px solid #e6e3dc}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.share{display:flex;height:26px;margin:8px 0;border-radius:4px;overflow:hidden}
.share div{color:#fff;font-size:12px;padding:4px 6px;overflow:hidden;white-space:nowrap}
.bar{display:inline-block;height:9px;border-radius:2px;vertical-align:middle}
.out{color:#777}.chance{border:1px solid #a84a6c;color:#a84a6c;border-radius:3px;padding:0 4px;font-size:12px}
"""


def tell_decision(decision: Decision) -> Iterator[str]:
    """The decision as lines of text: sections, then every match, then the best of what was left out."""
    yield _understood(decision)
    yield f"{'section':24}{'share':>7}{'places':>8}{'takers':>8}{'shown':>7}"
    for section in decision.sections:
        counts = f"{section.share:7.0%}{section.places:8}{section.takers:8}{section.shown:7}"
        yield f"{section.rule:24}{counts}{f'  closed: {section.closed}' if section.closed else ''}"
    yield ""
    yield f"{'place':27}{'score':>6}{'value':>7}{'rank':>6}{'alike':>7}  candidate"
    shown = _shown(decision)
    left_out = [one for one in decision.verdicts if not one.section]
    for one in [*shown, *left_out[:_MOST_LEFT_OUT]]:
        yield _row(one)
    if len(left_out) > _MOST_LEFT_OUT:
        yield f"... and {len(left_out) - _MOST_LEFT_OUT} more that were left out"


def draw_page(decisions: Sequence[Decision], *, title: str) -> str:
    """The decisions of one search as an HTML page in UTF-8, one chapter an object."""
    chapters = "".join(_chapter(at, one) for at, one in enumerate(decisions, start=1))
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body><h1>{escape(title)}</h1>{chapters}</body></html>\n"


def write_decisions(decisions: Sequence[Decision], path: Path, *, title: str) -> None:
    """Write the decisions to a file, as a page (.html) or as JSON (.json).

    Raises:
        OptionsError: the name ends otherwise, or the file cannot be written.
    """
    if path.suffix not in (".html", ".json"):
        raise OptionsError(f"{path} is neither .html nor .json: give a file that ends in one of them")
    records = [one.to_dict() for one in decisions]
    page = draw_page(decisions, title=title) if path.suffix == ".html" else json.dumps(records, indent=1) + "\n"
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise OptionsError(f"{path} cannot be written ({error.strerror}): give another file") from error


def _understood(decision: Decision) -> str:
    words = ", ".join(f"{tag} {confidence:.2f}" for tag, confidence in decision.words[:5]) or "no words"
    tried = f" after {', '.join(decision.tried)}" if decision.tried else ""
    chance = "; chance gave some places" if decision.explored else ""
    return (
        f"{decision.object_type} {decision.type_confidence:.2f}, band {decision.band}: {words}; "
        f"layout {decision.layout}{tried}, policy {decision.policy}, at most {decision.limit}{chance}"
    )


def _shown(decision: Decision) -> list[Verdict]:
    order = {section.rule: at for at, section in enumerate(decision.sections)}
    placed = [one for one in decision.verdicts if one.section]
    return sorted(placed, key=lambda one: (order[one.section], one.place))


def _row(one: Verdict) -> str:
    where = f"{one.section} {one.place}" if one.section else "-"
    chance = f" (by chance, {one.propensity:.3f})" if one.explored else ""
    fate = f": {one.left_out}" if one.left_out else chance
    figures = f"{one.score:6.2f}{one.value:7.2f}{one.rank:6.2f}{0.0 - one.penalty:7.2f}"
    return f"{where:27}{figures}  {one.title} ({one.kind}; {one.reason}){fate}"


def _chapter(at: int, decision: Decision) -> str:
    colours = {one.rule: _COLOURS[n % len(_COLOURS)] for n, one in enumerate(decision.sections)}
    rows = [*_shown(decision), *(one for one in decision.verdicts if not one.section)]
    names = ("place", "candidate", "source", "score", "value", "rank", "alike", "what the sections said")
    return (
        f"<h2>{at}. {escape(decision.object_type)}</h2><p class=faint>{escape(_understood(decision))}</p>"
        f"{_shares(decision.sections, colours)}{_sections(decision.sections, colours)}"
        f"<table><tr>{''.join(f'<th>{name}' for name in names)}</tr>"
        f"{''.join(_candidate(one, colours) for one in rows)}</table>"
    )


def _shares(sections: Iterable[SectionDecision], colours: dict[str, str]) -> str:
    parts = (
        f'<div style="flex:{one.share:g};background:{colours[one.rule]}">{escape(one.title)} {one.share:.0%}</div>'
        for one in sections
        if one.share and not one.closed
    )
    return f"<div class=share>{''.join(parts)}</div>"


def _sections(sections: Iterable[SectionDecision], colours: dict[str, str]) -> str:
    rows = "".join(
        f'<tr><td style="color:{colours[one.rule]}">{escape(one.rule)}<td>{escape(one.closed)}'
        f"{_numbers(f'{one.share:.0%}', one.places, one.takers, one.shown)}</tr>"
        for one in sections
    )
    names = "".join(f"<th class=number>{name}" for name in ("share", "places", "takers", "shown"))
    return f"<table><tr><th>section<th>{names}</tr>{rows}</table>"


def _candidate(one: Verdict, colours: dict[str, str]) -> str:
    colour = colours.get(one.section, "#b9b5ac")
    chance = f" <span class=chance>by chance, {one.propensity:.3f}</span>" if one.explored else ""
    where = f"{escape(one.section)} {one.place}{chance}" if one.section else escape(one.left_out)
    said = "; ".join(f"{entry.rule.partition('/')[2]}: {entry.outcome}" for entry in one.considered)
    bars = (f"{_bar(number, colour)} {number:.3f}" for number in (one.value, one.rank))
    return (
        f"<tr{'' if one.section else ' class=out'}><td>{where}"
        f"<td>{escape(one.title)}<br><span class=faint>{escape(one.kind)}; {escape(one.reason)}</span>"
        f"<td>{escape(one.source)}{_numbers(f'{one.score:.3f}', *bars, f'{0.0 - one.penalty:.3f}')}"
        f"<td class=faint>{escape(said)}</tr>"
    )


def _numbers(*values: object) -> str:
    return "".join(f"<td class=number>{value}" for value in values)


def _bar(value: float, colour: str) -> str:
    return f'<span class=bar style="width:{60 * min(max(value, 0.0), 1.0):.0f}px;background:{colour}"></span>'
