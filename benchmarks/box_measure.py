"""What `box_consensus.py` measures with: boxes by photo, which objects were drawn well, and what was found of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from box_baselines import BASELINES, Found, iou, most_said

from handlens_conversion.boxes.cleaning import clean_photo
from handlens_conversion.boxes.consensus import ConsensusObject, ConsensusSettings, find_objects
from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.boxes.labels import normal_word, vote
from handlens_conversion.boxes.mode_fit import fit_modes
from handlens_conversion.boxes.modes import DrawingMode
from handlens_conversion.boxes.noise import KINDS
from handlens_conversion.boxes.pixel_rows import read_pixel_row
from handlens_conversion.boxes.robots import robot_verdict, statistics_of
from handlens_conversion.boxes.simulate import Scene, SimulationOptions, chunks_of, drawn_boxes
from handlens_conversion.boxes.truth import TrueObject, TruePhoto, load_truth

MATCH = 0.5  # IoU from which an object is found
WELL = 0.7  # IoU from which a user's box of a file is drawn well; in a simulation it is what was meant to be
WORD = 0.2  # IoU that the user's word is worth when it is asked which object a box of a file is of

Method = Callable[[Sequence[DrawnBox], int], list[Found]]


@dataclass(frozen=True)
class Crowds:
    """Boxes, true objects, and by photo how many users drew each object well."""

    boxes: Mapping[str, Sequence[DrawnBox]]
    truth: Mapping[str, Sequence[TrueObject]]
    well: Mapping[str, Sequence[int]]

    def some(self, photos: Iterable[str]) -> Crowds:
        kept = list(photos)
        return Crowds(*({photo: part[photo] for photo in kept} for part in (self.boxes, self.truth, self.well)))


def load_file(data: Path, well: float = WELL) -> Crowds:
    """`raw_boxes/coco_simulated.jsonl` against `detection/coco.jsonl`."""
    photos = {photo.photo: photo for photo in load_truth(data / "detection" / "coco.jsonl")}
    sizes = {name: photo.size for name, photo in photos.items()}
    boxes: dict[str, list[DrawnBox]] = defaultdict(list)
    for line in (data / "raw_boxes" / "coco_simulated.jsonl").read_text("utf-8").splitlines():
        drawn = read_pixel_row(json.loads(line), sizes)
        if not isinstance(drawn, DrawnBox):
            raise SystemExit(f"a row of the file is rejected: {drawn}")
        boxes[drawn.photo].append(drawn)
    truth = {name: photos[name].objects for name in sorted(boxes)}
    return Crowds(cleaned(boxes), truth, {name: _drawn_well(boxes[name], truth[name], well) for name in truth})


def simulated(truth: Sequence[TruePhoto], options: SimulationOptions) -> Crowds:
    """A simulation, cleaned; robots are taken out by their statistics."""
    scene = Scene(truth)
    objects = {photo.photo: photo.objects for photo in truth}
    boxes: dict[str, list[DrawnBox]] = defaultdict(list)
    users: dict[str, list[DrawnBox]] = defaultdict(list)
    well: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for chunk in chunks_of(scene, options):
        for row, drawn in enumerate(drawn_boxes(scene, options, chunk)):
            users[drawn.user].append(drawn)
            if KINDS[chunk.kind[row]] == "good":
                well[drawn.photo][int(chunk.meant[row])].add(drawn.user)
    for mine in users.values():
        if not robot_verdict(statistics_of(mine)).is_robot:
            for drawn in mine:
                boxes[drawn.photo].append(drawn)
    true = {name: objects[name.partition("~")[0]] for name in sorted(boxes)}
    drawn_well = {name: [len(well[name][at]) for at in range(len(true[name]))] for name in true}
    return Crowds(cleaned(boxes), true, drawn_well)


def cleaned(boxes: Mapping[str, Sequence[DrawnBox]]) -> dict[str, Sequence[DrawnBox]]:
    return {photo: clean_photo(boxes[photo]).kept for photo in sorted(boxes)}


def ways_of(crowds: Crowds) -> tuple[DrawingMode, ...]:
    """The ways of drawing, learned from the boxes alone."""
    return fit_modes(crowds.boxes.values())


def consensus(modes: Sequence[DrawingMode], settings: ConsensusSettings | None = None) -> Method:
    def method(boxes: Sequence[DrawnBox], k: int) -> list[Found]:
        base = settings or ConsensusSettings()
        asked = ConsensusSettings(**{**{name: getattr(base, name) for name in base.__slots__}, "min_users": k})
        return [_found(one) for one in find_objects(boxes, asked, modes=modes)]

    return method


def methods(modes: Sequence[DrawingMode]) -> dict[str, Method]:
    return {**BASELINES, "handlens": consensus(modes)}


def rate(crowds: Crowds, method: Method, users: int = 3, *, exactly: int | None = None) -> dict[str, float]:
    """Figures of objects of `users` users; asked for are those that so many, or `exactly` so many, drew well."""
    wanted = hits = found = matched = 0
    ious: list[float] = []
    named: list[bool] = []
    for photo, truth in crowds.truth.items():
        objects = method(crowds.boxes[photo], users)
        counts = crowds.well[photo]
        asked = {at for at, count in enumerate(counts) if (count >= users if exactly is None else count == exactly)}
        pairs = _pairs(objects, truth)
        wanted, found, matched = wanted + len(asked), found + len(objects), matched + len(pairs)
        for one, at, overlap in pairs:
            if at in asked:
                hits += 1
                ious.append(overlap)
                named.append(objects[one].word == normal_word(truth[at].word))
    return {
        "objects": wanted,
        "recall": round(hits / wanted, 4),
        "found": found,
        "precision": round(matched / max(found, 1), 4),
        "iou": round(float(np.mean(ious)), 4),
        "label": round(float(np.mean(named)), 4),
    }


def covered(crowds: Crowds, modes: Sequence[DrawingMode]) -> dict[str, float]:
    """The share of true edges within one and two standard errors of the consensus edge (a normal: 0.68 and 0.95)."""
    off: list[float] = []
    for photo, truth in crowds.truth.items():
        objects = find_objects(crowds.boxes[photo], modes=modes)
        for one, at, overlap in _pairs([_found(one) for one in objects], truth):
            if overlap >= WELL:
                edges = zip(objects[one].box, truth[at].box, objects[one].uncertainty, strict=True)
                off += [abs(found - true) / error for found, true, error in edges if 0.002 < true < 0.998]
    return {
        "within_1": round(float(np.mean(np.array(off) < 1)), 3),
        "within_2": round(float(np.mean(np.array(off) < 2)), 3),
    }


def gated(crowds: Crowds, modes: Sequence[DrawingMode]) -> dict[str, float]:
    """The labels that `labels.vote` keeps, by users alone: the share of objects with one, and of right ones."""
    kept = right = total = 0
    for photo, truth in crowds.truth.items():
        objects = find_objects(crowds.boxes[photo], modes=modes)
        for one, at, _ in _pairs([_found(one) for one in objects], truth):
            label = vote(member.words for member in objects[one].members)
            total += 1
            kept += label is not None
            right += label is not None and label.word == normal_word(truth[at].word)
    return {"labelled": round(kept / total, 4), "right": round(right / kept, 4)}


def _found(one: ConsensusObject) -> Found:
    """With the word of most users, as the baselines take it, so that the same rule names all methods' objects."""
    return Found(np.array(one.box), most_said([member.words for member in one.members]), one.users)


def _pairs(objects: Sequence[Found], truth: Sequence[TrueObject]) -> list[tuple[int, int, float]]:
    """One to one, the best overlaps first."""
    if not objects or not truth:
        return []
    overlap = iou(np.array([one.box for one in objects]), np.array([one.box for one in truth]))
    pairs = []
    while overlap.max() >= MATCH:
        one, at = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((int(one), int(at), float(overlap[one, at])))
        overlap[one, :] = overlap[:, at] = -1
    return pairs


def _drawn_well(boxes: Sequence[DrawnBox], truth: Sequence[TrueObject], well: float) -> list[int]:
    overlap = iou(np.array([one.box for one in boxes]), np.array([one.box for one in truth]).reshape(-1, 4))
    same = np.array([[normal_word(one.words or "") == normal_word(true.word) for true in truth] for one in boxes])
    of = (overlap + WORD * same).argmax(axis=1)
    good = overlap[np.arange(len(boxes)), of] >= well
    return [len({boxes[row].user for row in np.flatnonzero(good & (of == at)).tolist()}) for at in range(len(truth))]
