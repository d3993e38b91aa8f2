"""The shipped taxonomy: every label of both models, each mapped by meaning."""

import json

import pytest
from support.paths import MODELS

from handlens.errors import DecodeError
from handlens.wire.item import OBJECT_TYPES
from handlens.wire.taxonomy import Taxonomy

SHIPPED = Taxonomy.from_json((MODELS / "taxonomy.json").read_bytes())


@pytest.mark.parametrize("model", ["detector", "embedder"])
def test_every_label_of_the_model_is_in_the_taxonomy_and_nothing_else_is(model):
    labels = json.loads((MODELS / model / "model.json").read_text())["labels"]
    table = SHIPPED.detector if model == "detector" else SHIPPED.classifier
    assert sorted(table) == sorted(labels)


def test_broader_words_belong_to_labels_and_lead_nowhere_further():
    labels = {*SHIPPED.classifier, *SHIPPED.detector}
    assert set(SHIPPED.broader) <= labels
    assert all(word != label for label, word in SHIPPED.broader.items())
    assert SHIPPED.broader["beagle"] == "dog"
    assert sum(word == "dog" for word in SHIPPED.broader.values()) == 118


def test_every_type_has_a_title():
    assert set(SHIPPED.titles) == set(OBJECT_TYPES)
    assert all(SHIPPED.titles.values())


def test_few_labels_are_left_to_other():
    assert sum(found == "other" for found in SHIPPED.classifier.values()) <= 30
    assert sum(found == "other" for found in SHIPPED.detector.values()) <= 5


@pytest.mark.parametrize(
    ("label", "object_type"),
    [
        ("granny smith", "food"),
        ("mushroom", "food"),
        ("agaric", "plant"),  # a wild mushroom must not lead to recipes
        ("bakery", "food"),  # a shop goes with what it sells
        ("castle", "place"),
        ("coral reef", "animal"),  # corals are animals, and so is what is photographed there
        ("stupa", "place"),
        ("hammer", "tool"),
        ("violin", "media"),
        ("laptop", "electronics"),
        ("microwave", "home"),
        ("sandal", "fashion"),
        ("lipstick", "beauty"),
        ("teddy", "toy"),
        ("tennis ball", "sport"),
        ("minivan", "vehicle"),
        ("daisy", "plant"),
        ("goldfish", "animal"),
        ("totem pole", "art"),
        ("revolver", "other"),  # weapons get neither how-tos nor shops
    ],
)
def test_labels_are_mapped_by_the_written_rules(label, object_type):
    assert SHIPPED.classifier[label] == object_type


def test_labels_that_both_models_share_mean_the_same():
    namesakes = {"kite"}  # a toy to COCO, a bird of prey to ImageNet
    for label in (SHIPPED.detector.keys() & SHIPPED.classifier.keys()) - namesakes:
        assert SHIPPED.detector[label] == SHIPPED.classifier[label], label


def test_synonyms_lead_to_one_word_and_no_further():
    assert SHIPPED.synonyms["eggplant"] == "aubergine"
    assert set(SHIPPED.synonyms.values()).isdisjoint(SHIPPED.synonyms)
    assert all("-" not in word for word in SHIPPED.synonyms)
    assert Taxonomy.from_json(json.dumps(SHIPPED.to_dict())) == SHIPPED


def test_a_chain_of_synonyms_is_refused():
    values = {**SHIPPED.to_dict(), "synonyms": {"a": "b", "b": "c"}}
    with pytest.raises(DecodeError, match=r"synonyms\.a is 'b'.*'c'"):
        Taxonomy.from_json(json.dumps(values))


def test_a_label_mapped_to_a_type_that_does_not_exist_is_refused():
    values = {**SHIPPED.to_dict(), "labels": {"detector": {"cat": "beast"}, "classifier": {}}}
    with pytest.raises(DecodeError, match="cat"):
        Taxonomy.from_json(json.dumps(values))
