"""The salient colours of an object: which of the eleven basic colours it has, and how much of it has them.

Rules:

* Pure and the same everywhere: the pixels alone decide, nothing is drawn at random. 24 x 24 pixels are enough.
* What surrounds the object is not its colour. Pixels like those in the margin around the box (of the whole photo: like
  those of its edge) count little, and what is in the middle counts more than what is at the side: the boundary and
  centre priors of salient object detection (Wei et al., "Geodesic saliency using background priors", 2012; Judd et al.,
  "Learning to predict where humans look", 2009). Where all looks like the margin, the middle alone decides.
* Colours are grouped by k-means in CIELAB, seeded by the farthest points (Gonzalez, "Clustering to minimize the maximum
  intercluster distance", 1985), and named by the nearest prototype of `handlens.wire.palette`.

>>> import numpy as np
>>> pixels = np.full((48, 48, 3), 255, np.uint8)
>>> pixels[12:36, 12:36] = (200, 20, 30)
>>> [colour.name for colour in salient_colours(pixels, inside=Box(0.2, 0.2, 0.8, 0.8))]
['red']
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from handlens.geometry import WHOLE, Box
from handlens.results import Colour
from handlens.wire.palette import PROTOTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from handlens.vision.image import Photo

__all__ = ["ColourRules", "colours_of", "salient_colours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourRules:
    """How colours are found. Distances are CIELAB's: 2.3 is just noticeable, 100 is black to white."""

    side: int = 24  # pixels that are looked at, each way
    margin: float = 0.15  # of the box's size, looked at around it as background
    edge: int = 1  # pixels at the side of the whole photo that are taken for background
    unlike: float = 14.0  # from the nearest background colour: a pixel so far from it counts by half
    groups: int = 4  # of the object's colours, and half as many of the background's
    rounds: int = 3  # of k-means; seeded by the farthest points it settles soon
    centre: float = 0.30  # spread of the middle, as a part of the box
    least_object: float = 0.06  # of the middle's weight: with less left nothing stands out from the background
    least_share: float = 0.10  # colours of a smaller part of the object are left out
    most: int = 4


_RULES = ColourRules()


def colours_of(photo: Photo, box: Box = WHOLE, *, rules: ColourRules = _RULES) -> tuple[Colour, ...]:
    """The salient colours of what is in `box` (fractions of the upright photo), the largest share first."""
    around = box if box == WHOLE else box.expanded(rules.margin)
    pixels = photo.pixels(around, size=(rules.side, rules.side), resample="quad")
    # Two digits are finer than a pixel, and let most boxes share what `_places` keeps.
    inside = Box(
        round((box.x_min - around.x_min) / around.width, 2),
        round((box.y_min - around.y_min) / around.height, 2),
        min(round((box.x_max - around.x_min) / around.width, 2), 1.0),
        min(round((box.y_max - around.y_min) / around.height, 2), 1.0),
    )
    return salient_colours(pixels, inside=inside, rules=rules)


def salient_colours(
    pixels: NDArray[np.uint8], *, inside: Box = WHOLE, rules: ColourRules = _RULES
) -> tuple[Colour, ...]:
    """The salient colours of (h, w, 3) uint8 RGB pixels, the largest share first; `inside` is the object's box in them.

    The shares are of what was taken for the object, and add up to 1 at most.
    """
    lab = _lab(pixels)
    within, around, middle = _places(pixels.shape[0], pixels.shape[1], inside, rules)
    mine, background, weights = lab[within], lab[around], middle
    if len(background):
        centres, _ = _k_means(background, np.ones(len(background), np.float32), rules.groups // 2, 1)
        distance = _squares(mine, centres).min(axis=1)
        unlike = weights * (distance / (distance + rules.unlike**2)) ** 2
        weights = unlike if unlike.sum() > rules.least_object * weights.sum() else weights
    centres, groups = _k_means(mine, weights, rules.groups, rules.rounds)
    return _named(pixels.reshape(-1, 3)[within], centres, groups, weights, rules)


def _named(
    pixels: NDArray[np.uint8],
    centres: NDArray[np.float32],
    groups: NDArray[np.intp],
    weights: NDArray[np.float32],
    rules: ColourRules,
) -> tuple[Colour, ...]:
    """Groups of one name are one colour; its sRGB value is the mean of its pixels."""
    names, prototypes = _prototypes()
    sums = _sums(pixels.astype(np.float32), weights, groups, len(centres))
    named: dict[str, NDArray[np.float32]] = {}
    for nearest, of_group in zip(_nearest(centres, prototypes).tolist(), sums, strict=True):
        known = named.get(names[nearest])
        named[names[nearest]] = of_group if known is None else known + of_group
    total, found = float(weights.sum()), []
    for name, (red, green, blue, weight) in ((name, one.tolist()) for name, one in named.items()):
        if weight >= rules.least_share * total:
            rgb = (round(red / weight), round(green / weight), round(blue / weight))
            found.append(Colour(name, round(weight / total, 4), rgb))
    return tuple(sorted(found, key=lambda colour: (-colour.share, colour.name))[: rules.most])


def _k_means(
    points: NDArray[np.float32], weights: NDArray[np.float32], count: int, rounds: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Weighted k-means: centres (k, 3) and the group (n,) of each point. Lloyd's rounds from the farthest points."""
    middle = weights @ points / weights.sum()
    centres = points[_squares(points, middle[None])[:, 0].argmin()][None]
    far = _squares(points, centres)[:, 0] * weights
    for _ in range(min(count, len(points)) - 1):
        newest = points[far.argmax()][None]
        centres = np.concatenate([centres, newest])
        far = np.minimum(far, _squares(points, newest)[:, 0] * weights)
    groups = _nearest(points, centres)
    for _ in range(rounds):
        sums = _sums(points, weights, groups, len(centres))
        centres = np.where(sums[:, 3:] > 0, sums[:, :3] / np.maximum(sums[:, 3:], 1e-12), centres)
        groups = _nearest(points, centres)
    return centres, groups


def _sums(
    points: NDArray[np.float32], weights: NDArray[np.float32], groups: NDArray[np.intp], count: int
) -> NDArray[np.float32]:
    """For each group the weighted sums of its points, and of its weights: (k, 4)."""
    shares = (groups[None] == np.arange(count)[:, None]) * weights
    return np.concatenate([shares @ points, shares.sum(axis=1, keepdims=True)], axis=1)


def _nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    """The number (n,) of each point's nearest centre."""
    return np.asarray((np.einsum("ij,ij->i", centres, centres) - 2.0 * (points @ centres.T)).argmin(axis=1))


def _squares(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances (n, k)."""
    apart = points[:, None] - centres[None]
    return np.asarray(np.einsum("ijk,ijk->ij", apart, apart))


@functools.lru_cache(maxsize=64)
def _places(
    height: int, width: int, inside: Box, rules: ColourRules
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The pixels in the box, those around it, and how near the middle of the box each of the former is, 0..1."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    if inside == WHOLE:
        inside = Box(rules.edge / width, rules.edge / height, 1 - rules.edge / width, 1 - rules.edge / height)
    across = np.abs((x - inside.x_min) / inside.width - 0.5)
    down = np.abs((y - inside.y_min) / inside.height - 0.5)
    within = ((down[:, None] <= 0.5) & (across[None] <= 0.5)).reshape(-1)
    middle = np.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * rules.centre**2)).reshape(-1)
    return np.flatnonzero(within), np.flatnonzero(~within), middle[within].astype(np.float32)


@functools.lru_cache(maxsize=1)
def _prototypes() -> tuple[list[str], NDArray[np.float32]]:
    values = np.array([rgb for _, rgb in PROTOTYPES], dtype=np.uint8)
    return [name for name, _ in PROTOTYPES], _lab(values)


@functools.lru_cache(maxsize=1)
def _linear() -> NDArray[np.float32]:
    """Linear light of each sRGB byte (IEC 61966-2-1)."""
    value = np.arange(256) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


# Linear sRGB to CIE XYZ over the D65 white, and CIELAB (CIE 15:2004).
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_WHITE = (_TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)).T.astype(np.float32)
_TO_LAB = np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]], dtype=np.float32)


def _lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB (n, 3) of sRGB bytes (..., 3)."""
    share = _linear()[pixels.reshape(-1, 3)] @ _TO_WHITE
    root = np.where(share > 216 / 24389, np.cbrt(share), share * (24389 / 27 / 116) + 16 / 116).astype(np.float32)
    lab = root @ _TO_LAB
    lab[:, 0] -= 16
    return np.asarray(lab, dtype=np.float32)
