"""Pages: each batch once, in order, also while new ones come."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from handlens.partner.checking import Check, check
from handlens.partner.exchange import Answer
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.outcomes import FailedError
from handlens.partner.probe import Probe

__all__ = ["CHECKS"]

_CLAUSE = "Contract, listBatches"
_MOST_PAGES = 500


def _page(probe: Probe, limit: int, cursor: str | None) -> Answer:
    query = f"limit={limit}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
    return expect_status(probe.call("listBatches", query=query), 200, what="a page of batches")


def _walk(probe: Probe, limit: int, cursor: str | None = None) -> list[dict[str, Any]]:
    """Every batch from a cursor on, page by page."""
    found: list[dict[str, Any]] = []
    for _ in range(_MOST_PAGES):
        page = _page(probe, limit, cursor).json()
        expect(len(page["batches"]) <= limit, f"limit is {limit}, and a page has {len(page['batches'])} batches")
        found += page["batches"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
    raise FailedError(f"there is a next page after {_MOST_PAGES} pages of {limit}: the pages do not end")


@check(
    "pagination.whole",
    "Page by page, every batch comes once, the newest first",
    clause=_CLAUSE,
    remedy="Let a cursor name the last batch of its page; order by arrival and id.",
)
def whole(probe: Probe) -> None:
    made = [probe.put_batch()["batch_id"] for _ in range(3)]
    for limit in (1, 2):
        names = [one["batch_id"] for one in _walk(probe, limit)]
        missing = set(made) - set(names)
        expect(not missing, f"with pages of {limit}, {len(missing)} of 3 new batches do not come")
        twice = sorted({name for name in names if names.count(name) > 1})
        expect(not twice, f"with pages of {limit}, {twice[:3]} come more than once")
    times = [one["received_at"] for one in _walk(probe, 100)]
    expect(times == sorted(times, reverse=True), "the batches are not in the order of their arrival, the newest first")


@check(
    "pagination.link",
    "A page links to the next one, the last page does not",
    clause=f"{_CLAUSE}; RFC 8288, section 3",
    remedy='Send Link: <...>; rel="next" with every page that has a next one.',
)
def link(probe: Probe) -> None:
    for _ in range(2):
        probe.put_batch()
    first, last = _page(probe, 1, None), _page(probe, 100, None)
    expect('rel="next"' in first.headers.get("link", ""), f"the first page has the Link {first.headers.get('link')!r}")
    if last.member("next_cursor") is None:
        expect('rel="next"' not in last.headers.get("link", ""), "the last page has a Link to a next one")


@check(
    "pagination.stable",
    "A batch that comes in between does not move the pages that follow",
    clause=_CLAUSE,
    remedy="Begin a page after the batch that the cursor names, not at a number.",
)
def stable(probe: Probe) -> None:
    for _ in range(3):
        probe.put_batch()
    cursor = _page(probe, 1, None).member("next_cursor")
    expect(bool(cursor), "there are three batches, and no page after the first of 1")
    before = [one["batch_id"] for one in _walk(probe, 100, cursor)]
    probe.put_batch()
    after = [one["batch_id"] for one in _walk(probe, 100, cursor)]
    expect(before == after, "after a new batch came, the same cursor leads to other batches")


@check(
    "pagination.cursor",
    "A cursor that the server did not give is refused",
    clause=f"{_CLAUSE}; NotServable",
    remedy="Sign cursors; refuse others with 422 and code cursor-invalid.",
)
def cursor(probe: Probe) -> None:
    answer = probe.call("listBatches", query="cursor=made-up")
    expect_refusal(answer, 422, "cursor-invalid", what="a cursor that is made up")


@check(
    "pagination.limit",
    "A page size outside the bounds is refused",
    clause=_CLAUSE,
    remedy="Refuse with 400 and code request-invalid, naming query:limit.",
)
def limit(probe: Probe) -> None:
    for wrong in ("0", "101", "-1", "ten", "1.5", ""):
        answer = probe.call("listBatches", query=f"limit={wrong}")
        expect_refusal(answer, 400, "request-invalid", what=f"limit={wrong}")


CHECKS: tuple[Check, ...] = (whole, link, stable, cursor, limit)
