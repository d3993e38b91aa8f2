"""Fusing detector, classifier and neighbours into a type and words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.geometry import WHOLE
from handlens.results import Colour, Evidence, Neighbour
from handlens.understand import FusionWeights, type_confidences, understand
from handlens.understand.words import confidence_at
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


def test_forms_of_one_word_are_one_word_in_the_form_that_is_said_most():
    carrots = [near(key, "food", 0.75, carrots=1.0) for key in range(4)]
    known = understand(seen(("carrot", 0.4), neighbours=carrots), Taxonomy("1", {}, {"carrot": "food"}, {}))
    assert [note.tag for note in known.annotations] == ["carrots"]
    assert known.annotations[0].sources == ("neighbours", "detector")


def test_synonyms_of_the_taxonomy_are_one_word():
    table = Taxonomy("1", {}, {}, {"eggplant": "food"}, synonyms={"eggplant": "aubergine"})
    alone = understand(seen(labels=[("eggplant", 0.6)]), table).annotations
    assert [note.tag for note in alone] == ["eggplant"]
    both = understand(seen(labels=[("eggplant", 0.6)], neighbours=[near(1, "food", 0.7, aubergine=1.0)]), table)
    assert [note.tag for note in both.annotations] == ["aubergine"]
    assert both.annotations[0].confidence > alone[0].confidence


def test_a_finer_word_stands_before_the_broader_ones_that_go_with_it():
    grapefruits = [near(key, "food", 0.72, grapefruit=1.0, citrus=0.9, fruit=0.8) for key in range(4)]
    oranges = [near(10 + key, "food", 0.70, orange=1.0, citrus=0.9, fruit=0.8) for key in range(4)]
    notes = understand(seen(neighbours=[*grapefruits, *oranges]), TAXONOMY).annotations
    assert [note.tag for note in notes[:2]] == ["grapefruit", "orange"]
    assert [(note.tag, note.is_broad) for note in notes[2:4]] == [("citrus", True), ("fruit", True)]
    assert notes[2].confidence > notes[0].confidence  # surer, and still behind


def test_the_own_name_of_one_thing_does_not_stand_before_its_kind_unless_it_is_that_thing():
    arches = [near(key, "place", 0.60, arch=0.9) for key in range(6)]
    alike = [near(9, "place", 0.62, **{"india gate": 1.0, "arch": 0.9}), *arches]
    assert understand(seen(neighbours=alike), TAXONOMY).annotations[0].tag == "arch"
    itself = [near(9, "place", 0.90, **{"india gate": 1.0, "arch": 0.9}), *arches]
    assert understand(seen(neighbours=itself), TAXONOMY).annotations[0].tag == "india gate"


def test_the_more_familiar_the_catalogue_is_with_a_thing_the_less_labels_are_heard():
    def lemon(similarity):
        limes = [near(key, "food", similarity, lime=1.0) for key in range(3)]
        notes = understand(seen(labels=[("lemon", 0.6)], neighbours=limes), TAXONOMY).annotations
        return next(note.confidence for note in notes if note.tag == "lemon")

    assert lemon(0.85) < lemon(0.40)


def test_confidence_lies_on_the_curve_that_came_with_the_model():
    curve = FusionWeights(word_curve=((0.2, 0.1), (0.6, 0.9)))
    plain = understand(seen(labels=[("hammer", 0.9)]), TAXONOMY).annotations[0].confidence
    assert 0.2 < plain < 0.6
    fitted = understand(seen(labels=[("hammer", 0.9)]), TAXONOMY, weights=curve).annotations[0].confidence
    assert fitted == pytest.approx(0.1 + 0.8 * (plain - 0.2) / 0.4)


def test_a_confidence_beyond_the_curve_is_that_of_its_end():
    curve = ((0.2, 0.1), (0.6, 0.9))
    assert [confidence_at(belief, curve) for belief in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx(
        [0.1, 0.1, 0.5, 0.9, 0.9]
    )
    assert confidence_at(0.3, ()) == 0.3


def test_colours_pass_through():
    red = Colour("red", 0.9, (200, 20, 30))
    assert understand(Evidence(None, (), (), (red,)), TAXONOMY).colours == (red,)


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
