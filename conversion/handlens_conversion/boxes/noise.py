"""How simulated users draw: the shares of each kind of box, and what they look like.

=========  =============================================================================================================
kind       what is drawn, of an object w wide and h high
=========  =============================================================================================================
good       each edge off by a normal of `spread` times the object's side; a user's own spread varies by `user_spread`
loose      `loose` of the side further out on all sides, plus a normal of `way_spread`
partial    `partial` (left, top, right, bottom) of the sides further in, plus a normal of `way_spread`
whole      the whole photo, by who did not look
merged     the box around this object and another of the photo
slip       a good box of which one edge went astray by 0.3 to 1 of the side
random     any box
robot      one fixed box for all photos, or any box, by every other robot, at a pace that no person has
=========  =============================================================================================================

Words are wrong by `wrong_word` (any other word of the truth, evenly) and left out by `no_word`, whatever the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from handlens.errors import OptionsError
from handlens_conversion.boxes.drawn import Edges

__all__ = ["KINDS", "NOISES", "NoiseModel", "noise_of"]

KINDS = ("good", "loose", "partial", "whole", "merged", "slip", "random", "robot")


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Shares of all boxes (what is left of 1 is drawn well) and sizes in sides of the object."""

    loose_share: float = 0.06
    partial_share: float = 0.05
    whole_share: float = 0.02
    merged_share: float = 0.02
    slip_share: float = 0.02
    random_share: float = 0.02
    robot_share: float = 0.02
    wrong_word: float = 0.05
    no_word: float = 0.1
    spread: float = 0.06
    user_spread: float = 0.3  # standard deviation of the logarithm of a user's own spread
    loose: float = 0.3
    partial: Edges = (0.25, 0.1, -0.2, -0.35)
    way_spread: float = 0.05
    heavy_share: float = 0.02  # of the boxes, drawn by one and the same person
    bad_share: float = 0.0  # of the rows, broken on purpose: not what the format says

    def __post_init__(self) -> None:
        shares = [getattr(self, one.name) for one in fields(self) if one.name.endswith("_share")]
        drawn = sum(self.shares().values()) - self.shares()["good"]
        if min(shares) < 0 or drawn > 1 or max(self.bad_share, self.wrong_word, self.no_word) > 1:
            raise OptionsError("shares of a noise model must lie in 0..1, and those of the kinds add up to at most 1")

    def shares(self) -> dict[str, float]:
        """The share of each kind, in the order of `KINDS`."""
        shares = {kind: 0.0 if kind == "good" else float(getattr(self, f"{kind}_share")) for kind in KINDS}
        return {**shares, "good": 1 - sum(shares.values())}

    def with_junk(self, junk: float) -> NoiseModel:
        """The same kinds of junk in the same proportions, but `junk` of all boxes; the rest is drawn well."""
        shares = {f"{kind}_share": share for kind, share in self.shares().items() if kind != "good"}
        total = sum(shares.values())
        return self.changed({name: share * junk / total for name, share in shares.items()})

    def changed(self, numbers: Mapping[str, float]) -> NoiseModel:
        """This model with some of its numbers changed."""
        return replace(self, **dict[str, Any](numbers))


NOISES: Mapping[str, NoiseModel] = {
    "messy": NoiseModel(),
    "half-junk": NoiseModel().with_junk(0.5),
    "clean": NoiseModel(0, 0, 0, 0, 0, 0, 0, wrong_word=0, no_word=0, heavy_share=0, user_spread=0),
    # Loose, partial and random boxes as drawn by rule, no robots: like files that label tools' tests are made of.
    "plain": NoiseModel(
        0.04, 0.06, 0, 0, 0, 0.04, 0, wrong_word=0.05, no_word=0, user_spread=0, way_spread=0, heavy_share=0
    ),
}


def noise_of(name: str, changes: Mapping[str, float]) -> NoiseModel:
    """A named model with some of its numbers changed.

    Raises:
        OptionsError: there is no such model or number, or the numbers do not fit together.
    """
    known = {one.name for one in fields(NoiseModel)} - {"partial"}
    if name not in NOISES:
        raise OptionsError(f"there is no noise model {name!r}: choose one of {', '.join(NOISES)}")
    unknown = sorted(set(changes) - known)
    if unknown:
        raise OptionsError(f"a noise model has no {unknown[0]!r}: choose one of {', '.join(sorted(known))}")
    return NOISES[name].changed(changes)
