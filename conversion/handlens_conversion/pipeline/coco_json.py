"""COCO JSON written as a stream: photos come one by one, and at no time is more than one in memory.

Layout (Lin et al., "Microsoft COCO", and cocodataset.org/#format-data): `images`, `annotations`, `categories`, with
`bbox` as left, top, width, height in pixels. Beside that:

* an annotation also has `uncertainty` (a standard error of left, top, right, bottom in pixels), `agreement`, `users`,
  `label_share` and `label_sources`;
* `unlabelled` lists objects of which only the place is known, without a category: whoever trains should not take them
  for background;
* `unsettled` lists places (`image_id`, `bbox`) where users drew and nobody agreed: no background either.

::

    with CocoFile(folder / "train.json", ["cup", "lamp"], info={...}) as file:
        file.add(record)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any

from handlens.geometry import Box
from handlens_conversion.boxes.drawn import Edges
from handlens_conversion.pipeline.photo_work import FoundObject, PhotoRecord

__all__ = ["CocoFile"]

_CHUNK = 1 << 20  # bytes


class CocoFile:
    """One file; categories are numbered from 1 in the order given, photos and annotations in the order they come."""

    def __init__(self, path: Path, categories: Sequence[str], *, info: Mapping[str, Any]) -> None:
        self._path = path
        self._ids = {name: at for at, name in enumerate(categories, start=1)}
        self._info = info
        self._licences: dict[str, int] = {}
        self._parts: dict[str, IO[bytes]] = {
            name: TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by __exit__
            for name in ("images", "annotations", "unlabelled", "unsettled")
        }
        self._counts = dict.fromkeys(self._parts, 0)
        self._objects = 0

    def __enter__(self) -> CocoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            for part in self._parts.values():
                part.close()

    def add(self, record: PhotoRecord) -> None:
        """Add a photo with its objects."""
        listed, size = record.listed, record.look.size
        licence = self._licences.setdefault(listed.licence, len(self._licences) + 1)
        self._write(
            "images",
            {
                "id": self._counts["images"] + 1,
                "file_name": listed.image,
                "width": size[0],
                "height": size[1],
                "license": licence,
                "credit": listed.credit,
                "photo": listed.photo,
                "sha256": record.look.sha256,
            },
        )
        for one in record.objects:
            self._add_object(one, size)
        for place in record.places:
            self._write("unsettled", {"image_id": self._counts["images"], "bbox": _left_top_width_height(place, size)})

    def _add_object(self, one: FoundObject, size: tuple[int, int]) -> None:
        self._objects += 1
        left, top, right, bottom = Box(*one.box).to_pixels(size)
        described: dict[str, Any] = {
            "id": self._objects,
            "image_id": self._counts["images"],
            "bbox": _left_top_width_height(one.box, size),
            "area": round((right - left) * (bottom - top), 2),
            "iscrowd": 0,
            "uncertainty": [round(edge * side, 2) for edge, side in zip(one.uncertainty, size * 2, strict=True)],
            "agreement": one.agreement,
            "users": one.users,
        }
        if one.label is None:
            self._write("unlabelled", described)
            return
        self._write(
            "annotations",
            {
                **described,
                "category_id": self._ids[one.label],
                "label_share": one.label_share,
                "label_sources": one.label_sources,
            },
        )

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        self._parts[name].write((",\n" if self._counts[name] else "\n").encode() + line.encode())
        self._counts[name] += 1

    def _finish(self) -> None:
        licences = [{"id": number, "name": name} for name, number in self._licences.items()]
        categories = [{"id": number, "name": name} for name, number in self._ids.items()]
        head = {"info": dict(self._info), "licenses": licences, "categories": categories}
        with self._path.open("wb") as file:
            file.write(json.dumps(head, ensure_ascii=False, indent=None, separators=(",", ":")).encode()[:-1])
            for name, part in self._parts.items():
                file.write(f',\n"{name}":['.encode())
                part.seek(0)
                while chunk := part.read(_CHUNK):
                    file.write(chunk)
                file.write(b"]")
            file.write(b"}\n")


def _left_top_width_height(box: Edges, size: tuple[int, int]) -> list[float]:
    left, top, right, bottom = Box(*box).to_pixels(size)
    return [round(edge, 2) for edge in (left, top, right - left, bottom - top)]
