"""Golden cases: these offers give these sections, for ever and everywhere. `support.blend_cases` says what they are."""

import pytest
from support.blend_cases import POLICIES, answer, candidates_of, load, told

from handlens.blend import Policy
from handlens.wire.item import Item

GOLDEN = load()
OFFERS = candidates_of(GOLDEN["offers"], {one["item_id"]: Item.from_dict(one) for one in GOLDEN["items"]})
READ = {name: Policy.from_json(path.read_bytes()) for name, path in POLICIES.items()}
NAMES = [f"{case['policy']}-{case['type']}-{case['confidence']}" for case in GOLDEN["cases"]]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=NAMES)
def test_the_sections_are_those_that_were_written_down(case):
    assert told(answer(case, OFFERS, READ)) == case["sections"]


def test_the_cases_show_both_formats_every_band_refinement_and_chance():
    cases = GOLDEN["cases"]
    assert len(cases) == 90
    assert {case["policy"] for case in cases} == set(POLICIES)
    assert {READ["format-2"].band(case["confidence"]).name for case in cases} == {"sure", "likely", "unsure"}
    assert any(match[3] < 1 for case in cases for _, _, matches in case["sections"] for match in matches)
    assert any(case["refine"] for case in cases)
