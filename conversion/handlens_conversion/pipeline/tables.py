"""The data set as two Parquet tables: `photos` and `objects`, written as a stream.

Rows come in the order of photo ids and row groups have a fixed length, so the bytes are a function of the rows and of
the version of pyarrow that wrote them.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from handlens_conversion.pipeline.photo_work import PhotoRecord

__all__ = ["OBJECTS", "PHOTOS", "Tables"]

_GROUP_ROWS = 20_000
_EDGES = ("x_min", "y_min", "x_max", "y_max")
PHOTOS = pa.schema(
    [
        ("photo", pa.string()),
        ("image", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),  # the photo that its near-duplicates are named by
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("phash", pa.string()),
        ("licence", pa.string()),
        ("credit", pa.string()),
        ("boxes_drawn", pa.int32()),
        ("boxes_used", pa.int32()),
    ]
)
OBJECTS = pa.schema(
    [
        ("photo", pa.string()),
        ("split", pa.string()),
        *((edge, pa.float64()) for edge in _EDGES),  # fractions of the upright photo
        *((f"{edge}_error", pa.float64()) for edge in _EDGES),  # standard errors
        ("agreement", pa.float64()),
        ("users", pa.int32()),
        ("label", pa.string()),
        ("label_share", pa.float64()),
        ("label_votes", pa.int32()),
        ("label_sources", pa.list_(pa.string())),
    ]
)


class Tables:
    """``photos.parquet`` and ``objects.parquet`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._photos = _Table(folder / "photos.parquet", PHOTOS)
        self._objects = _Table(folder / "objects.parquet", OBJECTS)

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._photos.close()
        self._objects.close()

    def add(self, record: PhotoRecord, *, side: str, group: str) -> None:
        """Add a photo with its objects."""
        listed, seen = record.listed, record.look
        terms = (listed.licence, listed.credit)
        place = (listed.photo, listed.image, side, group, *seen.size, seen.sha256, seen.phash)
        self._photos.add((*place, *terms, record.drawn, record.boxes))
        for one in record.objects:
            label = (one.label, one.label_share, one.label_votes, list(one.label_sources))
            self._objects.add((listed.photo, side, *one.box, *one.uncertainty, one.agreement, one.users, *label))


class _Table:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema, self._rows = schema, list[tuple[Any, ...]]()
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", version="2.6")

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) == _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = [
            pa.array(column, type=kind.type)
            for column, kind in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=_GROUP_ROWS)
        self._rows = []
