"""Importing a feed: check all of it, keep its pictures, embed them, and then change the catalogue in one transaction.

Rules:

1. A feed with a refused row changes nothing, unless the caller skips refused rows; then every one is in the report.
2. Pictures and embeddings come first and can be resumed: a run that was killed goes on where it stopped. The items of
   the feed change all in one transaction, after which the import is done.
3. A row that is as the catalogue has it is left alone and keeps its sequence number.
4. What else belongs to an import (`within`) is done in the transaction of its items, at its end.
5. A feed changes its own items only. With `withdraw_missing` those that it lists no more are withdrawn; an item whose
   row was refused is not missing.
6. An item that was withdrawn stays so when its feed still lists it, unless `restore` is asked for, or it is one of
   those that its feed itself withdrew (`restorable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlens.faults import fault_point
from handlens_server.catalogue import catalogue_lock, in_chunks, touch, withdraw_items
from handlens_server.checking import CheckedFeed, CheckedItem, FeedRefusedError, Track, check_feed, untracked
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.embedding import PictureEmbedder
from handlens_server.embedding_rows import embed_pictures, embedded_pictures
from handlens_server.feeds import Feed, FeedError
from handlens_server.item_rules import Refusal, item_record
from handlens_server.pictures import FeedPicture, PictureStore
from handlens_server.tables import ItemRow

__all__ = ["ImportOptions", "ImportReport", "import_feed"]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What an import may do beyond adding and changing items."""

    skip_refused: bool = False  # import the good rows of a feed that has refused ones
    withdraw_missing: bool = False  # withdraw the feed's items that it lists no more
    restore: bool = False  # bring back withdrawn items that it lists
    restorable: frozenset[str] = frozenset()  # ids that are brought back when it lists them


@dataclass(slots=True)
class ImportReport:
    """What an import did: numbers of items and pictures; `still_withdrawn` are ids that the feed lists in vain.

    `outcomes` says of each id what became of it: added, changed, unchanged, restored or blocked (still withdrawn).
    """

    feed: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    restored: int = 0
    pictures_copied: int = 0
    pictures_embedded: int = 0
    still_withdrawn: list[str] = field(default_factory=list)
    refused: tuple[Refusal, ...] = ()
    outcomes: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, without `outcomes`."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("refused", "outcomes")}
        return {**plain, "refused": [one.to_dict() for one in self.refused]}


def import_feed(
    config: Config,
    database: Database,
    feed: Feed,
    embedder: PictureEmbedder,
    *,
    options: ImportOptions | None = None,
    track: Track = untracked,
    within: Callable[[Session, ImportReport], None] | None = None,
) -> ImportReport:
    """Import a feed; the catalogue has all of it or nothing. `within` may change more in the same transaction.

    Raises:
        FeedError: the feed cannot be read. MappingError: its CSV lacks a column.
        FeedRefusedError: rows are refused; nothing was imported.
        PictureError: a picture cannot be kept. DatabaseError: the database cannot be used, or is full.
        CatalogueBusyError: another process imports or embeds.
    """
    options = options or ImportOptions()
    with catalogue_lock(config):
        checked = _check(database, feed, embedder, track)
        _refuse(checked, options)
        report = ImportReport(feed.name, refused=checked.refused)
        _prepare_pictures(PictureStore(config.pictures_path), database, checked, embedder, track, report)
        fault_point("import.items.commit")
        with database.session() as session:
            _change(session, checked, options, report)
            if within is not None:
                within(session, report)
        fault_point("import.items.committed")
    return report


def _check(database: Database, feed: Feed, embedder: PictureEmbedder, track: Track) -> CheckedFeed:
    def is_known(sha256: str) -> bool:
        with database.read() as session:
            return bool(embedded_pictures(session, embedder.space, [sha256]))

    checked = check_feed(feed, is_known=is_known, track=track)
    with database.read() as session:
        owners = _owners(session, checked)
    return checked.refuse(lambda one: _foreign(one, owners.get(one.item.item_id), feed.name))


def _owners(session: Session, checked: CheckedFeed) -> Mapping[str, str]:
    """The feed of each item of `checked` that another feed brought."""
    found: dict[str, str] = {}
    for chunk in in_chunks(one.item.item_id for one in checked.items):
        query = select(ItemRow.item_id, ItemRow.feed).where(ItemRow.item_id.in_(chunk), ItemRow.feed != checked.name)
        found |= {row.item_id: row.feed for row in session.execute(query)}
    return found


def _foreign(one: CheckedItem, owner: str | None, feed: str) -> Refusal | None:
    if owner is None:
        return None
    reason = f"item_id {one.item.item_id!r} is of the feed {owner!r}, this is {feed!r}: give another id, or --feed"
    return Refusal(one.line, one.item.item_id, "other-feed", reason)


def _refuse(checked: CheckedFeed, options: ImportOptions) -> None:
    if checked.refused and (not options.skip_refused or not checked.items):
        raise FeedRefusedError(checked.name, checked.refused)
    nameless = [one.line for one in checked.refused if not one.item_id]
    if options.withdraw_missing and nameless:
        raise FeedError(
            f"feed {checked.name}: line {nameless[0]} is refused and its item_id cannot be read, so what is missing is "
            "not known: mend it, or leave out --withdraw-missing"
        )


def _prepare_pictures(
    store: PictureStore,
    database: Database,
    checked: CheckedFeed,
    embedder: PictureEmbedder,
    track: Track,
    report: ImportReport,
) -> None:
    store.sweep()
    pictures: dict[str, FeedPicture] = {one.picture.sha256: one.picture for one in checked.items if one.picture}
    copied = track(pictures.values(), "copy pictures", len(pictures))
    report.pictures_copied = sum(store.keep(picture) for picture in copied)
    with database.read() as session:
        known = embedded_pictures(session, embedder.space, pictures)
    missing = [picture for picture in pictures if picture not in known]
    report.pictures_embedded = embed_pictures(database, store, embedder, missing, track=track)


def _change(session: Session, checked: CheckedFeed, options: ImportOptions, report: ImportReport) -> None:
    for chunk in in_chunks(checked.items):
        ids = [one.item.item_id for one in chunk]
        rows = {row.item_id: row for row in session.scalars(select(ItemRow).where(ItemRow.item_id.in_(ids)))}
        changed = [_changed(one, rows.get(one.item.item_id), checked.name, options, report) for one in chunk]
        put = [row for row in changed if row is not None]
        touch(session, put)
        session.add_all(put)
        session.flush()
    if options.withdraw_missing:
        listed = {one.item.item_id for one in checked.items} | {one.item_id for one in checked.refused}
        report.withdrawn = withdraw_items(session, _missing(session, checked.name, listed))


def _changed(
    one: CheckedItem, row: ItemRow | None, feed: str, options: ImportOptions, report: ImportReport
) -> ItemRow | None:
    """The row of an item as its feed wants it, or None where it is so already."""
    values = _columns(one)
    if row is None:
        report.added += 1
        report.outcomes[one.item.item_id] = "added"
        return ItemRow(item_id=one.item.item_id, feed=feed, is_withdrawn=False, **values)
    is_restored = row.is_withdrawn and (options.restore or row.item_id in options.restorable)
    is_changed = (row.record, row.picture) != (values["record"], values["picture"])
    if row.is_withdrawn and not is_restored:
        report.still_withdrawn.append(row.item_id)
    report.restored += is_restored
    report.changed += is_changed
    report.unchanged += not is_changed
    is_blocked = row.is_withdrawn and not is_restored
    report.outcomes[row.item_id] = (
        "blocked" if is_blocked else "restored" if is_restored else "changed" if is_changed else "unchanged"
    )
    if not is_changed and not is_restored:
        return None
    for name, value in values.items():
        setattr(row, name, value)
    row.is_withdrawn = row.is_withdrawn and not is_restored
    return row


def _columns(one: CheckedItem) -> dict[str, Any]:
    """The columns of an item's row that its feed decides."""
    item = one.item
    names = ("kind", "object_type", "locale", "audience", "quality")
    return {
        **{name: getattr(item, name) for name in names},
        "record": item_record(item),
        "picture": one.picture.sha256 if one.picture else None,
    }


def _missing(session: Session, feed: str, listed: Iterable[str]) -> list[str]:
    known = set(listed)
    query = select(ItemRow.item_id).where(ItemRow.feed == feed, ~ItemRow.is_withdrawn).order_by(ItemRow.item_id)
    return [item_id for item_id in session.scalars(query) if item_id not in known]
