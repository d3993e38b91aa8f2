"""``PUT /partner/v1/catalog/batches/{id}``: a partner changes its own items.

Rules:

1. All of a batch is done, in one transaction with the record that it was, or nothing. A batch with one refused row is
   refused whole, with every refused row named.
2. The same body under the same id is answered as the first time, without being done again; another body is a conflict.
3. A live batch goes through `importing`, as any feed does: same checks, same pictures, same index. A test batch passes
   the same checks and ends in the sandbox.
4. What the partner withdrew, it can bring back; what the operator withdrew, it cannot.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from handlens_server.catalogue import CatalogueBusyError, catalogue_lock, in_chunks, withdraw_items
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.partner.errors import PartnerError, Place
from handlens_server.partner.guard import Caller
from handlens_server.partner.incoming import decoded_base64
from handlens_server.partner.own_items import feed_name, full_id, item_values, own_id
from handlens_server.partner.tables import BatchRow, OwnItemRow
from handlens_server.times import exact_text_of

if TYPE_CHECKING:
    from handlens_server.embedding import PictureEmbedder
    from handlens_server.feeds import Feed
    from handlens_server.item_rules import Refusal

__all__ = ["BatchRoom", "batch_of", "put_batch"]

_OUTCOMES = ("added", "changed", "unchanged", "restored", "withdrawn", "blocked")
_WAIT_SECONDS = 3.0  # for another import to end, before the partner is told to try again
_STEP_SECONDS = 0.05
_RETRY_SECONDS = 5
_Outcomes = Mapping[str, str]


class BatchRoom:
    """What batches work with; `embedder` makes what embeds pictures, when a live batch needs it."""

    def __init__(self, config: Config, database: Database, embedder: Callable[[], PictureEmbedder]) -> None:
        self.config = config
        self.database = database
        self.embedder = embedder


def batch_of(session: Session, who: Caller, batch_id: str) -> BatchRow | None:
    """The caller's batch, if there is one with this id."""
    return session.get(BatchRow, (who.partner_id, who.mode, batch_id))


def put_batch(
    room: BatchRoom,
    who: Caller,
    batch_id: str,
    body: bytes,
    values: Mapping[str, Any],
    now: datetime,
    kept: Callable[[Session, dict[str, Any]], None],
) -> tuple[dict[str, Any], bool]:
    """Do a batch whose form was checked: its answer, and whether it was done now; `kept` keeps it in its transaction.

    Raises:
        PartnerError: rows are refused (422), the id has another body (409), or another import runs (503).
    """
    digest = hashlib.sha256(body).hexdigest()
    done = _done(room.database, who, batch_id, digest)
    if done is not None:
        return done, False
    _check_rows(room.database, who, values)
    with tempfile.TemporaryDirectory(prefix="handlens-batch-") as folder:
        feed = _write_feed(Path(folder), who, values.get("items", ()))
        finish = _Finish(who, batch_id, digest, values, now, kept)
        try:
            if who.is_test:
                _do_test(room, feed, finish)
            else:
                _do_live(room, feed, finish)
        except IntegrityError as error:  # another request did a batch with this id in this moment
            raise _busy("another request does this batch at this moment") from error
        except CatalogueBusyError as error:
            raise _busy("the catalogue is being changed at this moment") from error
    return finish.answer, True


class _Finish:
    """What ends a batch, in the transaction of its items."""

    def __init__(
        self,
        who: Caller,
        batch_id: str,
        digest: str,
        values: Mapping[str, Any],
        now: datetime,
        kept: Callable[[Session, dict[str, Any]], None],
    ) -> None:
        self.who, self.batch_id, self.digest, self.now, self._kept = who, batch_id, digest, now, kept
        self.entries: Sequence[Mapping[str, Any]] = values.get("items", ())
        self.withdrawn: Sequence[str] = values.get("withdraw", ())
        self.answer: dict[str, Any] = {}

    @property
    def withdrawn_ids(self) -> list[str]:
        """Full ids of what is withdrawn."""
        return [full_id(self.who.partner_id, own) for own in self.withdrawn]

    def write(self, session: Session, outcomes: _Outcomes) -> None:
        """Write the own items and the batch."""
        for at, entry in enumerate(self.entries):
            item_id = full_id(self.who.partner_id, entry["id"])
            plain = {name: value for name, value in entry.items() if name != "image"}
            values = item_values(self.who.partner_id, plain, f"{at}" if "image" in entry else None)
            session.merge(self._item(item_id, json.dumps(values, sort_keys=True, ensure_ascii=False), False))
        for item_id in self.withdrawn_ids:
            row = session.get_one(OwnItemRow, (self.who.partner_id, self.who.mode, item_id))
            row.is_withdrawn = True
        self.answer = self._answer(outcomes)
        session.add(
            BatchRow(
                partner_id=self.who.partner_id,
                mode=self.who.mode,
                batch_id=self.batch_id,
                digest=self.digest,
                received_at=exact_text_of(self.now),
                answer=json.dumps(self.answer),
            )
        )
        session.flush()
        self._kept(session, self.answer)

    def _item(self, item_id: str, record: str, is_withdrawn: bool) -> OwnItemRow:
        who = self.who
        return OwnItemRow(
            partner_id=who.partner_id, mode=who.mode, item_id=item_id, record=record, is_withdrawn=is_withdrawn
        )

    def _answer(self, outcomes: _Outcomes) -> dict[str, Any]:
        ids = [*(full_id(self.who.partner_id, one["id"]) for one in self.entries), *self.withdrawn_ids]
        found = dict.fromkeys(self.withdrawn_ids, "withdrawn") | dict(outcomes)
        rows = [
            {"row": at, "id": own_id(self.who.partner_id, item_id), "item_id": item_id, "outcome": found[item_id]}
            for at, item_id in enumerate(ids)
        ]
        counts = Counter(row["outcome"] for row in rows)
        return {
            "batch_id": self.batch_id,
            "status": "applied",
            "received_at": exact_text_of(self.now),
            "digest": f"sha-256:{self.digest}",
            "counts": {name: counts[name] for name in _OUTCOMES},
            "rows": rows,
        }


def _done(database: Database, who: Caller, batch_id: str, digest: str) -> dict[str, Any] | None:
    with database.read() as session:
        row = batch_of(session, who, batch_id)
    if row is None:
        return None
    if row.digest != digest:
        raise PartnerError(409, "batch-conflict", "this batch was done with another body: choose a new id")
    answer: dict[str, Any] = json.loads(row.answer)
    return answer


def _check_rows(database: Database, who: Caller, values: Mapping[str, Any]) -> None:
    """Refuse rows that break what holds between rows, and between them and the profile."""
    entries, withdrawn = values.get("items", ()), values.get("withdraw", ())
    listed = {entry["id"] for entry in entries}
    places = [
        Place(f"/items/{at}/kind", f"the profile does not allow {entry['kind']}", "kind-not-allowed", at, entry["id"])
        for at, entry in enumerate(entries)
        if not who.profile.shows_kind(entry["kind"])
    ]
    with database.read() as session:
        known = _known(session, who, [full_id(who.partner_id, own) for own in (*listed, *withdrawn)])
        held = _count(session, who)
    for at, own in enumerate(withdrawn):
        if own in listed:
            places.append(
                Place(f"/withdraw/{at}", "stands among the items too", "duplicate-id", len(entries) + at, own)
            )
        elif full_id(who.partner_id, own) not in known:
            places.append(Place(f"/withdraw/{at}", "no batch brought it", "item-unknown", len(entries) + at, own))
    if places:
        raise _refused(places)
    new = sum(full_id(who.partner_id, own) not in known for own in listed)
    most = who.profile.quotas["items"]
    if held + new > most:
        raise PartnerError(422, "items-over-quota", f"the profile allows {most} own items, and {held} are there")


def _known(session: Session, who: Caller, item_ids: Iterable[str]) -> dict[str, bool]:
    """Those of the ids that are own items, and whether the partner withdrew them."""
    found: dict[str, bool] = {}
    for chunk in in_chunks(item_ids):
        query = select(OwnItemRow.item_id, OwnItemRow.is_withdrawn).where(
            OwnItemRow.partner_id == who.partner_id, OwnItemRow.mode == who.mode, OwnItemRow.item_id.in_(chunk)
        )
        found |= {row.item_id: row.is_withdrawn for row in session.execute(query)}
    return found


def _count(session: Session, who: Caller) -> int:
    query = select(func.count()).select_from(OwnItemRow)
    query = query.where(OwnItemRow.partner_id == who.partner_id, OwnItemRow.mode == who.mode)
    return int(session.scalar(query.where(~OwnItemRow.is_withdrawn)) or 0)


def _write_feed(folder: Path, who: Caller, entries: Sequence[Mapping[str, Any]]) -> Feed:
    from handlens_server.feeds import Feed

    lines = []
    for at, entry in enumerate(entries):
        image = None
        if "image" in entry:
            image = f"picture-{at}"
            (folder / image).write_bytes(decoded_base64(entry["image"], f"/items/{at}/image"))
        lines.append(json.dumps(item_values(who.partner_id, entry, image), ensure_ascii=False))
    path = folder / "items.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Feed(feed_name(who.partner_id), path)


def _do_live(room: BatchRoom, feed: Feed, finish: _Finish) -> None:
    from handlens_server.checking import FeedRefusedError
    from handlens_server.importing import ImportOptions, ImportReport, import_feed

    def within(session: Session, report: ImportReport) -> None:
        if finish.withdrawn:
            withdraw_items(session, finish.withdrawn_ids)
        finish.write(session, report.outcomes)

    def withdraw_only() -> None:
        with catalogue_lock(room.config), room.database.session() as session:
            within(session, ImportReport(feed.name))

    if not finish.entries:
        _patiently(withdraw_only)
        return
    with room.database.read() as session:
        known = _known(session, finish.who, [full_id(finish.who.partner_id, one["id"]) for one in finish.entries])
    options = ImportOptions(restorable=frozenset(item_id for item_id, is_own in known.items() if is_own))
    embedder = room.embedder()
    try:
        _patiently(lambda: import_feed(room.config, room.database, feed, embedder, options=options, within=within))
    except FeedRefusedError as error:
        raise _refused(_refused_rows(error.refused, finish)) from error


def _do_test(room: BatchRoom, feed: Feed, finish: _Finish) -> None:
    from handlens_server.checking import check_feed

    if finish.entries:
        checked = check_feed(feed)
        if checked.refused:
            raise _refused(_refused_rows(checked.refused, finish))
    with room.database.session() as session:
        ids = [full_id(finish.who.partner_id, one["id"]) for one in finish.entries]
        known = _known(session, finish.who, ids)
        names = {True: "restored", False: "changed"}
        finish.write(session, {one: names[known[one]] if one in known else "added" for one in ids})


def _patiently(work: Callable[[], object]) -> None:
    """Do the work when the import that runs has ended, if it ends soon."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            work()
            return
        except CatalogueBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(_STEP_SECONDS)


def _refused_rows(refused: Iterable[Refusal], finish: _Finish) -> list[Place]:
    """The refusals of a feed, whose lines are the rows from 1."""
    return [
        Place(f"/items/{one.line - 1}", one.reason, one.code, one.line - 1, str(finish.entries[one.line - 1]["id"]))
        for one in refused
    ]


def _refused(places: Sequence[Place]) -> PartnerError:
    message = f"{len(places)} rows are refused, so nothing was changed: see `errors`"
    return PartnerError(422, "batch-refused", message, places=places)


def _busy(why: str) -> PartnerError:
    return PartnerError(503, "catalogue-busy", f"{why}: try again", retry_after=_RETRY_SECONDS)
