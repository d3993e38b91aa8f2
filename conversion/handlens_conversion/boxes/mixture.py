"""Fitting objects to the boxes of one photo: seeds, then assigning and estimating in turns (see `consensus`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlens_conversion.boxes.crowd import Crowd, Floats, Ints, mixed_words, sizes, squared_distances
from handlens_conversion.boxes.modes import DrawingMode

__all__ = ["Assigned", "MixtureSettings", "Objects", "fit_objects", "solve"]

_NEVER = -1e9  # log likelihood of what is out of reach
_MIN_SIDE = 1e-3  # fraction of the photo: an object that shrank below is none
# E[z | z < a] of a standard normal is -pdf(a) / cdf(a), here by interpolation
_AT = np.linspace(-8.0, 8.0, 321)
_TAIL = np.array(
    [math.exp(-a * a / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-a / math.sqrt(2))) for a in _AT.tolist()]
)


@dataclass(frozen=True, slots=True)
class MixtureSettings:
    """How objects are told apart. Squared distances are in deviations of a way of drawing, over four edges."""

    reach: float = 20.0  # squared distance from which a box is not of an object (chi-square, 4 df: 0.9995)
    apart: float = 20.0  # squared distance between boxes from which both may be seeds
    misfit: float = 9.5  # squared distance from which a box may seed an object of its own (0.95)
    same: float = 10.0  # objects of one word nearer than this are one
    same_place: float = 3.0  # objects of different words nearer than this are one
    seed_words: float = 12.0  # squared distance that different words add between seeds
    wrong_word: float = 3.0  # what another word costs a box's log likelihood: one word in twenty is wrong
    seed_users: int = 2  # users whose boxes begin an object
    rounds: int = 8


@dataclass(frozen=True, slots=True)
class Objects:
    """K objects: `boxes` (K, 4), `variance` (K, 4) of their edges in squared sizes of the object, `words` (K,)."""

    boxes: Floats
    variance: Floats
    words: Ints

    @property
    def doubt(self) -> Floats:
        """The mean variance of an object's edges, (K,)."""
        return np.asarray(self.variance.sum(axis=1) * 0.25)

    def some(self, rows: Sequence[int]) -> Objects:
        """Some of the objects."""
        return Objects(self.boxes[rows], self.variance[rows], self.words[rows])

    def beside(self, other: Objects) -> Objects:
        """These objects and others."""
        return Objects(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Assigned:
    """Of n boxes the object (`owner`, -1: none), the way of drawing (`mode`) and the squared distance (`misfit`)."""

    owner: Ints
    mode: Ints
    misfit: Floats


class _Ways:
    """The ways of drawing as arrays."""

    def __init__(self, modes: Sequence[DrawingMode]) -> None:
        self.shift = np.array([mode.shift for mode in modes])  # (C, 4)
        self.spread = np.array([mode.spread for mode in modes])  # (C,)
        self.variance = np.square(self.spread)
        self.log_share = np.log([mode.share for mode in modes])  # (C,)
        self.careful = modes[0].spread


def fit_objects(
    crowd: Crowd, modes: Sequence[DrawingMode], settings: MixtureSettings
) -> tuple[Objects, Assigned] | None:
    """The objects of a crowd with at least two users, and which box is of which; None when there is none."""
    ways = _Ways(modes)
    objects = _seeds(crowd, ways, settings, settings.apart)
    assigned = _nobodys(crowd)
    has_split = False
    for _ in range(settings.rounds):
        before, assigned = assigned, _assign(crowd, objects, ways, settings)
        if (before.owner != assigned.owner).any() or (before.mode != assigned.mode).any():
            objects = _estimate(crowd, objects, assigned, ways, settings)
            continue
        more = None if has_split else _seeds_of_misfits(crowd, assigned, ways, settings)
        if more is None:  # the same owners twice: nothing has moved since `assigned`
            return (objects, assigned) if len(objects.boxes) else None
        has_split, objects = True, objects.beside(more)
    return (objects, _assign(crowd, objects, ways, settings)) if len(objects.boxes) else None


def _nobodys(crowd: Crowd) -> Assigned:
    none = np.full(len(crowd.edges), -1)
    return Assigned(none, none, np.full(len(crowd.edges), np.inf))


def _seeds(crowd: Crowd, ways: _Ways, settings: MixtureSettings, apart: float) -> Objects:
    far = squared_distances(crowd.edges, crowd.edges, ways.careful)
    far += settings.seed_words * mixed_words(crowd.words, crowd.words)
    near = np.square(np.maximum(1 - far / (2 * settings.reach), 0))
    own = near if not crowd.has_repeats else near * (crowd.users[:, None] == crowd.users)
    votes = crowd.trust if not crowd.has_repeats else crowd.trust / own.sum(axis=1)
    support = near @ votes
    is_near = near > 0
    free = is_near.sum(axis=1) >= settings.seed_users
    is_free, taken = free.tolist(), []
    for row in np.argsort(-support, kind="stable").tolist():
        if is_free[row]:
            taken.append(row)
            free &= far[:, row] > apart
            is_free = free.tolist()
    if crowd.has_repeats:
        taken = [row for row in taken if len(set(crowd.users[is_near[row]].tolist())) >= settings.seed_users]
    variance = np.full((len(taken), 4), ways.variance[0] / 2)
    return Objects(crowd.edges[taken], variance, crowd.words[taken])


def _seeds_of_misfits(crowd: Crowd, assigned: Assigned, ways: _Ways, settings: MixtureSettings) -> Objects | None:
    rows = np.flatnonzero(assigned.misfit > settings.misfit)
    if len(rows) < settings.seed_users:
        return None
    # As far apart as boxes can be near: two seeds that share the few boxes left would both stay alone.
    objects = _seeds(crowd.some(rows), ways, settings, 2 * settings.reach)
    return objects if len(objects.boxes) else None


def _assign(crowd: Crowd, objects: Objects, ways: _Ways, settings: MixtureSettings) -> Assigned:
    if not len(objects.boxes):
        return _nobodys(crowd)
    size = sizes(objects.boxes)
    meant = objects.boxes[:, None] + size[:, None] * ways.shift  # (K, C, 4)
    off = crowd.edges[:, None, None] - meant  # (n, K, C, 4)
    if crowd.is_cut:  # An edge cut off by the border is wrong only where the object's lies further inside.
        off = np.where(crowd.low[:, None, None], np.minimum(off, 0), off)
        off = np.where(crowd.high[:, None, None], np.maximum(off, 0), off)
    off /= size[:, None]
    variance = ways.variance + objects.doubt[:, None]  # (K, C)
    misfit = np.einsum("nkce,nkce->nkc", off, off)
    misfit /= variance
    likely = ways.log_share - crowd.half_free[:, None, None] * np.log(variance) - 0.5 * misfit
    likely -= (settings.wrong_word * mixed_words(crowd.words, objects.words))[:, :, None]
    likely[misfit > settings.reach] = _NEVER
    ways_count = len(ways.spread)
    flat = likely.reshape(len(likely), -1)
    best = flat.argmax(axis=1)
    score = flat[crowd.rows, best]
    owner = np.where(score > _NEVER, best // ways_count, -1)
    if crowd.has_repeats:  # Of several boxes of one user the one that fits best counts.
        order = np.lexsort((-score, owner, crowd.users))
        users, owners = crowd.users[order], owner[order]
        owner[order[1:][(users[1:] == users[:-1]) & (owners[1:] == owners[:-1])]] = -1
    least = misfit.reshape(len(likely), -1)[crowd.rows, best]
    least[owner < 0] = np.inf
    return Assigned(owner, best % ways_count, least)


def _estimate(crowd: Crowd, objects: Objects, assigned: Assigned, ways: _Ways, settings: MixtureSettings) -> Objects:
    """Each object anew from its boxes; those with too few, or with no careful box, and doubles of others are gone."""
    rows = np.flatnonzero(assigned.owner >= 0)
    owner, mode = assigned.owner[rows], assigned.mode[rows]
    size = sizes(objects.boxes)[owner]
    shift, spread = ways.shift[mode], ways.spread[mode][:, None]
    drawn = _uncut(crowd, rows, objects.boxes[owner] + shift * size, spread * size)
    fit = crowd.trust[rows] * np.square(1 - np.minimum(assigned.misfit[rows] / (2 * settings.reach), 1))
    of = (owner == np.arange(len(objects.boxes))[:, None]).astype(np.float64)  # (K, m)
    users = of.sum(axis=1)
    alive = np.flatnonzero((users >= settings.seed_users) & (of @ (mode == 0) > 0))
    boxes, variance = solve(drawn, shift, fit[:, None] / np.square(spread), of[alive])
    words = np.array([_most_said(crowd.words[rows[owner == at]]) for at in alive.tolist()], dtype=np.int64)
    wide = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=1.0) > _MIN_SIDE)
    return _merged(Objects(boxes, variance, words).some(wide.tolist()), users[alive][wide], ways, settings)


def solve(drawn: Floats, shift: Floats, weight: Floats, of: Floats) -> tuple[Floats, Floats]:
    """Least squares for what m boxes (m, 4) say of K objects (`of` is (K, m)): boxes (K, 4), variances (K, 4).

    Along each axis a way of drawing makes both edges a linear function of the object's two:
    low = (1 - a) left + a right, high = -b left + (1 + b) right, with a and b the shifts.
    """
    low_low, low_high, high_low, high_high = 1 - shift[:, :2], shift[:, :2], -shift[:, 2:], 1 + shift[:, 2:]
    lows, highs = drawn[:, :2], drawn[:, 2:]
    first = of @ (weight * (low_low * low_low + high_low * high_low))
    mixed = of @ (weight * (low_low * low_high + high_low * high_high))
    last = of @ (weight * (low_high * low_high + high_high * high_high))
    for_left = of @ (weight * (low_low * lows + high_low * highs))
    for_right = of @ (weight * (low_high * lows + high_high * highs))
    determinant = first * last - mixed * mixed
    boxes = [last * for_left - mixed * for_right, first * for_right - mixed * for_left]
    variance = np.concatenate([last / determinant, first / determinant], axis=1)
    return np.clip(np.concatenate([edge / determinant for edge in boxes], axis=1), 0, 1), variance


def _uncut(crowd: Crowd, rows: Ints, meant: Floats, spread: Floats) -> Floats:
    """The edges as they were meant: those that the border cut off are where a normal edge beyond it is expected."""
    edges, low, high = crowd.edges[rows], crowd.low[rows], crowd.high[rows]
    if low.any():
        beyond = meant - spread * np.interp(-meant / spread, _AT, _TAIL)
        edges = np.where(low, np.minimum(beyond, 0), edges)
    if high.any():
        beyond = meant + spread * np.interp((meant - 1) / spread, _AT, _TAIL)
        edges = np.where(high, np.maximum(beyond, 1), edges)
    return edges


def _most_said(words: Ints) -> int:
    said = words[words >= 0]
    return int(np.bincount(said).argmax()) if len(said) else -1


def _merged(objects: Objects, users: Floats, ways: _Ways, settings: MixtureSettings) -> Objects:
    """Without objects that stand on a larger one, or where a known way of drawing a larger one would put them."""
    if len(objects.boxes) < 2:
        return objects
    far = squared_distances(objects.boxes, objects.boxes, ways.careful)
    size = sizes(objects.boxes)
    alike = ~mixed_words(objects.words, objects.words)
    gone = far < np.where(alike, settings.same, settings.same_place)
    gone = (gone | (alike & _echoes(objects, size, ways, settings))).tolist()
    taken: list[int] = []
    for at in np.argsort(-users, kind="stable").tolist():
        if not any(gone[at][other] for other in taken):
            taken.append(at)
    return objects.some(sorted(taken))


def _echoes(objects: Objects, size: Floats, ways: _Ways, settings: MixtureSettings) -> NDArray[np.bool_]:
    """Whether a known way of drawing the second would put it where the first is, (K, K)."""
    boxes, doubt = objects.boxes, objects.doubt
    size = size[None, :, None]
    off = (boxes[:, None, None] - boxes[None, :, None] - size * ways.shift[1:]) / size  # (K, K, C - 1, 4)
    variance = ways.variance[1:] + doubt[:, None, None] + doubt[None, :, None]
    return np.asarray(((off * off).sum(axis=3) / variance < settings.reach).any(axis=2))
