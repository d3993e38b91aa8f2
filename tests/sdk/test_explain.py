"""Explaining a blend: the same answer, every candidate with its place or the reason why it has none, told and drawn."""

import json
from html.parser import HTMLParser

import pytest
from test_blend_rules import offer, policy, section, understood

from handlens.blend import blend, explain
from handlens.drawing import draw_page, tell_decision, write_decisions
from handlens.errors import OptionsError

RULES = policy(
    section("recipes", ["recipe"], 0.5, min_score=0.2),
    section("ideas", ["idea"], 0.25, needs={"annotation": 0.8}),
    section("similar", ["photo"], 0.25, "visual"),
    diversity={"max_per_group": 1, "lambda": 0.5, "alike": {"tags": 1, "title": 0}},
    audiences={"all": ["all"]},
)
OFFERS = [
    offer(1, 0.9, tags=["orange"], group_id="g"),
    offer(2, 0.8, tags=["orange"]),
    offer(3, 0.5, tags=["lemon"]),
    offer(4, 0.45, tags=["plum"]),
    offer(5, 0.1, tags=["plum"]),
    offer(6, 0.85, group_id="g"),
    offer(7, 0.7, kind="idea"),
    offer(8, 0.6, kind="photo", source="visual"),
    offer(8, 0.5, kind="photo"),
    offer(9, 0.9, audience="adult"),
    offer(10, 0.4, tags=["plum"]),
]


@pytest.fixture
def decision():
    return explain(OFFERS, understood(orange=0.5), RULES, limit=4, request_id="r")


def fates(decision):
    return {(one.item_id, one.source): one.left_out or f"{one.section} {one.place}" for one in decision.verdicts}


def test_every_candidate_has_its_place_or_the_reason_why_not(decision):
    assert fates(decision) == {
        ("i1", "annotation"): "default/recipes 1",
        ("i3", "annotation"): "default/recipes 2",
        ("i4", "annotation"): "default/recipes 3",
        ("i2", "annotation"): "too much like what stands there already",
        ("i5", "annotation"): "no section takes it",
        ("i6", "annotation"): "its group 'g' has its 1",
        ("i7", "annotation"): "no section takes it",
        ("i8", "visual"): "default/similar 1",
        ("i8", "annotation"): "stands in default/similar by visual",
        ("i9", "annotation"): "for the audience 'adult', not for 'all'",
        ("i10", "annotation"): "no place was left",
    }


def test_places_are_those_of_the_blend(decision):
    sections = blend(OFFERS, understood(orange=0.5), RULES, limit=4, request_id="r")
    placed = {(one.section, one.place): one.item_id for one in decision.verdicts if one.section}
    assert placed == {
        (match.why.rule, at): match.item.item_id for one in sections for at, match in enumerate(one.matches, start=1)
    }


def test_it_says_what_each_section_said_and_which_stayed_closed(decision):
    said = {one.item_id: {entry.rule: entry.outcome for entry in one.considered} for one in decision.verdicts}
    assert said["i5"]["default/recipes"] == "0.10 is below its 0.2"
    assert said["i7"] == {"default/recipes": "takes no idea", "default/similar": "takes nothing from annotation"}
    assert [(one.rule, one.places, one.shown) for one in decision.sections] == [
        ("default/recipes", 3, 3),
        ("default/similar", 1, 1),
        ("default/ideas", 0, 0),
    ]
    assert decision.sections[2].closed == "the first word is sure to 0.50, it needs 0.8"


def test_a_fallback_is_told_with_what_was_tried_before():
    nothing = explain([offer(1, 0.5, kind="place")], understood("toy"), RULES, limit=4, request_id="r")
    assert (nothing.layout, nothing.tried) == ("fallback", ("default",))
    assert nothing.verdicts[0].section == "fallback/closest"


def test_it_becomes_json(decision):
    values = json.loads(json.dumps(decision.to_dict()))
    assert values["verdicts"][0]["considered"]["default/recipes"] == "taken"
    assert [one["rule"] for one in values["sections"]] == ["default/recipes", "default/similar", "default/ideas"]


def test_the_text_names_every_candidate(decision):
    told = "\n".join(tell_decision(decision))
    assert all(one.item.title in told for one in OFFERS)
    assert "closed: the first word is sure to 0.50" in told


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.rows, self.text = [], 0, ""

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_draws_every_candidate_and_needs_nothing_else(decision):
    page = Page()
    page.feed(draw_page([decision], title="a <photo>"))
    assert page.links == []
    assert page.rows == 2 + len(decision.sections) + len(decision.verdicts)
    assert "a <photo>" in page.text
    assert "too much like what stands there already" in page.text


def test_titles_cannot_break_the_page():
    odd = explain([offer(1, 0.5, title="<script>x</script>")], understood(), RULES, limit=1, request_id="r")
    assert "<script>" not in draw_page([odd], title="x")


def test_it_is_written_as_page_or_json_and_nothing_else(decision, tmp_path):
    write_decisions([decision], tmp_path / "d.html", title="x")
    write_decisions([decision], tmp_path / "d.json", title="x")
    assert "<!doctype html>" in (tmp_path / "d.html").read_text("utf-8")
    assert json.loads((tmp_path / "d.json").read_text("utf-8"))[0]["limit"] == 4
    with pytest.raises(OptionsError, match=r"neither \.html nor \.json"):
        write_decisions([decision], tmp_path / "d.txt", title="x")
    with pytest.raises(OptionsError, match="cannot be written"):
        write_decisions([decision], tmp_path / "absent" / "d.json", title="x")
