"""Writing a feed of the catalogue as a folder that `catalog import` takes: ``items.jsonl`` and the pictures.

The folder is written under another name and renamed when it is whole. Pictures keep the names that their items give
them; where two different ones have one name, the second is named by its SHA-256.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens_server.catalogue import CatalogueItem, ItemFilter, list_items
from handlens_server.item_rules import item_record
from handlens_server.pictures import PictureStore

__all__ = ["ExportError", "export_feed"]


class ExportError(HandlensError):
    """The folder cannot be written."""


def export_feed(session: Session, store: PictureStore, feed: str, out: Path) -> int:
    """Write the items of `feed` that are not withdrawn to the new folder `out`; how many there are.

    Raises:
        ExportError: `out` exists or cannot be written, or the feed has no items. PictureError: a picture is missing.
    """
    if out.exists():
        raise ExportError(f"{out} exists: remove it or choose another folder")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        count = _write(session, store, feed, partial)
        if not count:
            raise ExportError(f"the feed {feed!r} has no items: see `handlens-server catalog list`")
        partial.replace(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written ({error.strerror}): free some space or choose another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _write(session: Session, store: PictureStore, feed: str, folder: Path) -> int:
    names: dict[str, str] = {}
    count = 0
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for one in list_items(session, ItemFilter(feed=feed)):
            image = None if one.picture is None else _write_picture(store, one, one.picture, folder, names)
            file.write(item_record(replace(one.item, image=image)) + "\n")
            count += 1
    return count


def _write_picture(store: PictureStore, one: CatalogueItem, picture: str, folder: Path, names: dict[str, str]) -> str:
    name = str(PurePosixPath(one.item.image or picture))
    if names.setdefault(name, picture) != picture or name == "items.jsonl":
        name = f"images/{picture}{PurePosixPath(name).suffix}"
        names[name] = picture
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(store.read(picture))
    return name
