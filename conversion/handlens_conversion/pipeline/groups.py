"""Which photos show the same, and which side of the split a photo is on.

Rules:

1. Two photos are near-duplicates when their perceptual hashes differ in at most `SplitRules.max_distance` of 64 bits;
   groups are what is connected by such pairs. (The same bytes have the same hash.)
2. All pairs that near are found, not most of them: of `max_distance + 1` bands of the hash one must be equal
   (pigeonhole), so only photos that share a band are compared. Equal hashes are compared once.
3. The side is a function of the group's least content hash: it does not depend on the number or order of photos, and a
   photo that comes later moves another one only where it joins two groups.

::

    groups = near_duplicates(hashes, max_distance=4)      # uint64 (n,) -> int (n,): the first photo of each group
    sides = split(sha256s, groups, SplitRules())          # "train", "val" or "test" for each
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDES", "SplitRules", "near_duplicates", "split"]

SIDES = ("train", "val", "test")
_BITS = 64
_ROWS = 512  # of a bucket compared at once


@dataclass(frozen=True, slots=True)
class SplitRules:
    """Shares of groups that go to `val` and to `test`, 0..1, and how far the hashes of near-duplicates may differ."""

    val: float = 0.1
    test: float = 0.1
    max_distance: int = 4  # bits of 64


def near_duplicates(hashes: NDArray[np.uint64], *, max_distance: int) -> NDArray[np.int64]:
    """For each of n hashes the least row of its group: uint64 (n,) -> int64 (n,)."""
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    parent = np.arange(len(distinct))
    for low, high in _bands(max_distance + 1):
        mask = np.uint64(((1 << (high - low)) - 1) << low)
        for bucket in _buckets(distinct & mask):
            _join(parent, distinct, bucket, max_distance)
    roots = np.array([_root(parent, at) for at in range(len(distinct))], dtype=np.int64)
    least = np.full(len(distinct), len(hashes), dtype=np.int64)
    np.minimum.at(least, roots, first)
    return np.asarray(least[roots][inverse], dtype=np.int64)


def split(sha256s: Sequence[str], groups: NDArray[np.int64], rules: SplitRules) -> list[str]:
    """The side of each photo: content hashes (hex) and `near_duplicates` of the same photos -> n names of `SIDES`."""
    least: dict[int, str] = {}
    for sha256, group in zip(sha256s, groups.tolist(), strict=True):
        least[group] = min(least.get(group, sha256), sha256)
    return [_side(least[group], rules) for group in groups.tolist()]


def _side(sha256: str, rules: SplitRules) -> str:
    # Hashed once more: a content hash is what somebody else may have chosen photos by.
    place = int.from_bytes(hashlib.sha256(f"split {sha256}".encode()).digest()[:8], "big") / 2**64
    if place < rules.test:
        return "test"
    return "val" if place < rules.test + rules.val else "train"


def _bands(count: int) -> list[tuple[int, int]]:
    edges = [round(at * _BITS / count) for at in range(count + 1)]
    return list(pairwise(edges))


def _buckets(values: NDArray[np.uint64]) -> list[NDArray[np.intp]]:
    """The rows of each value that more than one row has."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order])) + 1
    return [bucket for bucket in np.split(order, starts) if len(bucket) > 1]


def _join(parent: NDArray[np.int64], hashes: NDArray[np.uint64], bucket: NDArray[np.intp], most: int) -> None:
    for begin in range(0, len(bucket), _ROWS):
        rows = bucket[begin : begin + _ROWS]
        apart = np.bitwise_count(hashes[rows][:, None] ^ hashes[bucket][None])
        for one, other in zip(*np.nonzero(apart <= most), strict=True):
            if (low := rows[one]) < (high := bucket[other]):
                first, second = sorted((_root(parent, low), _root(parent, high)))
                parent[second] = first


def _root(parent: NDArray[np.int64], at: int) -> int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = int(parent[at])
    return int(at)
