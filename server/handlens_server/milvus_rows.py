"""Names, rows and filters of our collections on Milvus, and what a hit of a search says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

import numpy as np

from handlens.geometry import Box
from handlens.wire.pack import decode_codes
from handlens_server.index_changes import Change
from handlens_server.milvus_calls import quoted

__all__ = ["Hit", "alias_of", "conditions", "first_name", "next_name", "read_hit", "rows_of"]

Hit = tuple[float, str, int, Box]
"""Distance, item id, number of the part, and box."""

_ALLOWED = 2000  # ids in one filter


def alias_of(prefix: str, space: str) -> str:
    """A name that Milvus takes: letters, digits and "_"; the hash tells spaces apart whose letters are alike."""
    told = re.sub(r"[^A-Za-z0-9]+", "_", space)[:80]
    return f"{prefix}_{told}_{hashlib.sha256(space.encode()).hexdigest()[:8]}"


def first_name(alias: str) -> str:
    """The name of the collection that a first refresh makes."""
    return f"{alias}_1"


def next_name(alias: str, former: str | None) -> str:
    """The name of a collection that is built beside `former`, or beside one that a first refresh may be making."""
    return f"{alias}_{1 if former == f'{alias}_2' else 2}"


def rows_of(change: Change) -> list[dict[str, Any]]:
    """The rows of a changed item, one a part."""
    if not change.parts:
        return []
    codes = np.frombuffer(b"".join(part.code for part in change.parts), np.int8).reshape(len(change.parts), -1)
    return [
        {
            "id": f"{change.item_id}#{number}",
            "item_id": change.item_id,
            "sequence": change.sequence,
            "box": json.dumps(part.box.to_list()),
            "vector": vector,
        }
        for number, (part, vector) in enumerate(zip(change.parts, decode_codes(codes), strict=True))
    ]


def conditions(allowed: Collection[str] | None) -> list[str]:
    """The filters of the searches that together answer: each takes some of the allowed ids."""
    if allowed is None:
        return [""]
    item_ids = sorted(set(allowed))
    chunks = (item_ids[start : start + _ALLOWED] for start in range(0, len(item_ids), _ALLOWED))
    return [f"item_id in {quoted(chunk)}" for chunk in chunks]


def read_hit(hit: Any) -> Hit:
    """Distance, item id, number of the part, and box of a hit."""
    number = int(hit["id"].rpartition("#")[2])
    item_id, box = hit["entity"]["item_id"], Box.from_list(json.loads(hit["entity"]["box"]))
    return max(1.0 - float(hit["distance"]), 0.0), item_id, number, box
