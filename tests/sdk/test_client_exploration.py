"""What a device leaves to chance and what it tells of it, with the shipped policy: only by the user's consent."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.paths import MODELS, QUERIES

from handlens import Lens, Options
from handlens.blend import Policy, explores
from handlens.cli import main
from handlens.wire.event import Event

TAJ = QUERIES / "images" / "taj-mahal.jpg"
POLICY = Policy.from_json((MODELS / "policy.json").read_bytes())
EXPLORING = next(name for name in map(str, range(1000)) if explores(POLICY.exploration, name))
PLAIN = next(name for name in map(str, range(1000)) if not explores(POLICY.exploration, name))


def searched(data_dir: Path, consent: str, request_id: str) -> Event:
    """The event of one search."""
    with Lens(Options(data_dir=data_dir, consent=consent)) as lens:
        result = lens.search(TAJ, request_id=request_id, limit=30)
        event = Event.from_json(lens.outbox.lines()[-1])
    shown = [match.item.item_id for section in result.objects[0].sections for match in section.matches]
    assert event.exposure is not None
    assert [place.item_id for place in event.exposure.places] == shown
    return event


def test_without_consent_nothing_is_left_to_chance(device: Path) -> None:
    with Lens(Options(data_dir=device)) as lens:
        result = lens.search(TAJ, request_id=EXPLORING)
    assert all(
        match.why.propensity == 1.0
        for found in result.objects
        for section in found.sections
        for match in section.matches
    )


def test_an_answer_that_explored_says_so_with_its_chances(own_device: Path) -> None:
    exposure = searched(own_device, "events", EXPLORING).exposure
    assert exposure is not None
    assert exposure.explores
    assert any(place.explored and place.propensity < 1.0 for place in exposure.places)
    assert exposure.policy == POLICY.version
    assert exposure.offers == ()


def test_what_it_was_chosen_from_is_kept_with_the_consent_for_embeddings(own_device: Path) -> None:
    exposure = searched(own_device, "embedding", EXPLORING).exposure
    assert exposure is not None
    offered = {offer.item_id for offer in exposure.offers}
    assert {place.item_id for place in exposure.places} <= offered
    assert {offer.source for offer in exposure.offers} <= {"visual", "object", "annotation", "curated"}


def test_an_answer_that_did_not_explore_needs_no_offers(own_device: Path) -> None:
    exposure = searched(own_device, "embedding", PLAIN).exposure
    assert exposure is not None
    assert (exposure.explores, exposure.offers) == (False, ())


def test_a_search_explains_itself_on_demand(device: Path, tmp_path: Path) -> None:
    with Lens(Options(data_dir=device)) as lens:
        assert lens.search(TAJ).objects[0].decision is None
        decision = lens.search(TAJ, explain=True).objects[0].decision
    assert decision is not None
    assert {one.source for one in decision.verdicts} >= {"visual", "annotation"}


def test_the_command_line_tells_and_draws_the_decision(device: Path, tmp_path: Path) -> None:
    page = tmp_path / "decision.html"
    told = CliRunner().invoke(
        main, ["search", str(TAJ), "--data-dir", str(device), "--explain", "--explain-out", str(page)]
    )
    assert told.exit_code == 0, told.output
    assert "decision [1]" in told.output
    assert "place/story" in told.output
    assert "place/story" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "cause"), [("decision.txt", "neither .html nor .json"), ("absent/decision.html", "cannot be written")]
)
def test_a_decision_that_cannot_be_written_is_refused(device: Path, tmp_path: Path, name: str, cause: str) -> None:
    arguments = ["search", str(TAJ), "--data-dir", str(device), "--explain-out", str(tmp_path / name)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert cause in refused.output
