"""Words in normal form, and the vote that makes them a label."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import MODELS

from handlens_conversion.boxes.labels import LabelSettings, vote
from handlens_conversion.boxes.words import normal_word


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Wine-Glasses ", "wine glass"),
        ("wine_glass", "wine glass"),
        ("GLASSES", "glasses"),
        ("Straße", "strasse"),
        ("cafe\u0301", "café"),
        ("\uff43\uff55\uff50", "cup"),
        ("crÃ¨me brÃ»lÃ©e", "crème brûlée"),
        ("strawberries", "strawberry"),
        ("cookies", "cookie"),
        ("tomatoes", "tomato"),
        ("kitchen knives", "kitchen knife"),
        ("boxes", "box"),
        ("people", "person"),
        ("bus", "bus"),
        ("tennis", "tennis"),
        ("scissors", "scissors"),
        ("梨", "梨"),
        ("नींबू\u200dपानी", "नींबू\u200dपानी"),
        (" ?! ", ""),
    ],
)
def test_words_that_mean_the_same_have_one_form(words: str, expected: str) -> None:
    assert normal_word(words) == expected


def test_every_label_of_the_detector_is_in_normal_form() -> None:
    labels = json.loads((MODELS / "detector" / "model.json").read_text())["labels"]
    assert [normal_word(label) for label in labels] == labels


def test_synonyms_lead_to_one_word() -> None:
    assert normal_word("Sofas", {"sofa": "couch"}) == "couch"


@given(st.text(max_size=30))
def test_the_normal_form_stays_as_it_is(words: str) -> None:
    assert normal_word(normal_word(words)) == normal_word(words)


def test_the_word_of_most_users_is_the_label() -> None:
    label = vote(["Cups", "cup", "mug", None])
    assert label is not None
    assert (label.word, label.votes, label.share, label.sources) == ("cup", 2, 0.6667, ("users",))


def test_users_who_do_not_agree_make_no_label() -> None:
    assert vote(["cup", "mug", "glass"]) is None
    assert vote(["cup", "cup", "mug", "mug", "glass"]) is None
    assert vote(["cup", None, None]) is None
    assert vote([]) is None
    assert vote(["", "?"]) is None


def test_one_user_never_names_an_object() -> None:
    assert vote(["cup"], item_tags=("cup",), image={"cup": 1.0}) is None


def test_a_label_is_kept_only_where_the_image_names_it_too() -> None:
    assert vote(["cup", "cup"], image={"bowl": 0.9}) is None
    assert vote(["cup", "cup"], image={"cup": 0.05}) is None
    assert vote(["cup", "cup"], image={}) is None
    label = vote(["cup", "cup"], item_tags=("Cups",), image={"CUP": 0.4})
    assert label is not None
    assert label.sources == ("users", "tags", "image")


def test_tags_decide_between_equals_and_then_the_image() -> None:
    tie = ["cup", "cup", "mug", "mug"]
    tagged, seen = vote(tie, item_tags=("mug",)), vote(tie, image={"cup": 0.2, "mug": 0.6})
    assert tagged is not None and tagged.word == "mug"  # noqa: PT018
    assert seen is not None and seen.word == "mug"  # noqa: PT018


def test_a_tag_that_the_image_names_is_the_label_where_no_user_spoke() -> None:
    label = vote([None, None, None], item_tags=("Avocados", "lunch"), image={"avocado": 0.6, "lunch": 0.2})
    assert label is not None
    assert (label.word, label.votes, label.sources) == ("avocado", 0, ("tags", "image"))
    assert vote([None, None], item_tags=("avocado",)) is None
    assert vote([None, None], item_tags=("avocado",), image={"pear": 0.9}) is None


@given(st.lists(st.sampled_from(["cup", "mug", "Cups", "", None]), max_size=12), st.randoms())
def test_the_order_of_users_does_not_count(words: list[str | None], random: object) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert vote(words) == vote(shuffled)


@given(st.lists(st.sampled_from(["cup", "mug", "bowl"]), max_size=12))
def test_a_label_has_the_share_and_the_votes_that_were_asked_for(words: list[str]) -> None:
    label = vote(words, settings=LabelSettings(min_share=0.6, min_votes=3))
    if label is not None:
        assert words.count(label.word) == label.votes >= 3
        assert label.votes >= 0.6 * len(words)
