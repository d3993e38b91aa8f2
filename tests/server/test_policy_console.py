"""`handlens-server policy`: what editors see, and that what is refused there is refused when a release is published."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.catalogue import store_items
from support.click_log import ITEMS, a_policy, events, offers
from support.paths import MODELS, QUERIES

from handlens_server.cli import main
from handlens_server.config import Config
from handlens_server.release_parts import PartsError, place_parts

SHIPPED = MODELS / "policy.json"
FORMAT_1 = Path(__file__).parents[1] / "sdk" / "policies" / "format-1.json"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], catch_exceptions=False)


def written(path: Path, policy: Any) -> Path:
    path.write_text(json.dumps(policy), "utf-8")
    return path


def broken(path: list[Any], value: Any) -> dict[str, Any]:
    """The shipped policy with one fault."""
    policy = json.loads(SHIPPED.read_text("utf-8"))
    spot = policy
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = value
    return dict(policy)


FOOD = ["types", "food"]
FAULTS = [
    ([*FOOD, "sections", 0, "sources"], ["telepathy"], "policy.types.food.sections[0].sources"),
    ([*FOOD, "sections", 0, "share"], 0.9, "policy.types.food.sections have shares that add up to 1.5"),
    (["gates", "type"], 0.4, "policy.gates.type belongs to format 1 and contradicts policy.bands"),
    ([*FOOD, "sections", 4, "min_score"], 0.99, "policy.types.food.sections[4].min_score is 0.99, but no score"),
    ([*FOOD, "fallback"], "food", "policy.types.food.fallback goes in a circle: food -> food"),
    (["types", "fruit"], {"sections": []}, "policy.types.fruit is no object type"),
]


class TestValidate:
    @pytest.mark.parametrize("file", [SHIPPED, FORMAT_1], ids=["shipped", "format 1"])
    def test_a_good_policy_is_said_to_be_good(self, file: Path) -> None:
        found = run("validate", file)
        assert (found.exit_code, "is good: version" in found.output) == (0, True)

    def test_fields_that_are_not_known_are_no_fault(self, tmp_path: Path) -> None:
        assert run("validate", written(tmp_path / "p.json", broken(["season"], "winter"))).exit_code == 0

    @pytest.mark.parametrize(("path", "value", "message"), FAULTS)
    def test_a_fault_is_told_by_its_path_and_ends_with_1(
        self, tmp_path: Path, path: list[Any], value: Any, message: str
    ) -> None:
        refused = run("validate", written(tmp_path / "p.json", broken(path, value)))
        assert refused.exit_code == 1
        assert message in refused.output
        assert len(refused.output.splitlines()) == 1

    @pytest.mark.parametrize(("path", "value", "message"), FAULTS)
    def test_publishing_refuses_the_same(self, tmp_path: Path, path: list[Any], value: Any, message: str) -> None:
        models = tmp_path / "models"
        models.mkdir()
        for name in ("detector", "embedder", "taxonomy.json"):
            (models / name).symlink_to(MODELS / name)
        written(models / "policy.json", broken(path, value))
        with pytest.raises(PartsError) as refused:
            place_parts(models, tmp_path / "targets")
        assert message in str(refused.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        refused = run("validate", tmp_path / "absent.json")
        assert refused.exit_code == 1
        assert "absent.json cannot be read" in refused.output


class TestDiff:
    def changed(self) -> dict[str, Any]:
        policy = json.loads(SHIPPED.read_text("utf-8"))
        food, tool = (policy["types"][name]["sections"] for name in ("food", "tool"))
        food[0], food[1] = food[1], food[0]
        tool[0]["share"], tool[1]["share"] = 0.5, 0.2
        del policy["types"]["tool"]["bands"]
        policy["types"]["toy"]["sections"][0]["name"] = "buy"
        policy["types"]["toy"]["bands"] = None
        policy["gates"]["annotation"] = 0.3
        policy["version"] = "3"
        return dict(policy)

    def test_it_tells_sections_moved_added_removed_shares_and_gates(self, tmp_path: Path) -> None:
        told = run("diff", SHIPPED, written(tmp_path / "p.json", self.changed())).output.splitlines()
        assert "~ version: 2 -> 3" in told
        assert "~ gates.annotation: 0.25 -> 0.3" in told
        assert "^ food[sure].recipes: place 1 -> place 2" in told
        assert "~ tool[sure].how_to.share: 0.45 -> 0.5" in told
        assert any(line.startswith("+ toy[sure].buy: share 0.3, sources ") for line in told)
        assert any(line.startswith("- toy[sure].shop: share 0.3, sources ") for line in told)
        assert not any(line.startswith(("^ art", "~ art")) for line in told)

    def test_as_json_it_is_a_list_of_changes(self, tmp_path: Path) -> None:
        found = json.loads(run("diff", SHIPPED, written(tmp_path / "p.json", self.changed()), "--json").output)
        moved = [one for one in found if one["what"] == "moved"]
        assert {"path": "food[sure].recipes", "what": "moved", "before": "place 1", "after": "place 2"} in moved

    def test_every_kind_of_setting_is_seen(self, tmp_path: Path) -> None:
        policy = broken(["picks"], [{"item_id": "pie", "types": ["food"]}])
        policy["scores"]["visual"]["slope"] = 9
        policy["exploration"]["answers"] = 0.1
        policy["bands"][0]["from"] = 0.8
        policy["types"]["food"]["fallback"] = "plant"
        told = run("diff", SHIPPED, written(tmp_path / "p.json", policy)).output
        for line in ("curves.visual.slope: 8 -> 9", "exploration.answers: 0.05 -> 0.1", "bands.sure.least: 0.7 -> 0.8",
                     "food[sure].fallback: default -> plant > default", "+ picks: item_id pie"):  # fmt: skip
            assert line in told

    def test_a_policy_does_not_differ_from_itself(self) -> None:
        assert run("diff", SHIPPED, SHIPPED).output == "no differences\n"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, small_catalogue: Path) -> Path:
    folder = tmp_path_factory.mktemp("try")
    items = [json.loads(line) for line in (small_catalogue / "items.jsonl").read_text("utf-8").splitlines()]
    store_items(Config(data_dir=folder), [one for one in items if one["object_type"] == "place"][:60], folder / "f")
    return folder


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    items = [copy.deepcopy(item.to_dict()) for item in ITEMS.values()]
    store_items(Config(data_dir=folder), items, folder / "f")
    return folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = random.Random(0)
    found = events(a_policy("article", "how_to", "recipe", answers=0.8), [offers(drawn) for _ in range(900)], drawn)
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    path.write_text("".join(event.to_json() + "\n" for event in found), "utf-8")
    return path


class TestTry:
    def test_a_photo_is_answered_and_every_candidate_told(self, data_dir: Path, tmp_path: Path) -> None:
        page = tmp_path / "try.html"
        told = run("try", QUERIES / "images" / "taj-mahal.jpg", "--policy", SHIPPED, "--against", FORMAT_1,
                   "--models", MODELS, "--data-dir", data_dir, "--out", page)  # fmt: skip
        assert told.exit_code == 0, told.output
        assert "policy 2, at most 12" in told.output
        assert "policy 1, at most 12" in told.output
        assert "place/story 1" in told.output
        assert page.read_text("utf-8").count("<h2>") == 2

    def test_as_json_it_is_the_decision(self, data_dir: Path) -> None:
        found = run("try", QUERIES / "images" / "taj-mahal.jpg", "--policy", SHIPPED, "--models", MODELS,
                    "--data-dir", data_dir, "--json", "--limit", 3)  # fmt: skip
        (decision,) = json.loads(found.output)
        assert (decision["limit"], decision["object_type"]) == (3, "place")

    def test_a_photo_that_is_none_is_named(self, data_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "x.jpg").write_bytes(b"no photo")
        refused = run("try", tmp_path / "x.jpg", "--policy", SHIPPED, "--models", MODELS, "--data-dir", data_dir)
        assert (refused.exit_code, len(refused.output.splitlines())) == (1, 1)


class TestReplay:
    @pytest.fixture
    def new(self, tmp_path: Path) -> Path:
        return written(tmp_path / "new.json", a_policy("recipe", "how_to", "article", version="new").raw)

    def test_a_better_policy_is_told_better(self, backend: Path, log: Path, new: Path, tmp_path: Path) -> None:
        old = written(tmp_path / "old.json", a_policy("article", "how_to", "recipe").raw)
        told = run("replay", log, "--policy", new, "--against", old, "--data-dir", backend)
        assert told.exit_code == 0, told.output
        assert ": better" in told.output
        assert "where nothing was left to chance" in told.output

    def test_as_json_it_has_values_margins_and_the_sample(self, backend: Path, log: Path, new: Path) -> None:
        found = json.loads(run("replay", log, "--policy", new, "--data-dir", backend, "--json").output)
        assert found["policy"]["margin"] > 0
        assert found["policy"]["covered"] == pytest.approx(1.0, abs=0.1)
        assert 100 < found["policy"]["sample"] < found["policy"]["answers"]
        assert found["without_exploration"]["answers"] + found["policy"]["answers"] == 900

    def test_a_log_that_says_too_little_is_refused(self, backend: Path, log: Path, new: Path, tmp_path: Path) -> None:
        short = tmp_path / "short.jsonl"
        short.write_text("\n".join(log.read_text("utf-8").splitlines()[:40]), "utf-8")
        refused = run("replay", short, "--policy", new, "--data-dir", backend)
        assert refused.exit_code == 1
        assert "100 are needed: wait for more events" in refused.output

    def test_a_log_that_is_not_there_is_named(self, backend: Path, new: Path, tmp_path: Path) -> None:
        refused = run("replay", tmp_path / "absent", "--policy", new, "--data-dir", backend)
        assert (refused.exit_code, "cannot be read as events" in refused.output) == (1, True)
