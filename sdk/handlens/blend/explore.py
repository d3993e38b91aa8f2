"""Exploration: some places of some answers are given by chance, and the chance is written down.

A policy only ever sees clicks on what it shows, so what it leaves out can never be learnt from its own log. Therefore:

1. Whether an answer explores is decided by a hash of the request id and the policy's salt: `answers` of them do. The
   choice knows nothing of the photo, so answers that explore are a fair sample of all answers.
2. In such an answer each section gives its last ``floor(slots * n)`` of n places to chance. They are drawn without
   replacement, all alike likely, from what stands there and the best others that the section takes, `pool` at most.
   What is drawn keeps every rule of its section, no group of near-duplicates can pass its limit, and no item can be
   drawn for two sections.
3. The `Why` of a drawn match says so (`explored`), with the chance that this item had to stand in this place, given
   that the answer explores (`propensity`); every other match has 1. That is what inverse propensity scoring needs
   (Horvitz and Thompson 1952; Bottou et al., "Counterfactual reasoning and learning systems", JMLR 2013).
4. Nobody is experimented upon for nothing: an answer explores only when the caller asks for it (on a device: when the
   user lets events be kept), and never when the user refined the search.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence

from handlens.blend.policy import Exploration
from handlens.blend.standing import Standing

__all__ = ["Draw", "draw", "explores"]

Draw = tuple[list[Standing], list[Standing]]  # what stands in the last places of a section, and what it was drawn from


def explores(policy: Exploration, request_id: str) -> bool:
    """Whether the answer to this request explores."""
    return policy.slots > 0.0 and _chance(policy.salt, request_id, "") < policy.answers


def draw(
    policy: Exploration,
    request_id: str,
    rows: Sequence[Sequence[Standing]],
    placed: Sequence[Sequence[Standing]],
    max_per_group: int,
) -> list[Draw]:
    """For each section, what chance puts into its last places, and the pool it came from; both may be empty.

    `rows` are the candidates that each section takes, best first; `placed` those that stand in it, in their order.
    """
    pools = _pools(policy, rows, placed, max_per_group)
    drawn = []
    for stands, pool in zip(placed, pools, strict=True):
        places = _places(policy, stands)
        by_chance = sorted(pool, key=lambda one: _chance(policy.salt, request_id, one.candidate.item.item_id))
        drawn.append((by_chance[:places], pool))
    return drawn


def _pools(
    policy: Exploration, rows: Sequence[Sequence[Standing]], placed: Sequence[Sequence[Standing]], max_per_group: int
) -> list[list[Standing]]:
    taken = {one.key for stands in placed for one in stands}
    groups = Counter(one.group for stands in placed for one in stands if one.group is not None)
    pools = []
    for row, stands in zip(rows, placed, strict=True):
        places = _places(policy, stands)
        pool = list(stands[len(stands) - places :])
        if places:
            _fill(pool, row, policy.pool, taken, groups, max_per_group)
        pools.append(pool)
    return pools


def _fill(
    pool: list[Standing],
    row: Sequence[Standing],
    most: int,
    taken: set[int],
    groups: Counter[str],
    max_per_group: int,
) -> None:
    for one in row:
        if len(pool) >= most:
            return
        if one.key in taken or (one.group is not None and groups[one.group] >= max_per_group):
            continue
        pool.append(one)
        taken.add(one.key)
        if one.group is not None:
            groups[one.group] += 1


def _places(policy: Exploration, stands: Collection[Standing]) -> int:
    return int(policy.slots * len(stands) + 1e-9)


def _chance(salt: str, request_id: str, item_id: str) -> float:
    """A number 0 <= x < 1 that this request, or this item in it, has got by lot: the same everywhere, for ever."""
    parts = (part.encode("utf-8", "surrogatepass") for part in (salt, request_id, item_id))
    digest = hashlib.blake2b(b"\0".join(parts), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
