"""Learning how people draw, from boxes alone: no true box is needed.

1. With the careful way only, objects that many users drew are found. About each lie boxes that do not fit it.
2. Where these *residuals* (edges off, in sizes of the object) crowd together, there is another way of drawing: a peak
   of their density that holds more than `min_share` of all (mean shift: Comaniciu and Meer, 2002).
3. With all ways, objects are found again, and share, shift and spread of each way follow from the boxes that are drawn
   in it, each measured against its object without itself. Repeated `rounds` times.

A sample of photos is enough: a cluster gives some thousand photos, chosen by the hash of their ids, to one machine.
The answer does not depend on the order of photos or boxes.

::

    modes = fit_modes(photos)
    find_objects(boxes, modes=modes)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handlens_conversion.boxes.cleaning import overlap
from handlens_conversion.boxes.consensus import ConsensusSettings, find_objects
from handlens_conversion.boxes.crowd import Crowd, Floats, Ints, crowd_of, sizes
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.mixture import solve
from handlens_conversion.boxes.modes import CAREFUL, DrawingMode

__all__ = ["ModeFitSettings", "fit_modes"]


@dataclass(frozen=True, slots=True)
class ModeFitSettings:
    """When a crowd of residuals is a way of drawing; lengths are sizes of the object."""

    most_modes: int = 5  # the careful one counted
    min_share: float = 0.006  # of the residuals about well-known objects
    min_boxes: int = 12
    min_users: int = 5  # of an object that residuals are measured against
    about: float = 0.15  # IoU with the object from which a box has a residual
    radius: float = 0.1  # residuals whose four edges are all within it crowd together
    most_residuals: int = 4000  # that peaks are looked for among
    least_spread: float = 0.01
    least_careful: float = 0.02  # nobody draws by hand more exactly than this
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class _Residuals:
    """m boxes about objects: how far `off` (m, 4), drawn in which `mode` (m,; -1: not of the object), and the variance
    (m,) that comes from not knowing the object."""

    off: Floats
    mode: Floats
    doubt: Floats


_SETTINGS = ModeFitSettings()


def fit_modes(
    photos: Iterable[Sequence[DrawnBox]],
    settings: ModeFitSettings = _SETTINGS,
    consensus: ConsensusSettings | None = None,
) -> tuple[DrawingMode, ...]:
    """The ways of drawing in cleaned boxes, photo by photo; the careful one alone where too little is known."""
    listed = sorted((list(boxes) for boxes in photos if boxes), key=lambda boxes: min(one.event_id for one in boxes))
    base = replace(consensus or ConsensusSettings(), min_users=settings.min_users)
    modes: tuple[DrawingMode, ...] = (CAREFUL,)
    modes = _refitted(_residuals(listed, base, modes, settings), modes, settings)
    modes += _peaks(_residuals(listed, base, modes, settings), settings)
    for _ in range(settings.rounds):
        modes = _refitted(_residuals(listed, base, modes, settings), modes, settings)
    return modes


def _residuals(
    photos: Sequence[Sequence[DrawnBox]],
    consensus: ConsensusSettings,
    modes: Sequence[DrawingMode],
    settings: ModeFitSettings,
) -> _Residuals:
    off, mode, doubt = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0)]
    for boxes in photos:
        for found, strangers in _found_with_strangers(boxes, consensus, modes, settings):
            measured = _measured(found, strangers, modes, settings)
            off.append(measured.off)
            mode.append(measured.mode)
            doubt.append(measured.doubt)
    return _Residuals(np.concatenate(off), np.concatenate(mode), np.concatenate(doubt))


def _found_with_strangers(
    boxes: Sequence[DrawnBox],
    consensus: ConsensusSettings,
    modes: Sequence[DrawingMode],
    settings: ModeFitSettings,
) -> Iterator[tuple[tuple[Crowd, Ints], Floats]]:
    """Of each object the boxes that are of it, with their ways of drawing, and the edges (m, 4) of those about it."""
    found = find_objects(boxes, consensus, modes=modes)
    by_id = {drawn.event_id: drawn for drawn in boxes}
    taken = {member.event_id for one in found for member in one.members}
    strangers: list[list[Edges]] = [[] for _ in found]
    for drawn in sorted(boxes, key=lambda one: one.event_id) if found else ():
        if drawn.event_id not in taken:
            iou, at = max((overlap(drawn.box, one.box), -at) for at, one in enumerate(found))
            if iou > settings.about:
                strangers[-at].append(drawn.box)
    for one, about in zip(found, strangers, strict=True):
        crowd = crowd_of([by_id[member.event_id] for member in one.members])
        mode = np.array([member.mode for member in one.members])
        yield (crowd, mode), np.array(about).reshape(-1, 4)


def _measured(
    found: tuple[Crowd, Ints], strangers: Floats, modes: Sequence[DrawingMode], settings: ModeFitSettings
) -> _Residuals:
    """Residuals of the boxes that no border cut off: those of the object against it without them, the others as is."""
    crowd, mode = found
    whole = np.flatnonzero(crowd.half_free == 2)
    if len(whole) < settings.min_users:
        return _Residuals(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    edges, mode = crowd.edges[whole], mode[whole]
    shift = np.array([one.shift for one in modes])[mode]
    weight = 1 / np.square(np.array([one.spread for one in modes])[mode])[:, None]
    strangers = strangers[((strangers > 1e-4) & (strangers < 1 - 1e-4)).all(axis=1)]
    alone = np.ones((len(edges) + 1, len(edges)))  # the last row is the object of all
    alone[np.arange(len(edges)), np.arange(len(edges))] = 0
    boxes, variance = solve(edges, shift, weight, alone)
    against = np.concatenate([np.arange(len(edges)), np.full(len(strangers), len(edges))])
    size = np.maximum(sizes(boxes), 1e-3)
    off = (np.concatenate([edges, strangers]) - boxes[against]) / size[against]
    drawn = np.concatenate([mode, np.full(len(strangers), -1)])
    return _Residuals(off, drawn, variance.mean(axis=1)[against])


def _refitted(
    residuals: _Residuals, modes: tuple[DrawingMode, ...], settings: ModeFitSettings
) -> tuple[DrawingMode, ...]:
    """The ways of drawing as their own boxes show them; one that has lost its boxes is gone."""
    total = len(residuals.off)
    kept: list[DrawingMode] = []
    for number, mode in enumerate(modes):
        mine = residuals.mode == number
        count = int(mine.sum())
        if count < settings.min_boxes:
            kept += [mode] if number == 0 else []
            continue
        off, doubt = residuals.off[mine], residuals.doubt[mine]
        weight = 1 / (mode.spread**2 + doubt)
        shift = (off * weight[:, None]).sum(axis=0) / weight.sum() if number else np.zeros(4)
        excess = np.square(off - shift).mean(axis=1) - doubt
        variance = float((excess * np.square(weight)).sum() / np.square(weight).sum())
        spread = max(variance, (settings.least_spread if number else settings.least_careful) ** 2) ** 0.5
        kept.append(DrawingMode(round(count / total, 4), _rounded(shift), round(spread, 4)))
    return tuple(kept)


def _peaks(residuals: _Residuals, settings: ModeFitSettings) -> tuple[DrawingMode, ...]:
    """Ways of drawing that are not known yet, those of most boxes first."""
    total = len(residuals.off)
    needed = max(settings.min_boxes, settings.min_share * total)
    left = residuals.off[residuals.mode < 0][: settings.most_residuals]
    found: list[DrawingMode] = []
    while len(found) + 1 < settings.most_modes and len(left) >= needed:
        near = _crowding(left, left, settings.radius)
        shift = left[near[near.sum(axis=1).argmax()]].mean(axis=0)
        for _ in range(5):
            mine = _crowding(shift[None], left, settings.radius)[0]
            shift = left[mine].mean(axis=0)
        if mine.sum() < needed:
            break
        spread = max(float(np.square(left[mine] - shift).mean()) ** 0.5, settings.least_spread)
        found.append(DrawingMode(round(float(mine.sum()) / total, 4), _rounded(shift), round(spread, 4)))
        left = left[~_crowding(shift[None], left, 1.5 * settings.radius)[0]]
    return tuple(found)


def _crowding(centres: Floats, off: Floats, radius: float) -> NDArray[np.bool_]:
    near = np.ones((len(centres), len(off)), dtype=np.bool_)
    for edge in range(4):
        near &= np.abs(centres[:, edge, None] - off[None, :, edge]) < radius
    return near


def _rounded(shift: Floats) -> Edges:
    left, top, right, bottom = (round(edge, 4) for edge in shift.tolist())
    return left, top, right, bottom
