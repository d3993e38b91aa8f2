"""What a partner reads of the catalogue: an item, its thumbnail, and its own batches page by page."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from handlens.errors import DecodeError
from handlens.wire.item import Item
from handlens_server.catalogue import parse_record
from handlens_server.config import Config
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.fixtures import fixture_item
from handlens_server.partner.guard import Caller
from handlens_server.partner.signing import SignedTextError, Signer
from handlens_server.partner.tables import BatchRow, OwnItemRow
from handlens_server.tables import ItemRow

__all__ = ["batch_page", "item_of", "picture_of", "thumbnail", "thumbnail_ticket"]

_TICKET = "thumbnail"
_CURSOR = "batches"
_QUALITY = 80  # of WebP


def item_of(session: Session, who: Caller, item_id: str) -> Item:
    """The item, if the caller may show it.

    Raises:
        PartnerError: there is none, or it may not (404, one as the other).
    """
    own = session.get(OwnItemRow, (who.partner_id, "test", item_id)) if who.is_test else None
    if own is not None and not own.is_withdrawn:
        return Item.from_dict(json.loads(own.record))
    fixture = fixture_item(item_id) if who.is_test else None
    if fixture is not None:
        return fixture
    row = session.get(ItemRow, item_id)
    if row is None or row.is_withdrawn or not _may_show(who, row):
        raise PartnerError(404, "item-unknown", "there is no such item, or it may not be shown by you")
    try:
        return parse_record(row.record)
    except DecodeError as error:
        raise PartnerError(404, "item-unknown", "there is no such item, or it may not be shown by you") from error


def thumbnail_ticket(signer: Signer, item_id: str, side: int) -> str:
    """What opens the thumbnail of one item in one size."""
    return signer.sign(_TICKET, {"i": item_id, "s": side})


def picture_of(session: Session, signer: Signer, ticket: str, now: datetime) -> tuple[str, int]:
    """The SHA-256 of the picture that a ticket opens, and the size.

    Raises:
        PartnerError: the ticket is none, or the item has no picture any more (404).
    """
    try:
        values = signer.read(_TICKET, ticket, now)
    except SignedTextError as error:
        raise _no_thumbnail() from error
    row = session.get(ItemRow, str(values["i"]))
    if row is None or row.is_withdrawn or row.picture is None:
        raise _no_thumbnail()
    return row.picture, int(values["s"])


def thumbnail(config: Config, sha256: str, side: int) -> bytes:
    """A kept picture as WebP, its longer side at most `side` pixels.

    Raises:
        PartnerError: the picture is not there any more (404).
    """
    from handlens.errors import ImageError
    from handlens.vision.image import load_photo  # needs NumPy, which a worker without searches never imports
    from handlens_server.pictures import PictureError, PictureStore

    try:
        photo = load_photo(PictureStore(config.pictures_path).read(sha256), decode_side=side)
    except (PictureError, ImageError) as error:
        raise _no_thumbnail() from error
    image = photo.image.copy()
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()


def batch_page(
    session: Session, signer: Signer, who: Caller, *, limit: int, cursor: str | None, now: datetime
) -> dict[str, Any]:
    """A page of the caller's batches, the newest first.

    Raises:
        PartnerError: the cursor is none of the caller's (422 cursor-invalid).
    """
    query = select(BatchRow).where(BatchRow.partner_id == who.partner_id, BatchRow.mode == who.mode)
    if cursor is not None:
        at, batch_id = _after(signer, who, cursor, now)
        query = query.where(tuple_(BatchRow.received_at, BatchRow.batch_id) < tuple_(at, batch_id))
    rows = list(session.scalars(query.order_by(BatchRow.received_at.desc(), BatchRow.batch_id.desc()).limit(limit + 1)))
    batches = []
    for row in rows[:limit]:
        answer = json.loads(row.answer)
        batches.append({name: value for name, value in answer.items() if name != "rows"})
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        values = {"p": who.partner_id, "m": who.mode, "t": last.received_at, "b": last.batch_id}
        following = signer.sign(_CURSOR, values)
    return {"batches": batches, "next_cursor": following}


def _after(signer: Signer, who: Caller, cursor: str, now: datetime) -> tuple[str, str]:
    try:
        values = signer.read(_CURSOR, cursor, now)
    except SignedTextError:
        values = {}
    if (values.get("p"), values.get("m")) != (who.partner_id, who.mode):
        raise PartnerError(422, "cursor-invalid", "this cursor is of no page that you were given: begin without one")
    return str(values["t"]), str(values["b"])


def _may_show(who: Caller, row: ItemRow) -> bool:
    if row.audience == who.profile.own_audience:
        return not who.is_test
    return (row.audience or "all") in who.profile.audiences and who.profile.shows_kind(row.kind)


def _no_thumbnail() -> PartnerError:
    return PartnerError(404, "thumbnail-unknown", "there is no such thumbnail: ask for the item again")
