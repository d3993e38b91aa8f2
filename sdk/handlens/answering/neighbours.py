"""The items near a vector: found by whatever index a catalogue has, compared by their codes.

Rules:

1. The similarity is the cosine of the query and the stored int8 code, in double precision, rounded to six digits. What
   the index computed (float sums of its own order, a graph's, a remote server's) only chooses which codes are compared.
2. An item's part counts once, however many packs hold it. Neighbours stand by similarity, then by item id.
3. A catalogue that leaves parts out (another language, another pack) is asked for more until there are enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from handlens.geometry import Box
from handlens.results import Neighbour
from handlens.sources import ItemLookup, TextSearch
from handlens.wire.item import Item

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Catalogue", "Near", "Nearby", "neighbours_of"]

_SPARE = 8  # asked for beyond the count: which of two nearly equal parts is the last may differ between indexes
_DIGITS = 6
_MOST = 8192  # parts asked for, at most
_Place: TypeAlias = "tuple[str, tuple[float, float, float, float]]"  # item id, and the edges of the part


class Part(Protocol):
    """A part of an item's picture, and the int8 code of its embedding, in whatever record a catalogue keeps it."""

    @property
    def item_key(self) -> int: ...
    @property
    def item(self) -> Item: ...
    @property
    def box(self) -> Box: ...
    @property
    def code(self) -> bytes: ...


class Near(NamedTuple):
    """A `Part` of a catalogue that has no record of its own for it."""

    item_key: int
    item: Item
    box: Box
    code: bytes


class Nearby(NamedTuple):
    """What an index found; `is_all` says that asking for more would bring no other part."""

    parts: Sequence[Part]
    is_all: bool


class Catalogue(TextSearch, ItemLookup, Protocol):
    """What an answer is made from: items by likeness, by words, and by id."""

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearby:
        """Those of the `k` parts nearest to `vector` (dim,) that may be shown.

        Raises:
            HandlensError: the index cannot answer now.
        """
        ...


def neighbours_of(catalogue: Catalogue, vector: NDArray[np.float32], count: int) -> tuple[Neighbour, ...]:
    """The `count` parts of the catalogue most similar to `vector`, or all there are."""
    wanted = count + _SPARE
    while True:
        near = catalogue.nearest(vector, wanted)
        parts = _each_once(near.parts)
        if len(parts) >= count or near.is_all or wanted >= _MOST:
            return _compared(vector, parts)[:count]
        wanted *= 4


def _each_once(parts: Iterable[Part]) -> dict[_Place, Part]:
    """The parts by item and box, each by the smallest key that its item has."""
    once: dict[_Place, Part] = {}
    for part in parts:
        place = part.item.item_id, part.box.edges
        known = once.get(place)
        if known is None or part.item_key < known.item_key:
            once[place] = part
    return once


def _compared(vector: NDArray[np.float32], parts: Mapping[_Place, Part]) -> tuple[Neighbour, ...]:
    if not parts:
        return ()
    joined = b"".join([part.code for part in parts.values()])
    codes = np.frombuffer(joined, np.int8).reshape(len(parts), -1).astype(np.float64)
    query = vector.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", codes, codes) * (query @ query))
    cosines = np.round(np.einsum("ij,j->i", codes, query) / lengths, _DIGITS).tolist()
    ranked = sorted([(-cosine, place) for cosine, place in zip(cosines, parts, strict=True)])
    return tuple([Neighbour(parts[at].item_key, parts[at].item, -turned, parts[at].box) for turned, at in ranked])
