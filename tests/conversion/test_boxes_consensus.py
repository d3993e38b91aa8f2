"""Objects from boxes: what is found, what is kept apart, and what no crowd of boxes can change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens_conversion.boxes.cleaning import overlap
from handlens_conversion.boxes.consensus import ConsensusObject, ConsensusSettings, find_objects
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.mode_fit import fit_modes
from handlens_conversion.boxes.modes import CAREFUL, DrawingMode
from handlens_conversion.boxes.users import UserScore, scores_of, sum_by_user, trust_of

CUP, TABLE, FAR = (0.3, 0.3, 0.5, 0.6), (0.1, 0.2, 0.9, 0.95), (0.7, 0.05, 0.95, 0.3)
LOOSE = DrawingMode(0.05, (-0.3, -0.3, 0.3, 0.3), 0.02)
MODES = (CAREFUL, LOOSE)


def crowd(
    box: Edges, users: Sequence[int], *, seed: int = 0, spread: float = 0.05, words: str | None = None
) -> list[DrawnBox]:
    """Boxes that careful users draw about an object."""
    random = np.random.default_rng([seed, *(round(1000 * edge) for edge in box)])
    size = np.tile([box[2] - box[0], box[3] - box[1]], 2)
    boxes = []
    for user in users:
        edges = np.clip(np.array(box) + size * spread * random.standard_normal(4), 0, 1).round(5).tolist()
        name = hashlib.sha256(f"{seed} {box} {user}".encode()).hexdigest()[:12]
        boxes.append(DrawnBox(name, f"u{user}", "p", (edges[0], edges[1], edges[2], edges[3]), words, float(user)))
    return boxes


def boxes_of(found: Sequence[ConsensusObject]) -> list[Edges]:
    return [one.box for one in found]


def test_users_who_agree_make_one_object_nearer_to_the_truth_than_they_are() -> None:
    drawn = crowd(CUP, range(8))
    (found,) = find_objects(drawn)
    assert overlap(found.box, CUP) > np.mean([overlap(one.box, CUP) for one in drawn])
    assert (found.users, found.agreement, found.photo) == (8, 1.0, "p")
    assert all(0 < error < 0.05 for error in found.uncertainty)


def test_nested_and_neighbouring_objects_are_kept_apart() -> None:
    beside = (0.5, 0.3, 0.7, 0.6)
    drawn = crowd(CUP, range(5)) + crowd(TABLE, range(5, 10)) + crowd(beside, range(3, 8)) + crowd(FAR, range(4))
    found = find_objects(drawn)
    assert len(found) == 4
    for true in (CUP, TABLE, beside, FAR):
        assert max(overlap(one.box, true) for one in found) > 0.85


def test_neighbours_that_overlap_by_half_come_apart_though_one_is_drawn_by_more() -> None:
    first, second = (0.2, 0.2, 0.6, 0.8), (0.33, 0.2, 0.73, 0.8)
    found = find_objects(crowd(first, range(12), spread=0.04) + crowd(second, range(20, 24), spread=0.04))
    assert len(found) == 2


def test_junk_moves_nothing() -> None:
    random = np.random.default_rng(1)
    alone = find_objects(crowd(CUP, range(6)))
    junk = []
    for at in range(20):
        (left, right), (top, bottom) = np.sort(random.random((2, 2)), axis=1).tolist()
        junk.append(DrawnBox(f"j{at}", f"j{at}", "p", (left, top, right + 0.01, bottom + 0.01), None, 0.0))
    near = [one for one in find_objects(crowd(CUP, range(6)) + junk) if overlap(one.box, CUP) > 0.5]
    assert len(near) == 1
    assert overlap(near[0].box, alone[0].box) > 0.9


def test_fewer_users_than_asked_for_are_nobody() -> None:
    assert find_objects(crowd(CUP, range(2))) == ()
    assert len(find_objects(crowd(CUP, range(2)), ConsensusSettings(min_users=2))) == 1
    assert find_objects(crowd(CUP, range(4)), ConsensusSettings(min_users=5)) == ()
    assert find_objects([]) == ()


def test_one_user_who_draws_a_thousand_boxes_never_outvotes_three() -> None:
    lone = [one for seed in range(250) for one in crowd(FAR, [99], seed=seed)]
    pull = [one for seed in range(250) for one in crowd((0.33, 0.33, 0.55, 0.65), [99], seed=seed)]
    found = find_objects(crowd(CUP, range(3)) + lone + pull, ConsensusSettings(max_boxes=2000))
    assert len(found) == 1
    assert overlap(found[0].box, CUP) > 0.8
    assert sum(member.user == "u99" for member in found[0].members) <= 1


def test_an_edge_at_the_border_is_not_pulled_inside_by_boxes_that_the_border_cut_off() -> None:
    drawn = crowd((0.0, 0.3, 0.4, 0.7), range(30), spread=0.06)
    (found,) = find_objects(drawn)
    assert found.box[0] < 0.5 * np.mean([one.box[0] for one in drawn])


def test_words_tell_objects_apart_that_their_boxes_hardly_do() -> None:
    pizza, plate = (0.2, 0.2, 0.8, 0.7), (0.16, 0.17, 0.88, 0.76)
    drawn = crowd(pizza, range(6), words="pizza") + crowd(plate, range(10, 16), words="Plates")
    assert len(find_objects(drawn)) == 2
    assert len(find_objects(crowd(pizza, range(6), words="pizza") + crowd(pizza, range(9), seed=1, words="pie"))) == 1


def test_boxes_drawn_loosely_say_where_the_object_is_and_are_no_object_of_their_own() -> None:
    loosely = (0.24, 0.21, 0.56, 0.69)
    drawn = crowd(CUP, range(5)) + crowd(loosely, range(10, 13), spread=0.01)
    assert len(find_objects(drawn)) == 2
    (found,) = find_objects(drawn, modes=MODES)
    assert overlap(found.box, CUP) > 0.95
    assert [member.mode for member in found.members].count(1) == 3


def test_users_who_are_not_trusted_are_not_heard() -> None:
    drawn = crowd(CUP, range(3)) + crowd(FAR, range(10, 13))
    assert len(find_objects(drawn, trust={"u0": 1.0})) == 2
    found = find_objects(drawn, trust={"u10": 0.1})
    assert len(found) == 1
    assert overlap(found[0].box, CUP) > 0.7


def test_a_photo_with_more_boxes_than_can_be_used_is_looked_at_in_part() -> None:
    drawn = crowd(CUP, range(3000))
    (found,) = find_objects(drawn, ConsensusSettings(max_boxes=100))
    assert found.users <= 100
    assert overlap(found.box, CUP) > 0.95


def test_the_standard_error_shrinks_with_the_root_of_the_users() -> None:
    (few,), (many,) = find_objects(crowd(CUP, range(4))), find_objects(crowd(CUP, range(64)))
    assert np.mean(few.uncertainty) / np.mean(many.uncertainty) == pytest.approx(4, rel=0.3)


_EDGE = st.integers(0, 60).map(lambda step: step / 60)
_BOX = st.tuples(_EDGE, _EDGE, _EDGE, _EDGE).filter(lambda box: box[0] < box[2] and box[1] < box[3])


@st.composite
def crowds(draw: st.DrawFn) -> list[DrawnBox]:
    """Some objects drawn by some users, and junk."""
    boxes: list[DrawnBox] = []
    for at, box in enumerate(draw(st.lists(_BOX, min_size=1, max_size=3))):
        users = draw(st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True))
        boxes += crowd(box, users, seed=at, words=draw(st.sampled_from([None, "cup", "mug"])))
    junk = draw(st.lists(st.tuples(st.integers(0, 6), _BOX), max_size=6))
    boxes += [DrawnBox(f"j{at}", f"u{user}", "p", box, None, 0.0) for at, (user, box) in enumerate(junk)]
    return [one for one in boxes if one.box[0] < one.box[2] and one.box[1] < one.box[3]]


@given(crowds(), st.randoms(), st.sampled_from([(CAREFUL,), MODES]))
@settings(max_examples=150, deadline=None)
def test_the_same_boxes_in_any_order_give_the_same_answer(
    boxes: list[DrawnBox], random: object, modes: tuple[DrawingMode, ...]
) -> None:
    found = find_objects(boxes, modes=modes)
    shuffled = list(boxes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert repr(find_objects(shuffled, modes=modes)) == repr(found)


@given(crowds(), st.integers(2, 4))
@settings(max_examples=150, deadline=None)
def test_an_object_has_enough_users_once_each_and_lies_within_their_boxes(boxes: list[DrawnBox], k: int) -> None:
    by_id = {one.event_id: one for one in boxes}
    taken: list[str] = []
    for found in find_objects(boxes, ConsensusSettings(min_users=k)):
        users = [member.user for member in found.members]
        assert len(set(users)) == len(users) == found.users >= k
        assert 0 < found.agreement <= 1
        taken += [member.event_id for member in found.members]
        edges = np.array([by_id[member.event_id].box for member in found.members])
        assert (np.array(found.box) >= edges.min(axis=0) - 1e-5).all()
        assert (np.array(found.box) <= edges.max(axis=0) + 1e-5).all()
    assert len(set(taken)) == len(taken)


@given(crowds())
@settings(max_examples=60, deadline=None)
def test_boxes_that_agree_wholly_give_their_own_box(boxes: list[DrawnBox]) -> None:
    box = boxes[0].box
    same = [DrawnBox(f"e{user}", f"u{user}", "p", box, None, 0.0) for user in range(4)]
    if min(box[2] - box[0], box[3] - box[1]) > 0.01:
        assert boxes_of(find_objects(same)) == [tuple(round(edge, 5) for edge in box)]


def photos(count: int, *, loose: bool) -> list[list[DrawnBox]]:
    """Photos with one object each, drawn by ten users carefully and, if so, by two loosely."""
    made = []
    for at in range(count):
        left, top = 0.2 + 0.002 * at, 0.5 - 0.002 * at
        box = (left, top, left + 0.2, top + 0.2)
        boxes = crowd(box, range(10), seed=at)
        if loose:
            boxes += crowd((left - 0.06, top - 0.06, left + 0.26, top + 0.26), [20, 21], seed=at, spread=0.02)
        made.append([DrawnBox(f"{at}{one.event_id}", one.user, f"p{at}", one.box, None, 0.0) for one in boxes])
    return made


def test_ways_of_drawing_are_learned_from_the_boxes_alone() -> None:
    careful, loose = fit_modes(photos(40, loose=True))
    assert careful.spread == pytest.approx(0.05, abs=0.005)
    assert loose.shift == pytest.approx((-0.3, -0.3, 0.3, 0.3), abs=0.03)
    assert loose.share == pytest.approx(1 / 6, abs=0.03)


def test_no_way_of_drawing_is_seen_where_there_is_none_and_none_in_too_few_photos() -> None:
    assert len(fit_modes(photos(40, loose=False))) == 1
    assert fit_modes([]) == (CAREFUL,)


def test_ways_of_drawing_do_not_depend_on_the_order_of_photos() -> None:
    made = photos(25, loose=True)
    assert fit_modes([list(reversed(boxes)) for boxes in reversed(made)]) == fit_modes(made)


def test_a_way_of_drawing_can_be_written_down_and_read_back() -> None:
    assert DrawingMode.from_dict(LOOSE.to_dict()) == LOOSE


def test_a_user_whom_nobody_agrees_with_loses_trust_and_one_who_drew_little_does_not() -> None:
    scores = []
    for at in range(30):
        boxes = crowd(CUP, range(4), seed=at) + crowd((0.6 + at / 100, 0.6, 0.65 + at / 100, 0.7), [9], seed=at)
        scores.append(scores_of(boxes, find_objects(boxes)))
    scores.append({"new": UserScore(1, 0)})
    trust = trust_of(sum_by_user(scores))
    assert trust["u0"] == 1.0
    assert trust["u9"] < 0.3 < 0.8 < trust["new"]


def test_scores_add_up_in_any_order() -> None:
    parts = [{"a": UserScore(2, 1)}, {"a": UserScore(3, 3), "b": UserScore(1, 0)}]
    assert sum_by_user(parts) == sum_by_user(reversed(parts)) == {"a": UserScore(5, 4), "b": UserScore(1, 0)}
    assert trust_of({"a": UserScore(3, 0)}) == {"a": 1.0}
