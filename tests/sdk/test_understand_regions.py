"""Which parts of a photo are searched, and which is the main one."""

from hypothesis import given
from hypothesis import strategies as st

from handlens.geometry import WHOLE, Box
from handlens.results import Region
from handlens.understand import SubjectRules, choose_regions


def found(label, score, *edges):
    return Region(Box(*edges), "detector", label, score)


def test_a_large_central_object_comes_before_a_surer_one_at_the_edge():
    chair = found("chair", 0.6, 0.2, 0.2, 0.8, 0.9)
    cup = found("cup", 0.8, 0.0, 0.0, 0.15, 0.2)
    assert choose_regions([cup, chair], limit=3) == (chair, cup)


def test_with_nothing_detected_the_whole_photo_is_searched():
    assert choose_regions([], limit=3) == (Region(WHOLE, "whole"),)


def test_the_whole_photo_leads_when_only_bystanders_were_detected():
    person = found("person", 0.7, 0.1, 0.7, 0.2, 0.95)
    assert choose_regions([person], limit=3) == (Region(WHOLE, "whole"), person)


def test_specks_in_the_background_are_left_out():
    dog = found("dog", 0.8, 0.2, 0.2, 0.8, 0.8)
    bird = found("bird", 0.3, 0.9, 0.05, 0.94, 0.08)
    assert choose_regions([bird, dog], limit=3) == (dog,)


def test_what_counts_as_the_subject_can_be_set():
    person = found("person", 0.7, 0.1, 0.7, 0.2, 0.95)
    assert choose_regions([person], limit=3, rules=SubjectRules(subject=0.05)) == (person,)


EDGE = st.floats(0.0, 0.49)
REGIONS = st.lists(
    st.builds(
        lambda x, y, w, h, s: found("dog", s, x, y, x + w + 0.01, y + h + 0.01), EDGE, EDGE, EDGE, EDGE, st.floats(0, 1)
    ),
    max_size=6,
)


@given(REGIONS, st.integers(1, 4), st.randoms())
def test_there_is_always_a_region_never_more_than_the_limit_and_the_order_given_does_not_matter(regions, limit, random):
    chosen = choose_regions(regions, limit=limit)
    assert 1 <= len(chosen) <= limit
    shuffled = random.sample(regions, len(regions))
    assert choose_regions(shuffled, limit=limit) == chosen


def test_a_herd_is_one_subject_and_its_most_prominent_animal_is_searched_for_it():
    near = found("horse", 0.7, 0.3, 0.3, 0.6, 0.7)
    far = found("horse", 0.5, 0.65, 0.3, 0.95, 0.7)
    assert choose_regions([near], limit=3, rules=SubjectRules(subject=0.3))[0] == Region(WHOLE, "whole")
    assert choose_regions([far, near], limit=3, rules=SubjectRules(subject=0.3)) == (near,)


def test_regions_without_a_label_stand_alone():
    boxes = [Region(Box(0.1, 0.1, 0.5, 0.9), "detector"), Region(Box(0.5, 0.1, 0.9, 0.9), "detector")]
    assert set(choose_regions(boxes, limit=3)) == set(boxes)
