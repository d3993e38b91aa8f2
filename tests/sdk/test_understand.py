"""Fusing detector, classifier and neighbours into a type and words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.geometry import WHOLE
from handlens.results import Evidence, Neighbour
from handlens.understand import FusionWeights, type_confidences, understand
from handlens.wire.item import OBJECT_TYPES, Item
from handlens.wire.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    version="1",
    titles={},
    detector={"sports ball": "sport", "orange": "food", "person": "fashion", "bird": "animal"},
    classifier={"orange": "food", "lemon": "food", "tennis ball": "sport", "hammer": "tool", "crane": "animal"},
)


def near(key, object_type, similarity, **annotations):
    item = Item(f"i{key}", "photo", object_type, f"Item {key}", annotations=annotations)
    return Neighbour(key, item, similarity, WHOLE)


def seen(detection=None, labels=(), neighbours=()):
    return Evidence(detection, tuple(labels), tuple(neighbours))


def test_a_sure_detection_of_a_ball_does_not_beat_the_agreement_of_classifier_and_neighbours():
    grapefruits = [near(key, "food", 0.8 - key / 100, grapefruit=1.0, fruit=0.5) for key in range(5)]
    known = understand(seen(("sports ball", 0.9), [("orange", 0.6), ("lemon", 0.2)], grapefruits), TAXONOMY)
    assert known.object_type == "food"
    assert known.type_confidence > 0.9
    assert known.annotations[0].tag == "grapefruit"
    assert "sports ball" not in [note.tag for note in known.annotations[:3]]


def test_neighbours_name_what_no_label_list_holds():
    known = understand(seen(neighbours=[near(key, "food", 0.7, grapefruit=1.0) for key in range(4)]), TAXONOMY)
    first = known.annotations[0]
    assert (first.tag, first.sources) == ("grapefruit", ("neighbours",))
    assert first.confidence > 0.6


def test_a_word_said_by_two_voices_is_surer_than_by_either():
    both = understand(seen(("orange", 0.5), [("orange", 0.5)]), TAXONOMY).annotations[0]
    detector = understand(seen(("orange", 0.5)), TAXONOMY).annotations[0]
    classifier = understand(seen(labels=[("orange", 0.5)]), TAXONOMY).annotations[0]
    assert both.sources == ("classifier", "detector")
    assert both.confidence > max(detector.confidence, classifier.confidence)


def test_each_annotation_names_who_said_it_the_surest_first():
    neighbours = [near(key, "food", 0.85, orange=1.0) for key in range(5)]
    known = understand(seen(("orange", 0.3), [("orange", 0.4)], neighbours), TAXONOMY)
    assert known.annotations[0].sources == ("neighbours", "classifier", "detector")


def test_breeds_add_up_to_the_word_that_people_use():
    breeds = Taxonomy("1", {}, {}, {"beagle": "animal", "pug": "animal"}, {"beagle": "dog", "pug": "dog"})
    notes = understand(seen(labels=[("beagle", 0.3), ("pug", 0.25)]), breeds).annotations
    assert [note.tag for note in notes] == ["dog", "beagle", "pug"]
    alone = understand(seen(labels=[("beagle", 0.9)]), breeds).annotations
    assert [note.tag for note in alone] == ["beagle", "dog"]


def test_items_that_are_not_similar_do_not_vote():
    far = [near(key, "vehicle", 0.2, car=1.0) for key in range(40)]
    known = understand(seen(labels=[("hammer", 0.6)], neighbours=far), TAXONOMY)
    assert known.object_type == "tool"
    assert [note.tag for note in known.annotations] == ["hammer"]


def test_few_far_neighbours_leave_the_type_less_sure_than_near_ones():
    far = type_confidences(seen(neighbours=[near(1, "plant", 0.45)]), TAXONOMY)
    close = type_confidences(seen(neighbours=[near(1, "plant", 0.8)]), TAXONOMY)
    assert 1 / len(OBJECT_TYPES) < far["plant"] < close["plant"]


def test_an_item_with_many_similar_parts_votes_once():
    one = type_confidences(seen(neighbours=[near(1, "plant", 0.7), near(2, "home", 0.65)]), TAXONOMY)
    parts = [near(1, "plant", 0.7), *(near(2, "home", 0.65 - step / 100) for step in range(9))]
    assert type_confidences(seen(neighbours=parts), TAXONOMY) == one


def test_with_no_evidence_the_type_is_other_with_the_confidence_of_a_guess():
    known = understand(seen(), TAXONOMY)
    assert known.object_type == "other"
    assert known.type_confidence == pytest.approx(1 / len(OBJECT_TYPES))
    assert known.annotations == ()


def test_a_label_that_the_taxonomy_lacks_is_a_word_but_says_nothing_of_the_type():
    known = understand(seen(labels=[("zeppelin", 0.9)]), TAXONOMY)
    assert known.object_type == "other"
    assert known.annotations[0].tag == "zeppelin"


def test_a_stronger_weight_makes_a_voice_count_for_more():
    torn = seen(("bird", 0.8), [("hammer", 0.8)])
    assert understand(torn, TAXONOMY, weights=FusionWeights(detector=2.0)).object_type == "animal"
    assert understand(torn, TAXONOMY, weights=FusionWeights(detector=0.1)).object_type == "tool"


def test_at_most_so_many_words_are_kept_and_none_below_the_least_confidence():
    crowded = near(1, "food", 0.9, **{f"tag{number}": 0.5 for number in range(30)}, faint=0.01)
    notes = understand(seen(neighbours=[crowded]), TAXONOMY).annotations
    assert len(notes) == FusionWeights().most_words
    assert "faint" not in [note.tag for note in notes]


SCORES = st.floats(0.0, 1.0)
EVIDENCE = st.builds(
    Evidence,
    st.none() | st.tuples(st.sampled_from([*TAXONOMY.detector, "unknown"]), SCORES),
    st.lists(st.tuples(st.sampled_from([*TAXONOMY.classifier, "unknown"]), SCORES), max_size=4).map(tuple),
    st.lists(
        st.builds(near, st.integers(0, 6), st.sampled_from(OBJECT_TYPES), st.floats(-1.0, 1.0), hammer=SCORES),
        max_size=8,
    ).map(tuple),
)


@given(EVIDENCE)
def test_type_confidences_add_up_to_one_and_the_best_is_the_answer(evidence):
    types = type_confidences(evidence, TAXONOMY)
    assert set(types) == set(OBJECT_TYPES)
    assert math.isclose(sum(types.values()), 1.0, abs_tol=1e-9)
    assert understand(evidence, TAXONOMY).type_confidence == max(types.values())


@given(EVIDENCE)
def test_annotations_are_sorted_unique_and_within_bounds(evidence):
    notes = understand(evidence, TAXONOMY).annotations
    assert [note.confidence for note in notes] == sorted((note.confidence for note in notes), reverse=True)
    assert len({note.tag for note in notes}) == len(notes)
    assert all(0.0 < note.confidence <= 1.0 and note.sources for note in notes)
