"""The simulator: seeded, the same for any shard, truth apart, and broken rows that are rejected for what they are."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from handlens.errors import DecodeError, OptionsError
from handlens_conversion.boxes.drawn import DrawnBox, event_record, read_line
from handlens_conversion.boxes.noise import KINDS, NOISES, NoiseModel, noise_of
from handlens_conversion.boxes.reasons import Reject
from handlens_conversion.boxes.simulate import CHUNK, Scene, SimulationOptions, chunks_of, draw_chunk, drawn_boxes
from handlens_conversion.boxes.simulation_files import BROKEN, event_line, write_simulation
from handlens_conversion.boxes.truth import TrueObject, TruePhoto, load_truth
from handlens_conversion.cli import main

TRUTH = (
    TruePhoto(
        "a.jpg",
        (640, 480),
        "train",
        (TrueObject((0.1, 0.1, 0.4, 0.5), "cup"), TrueObject((0.5, 0.2, 0.9, 0.9), "pear")),
    ),
    TruePhoto("b.jpg", (640, 480), "val", (TrueObject((0.3, 0.3, 0.6, 0.8), "cup"),)),
)


def lines_of(folder: Path) -> list[bytes]:
    return [
        line
        for file in sorted(folder.iterdir())
        for line in (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).splitlines()
    ]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_simulation(TRUTH, tmp_path / name, SimulationOptions(events=500, seed=seed), progress=False)
        files = sorted((tmp_path / name).rglob("*.gz"))
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1] != digests[2]


def test_shards_hold_what_one_file_would_hold(tmp_path: Path) -> None:
    options = SimulationOptions(events=2 * CHUNK + 10, seed=3)
    write_simulation(TRUTH, tmp_path / "one", options, progress=False)
    write_simulation(TRUTH, tmp_path / "many", options, shard_events=CHUNK, file_format="jsonl", progress=False)
    assert len(list((tmp_path / "many" / "events").iterdir())) == 3
    assert lines_of(tmp_path / "one" / "events") == lines_of(tmp_path / "many" / "events")


def test_every_event_is_read_as_the_box_that_was_drawn_and_the_truth_stands_apart(tmp_path: Path) -> None:
    record = write_simulation(TRUTH, tmp_path / "s", SimulationOptions(events=2000, seed=4), progress=False)
    events = [read_line(line) for line in lines_of(tmp_path / "s" / "events")]
    truths = [json.loads(line) for line in lines_of(tmp_path / "s" / "truth")]
    assert all(isinstance(event, DrawnBox) for event in events)
    assert [event.event_id for event in events if isinstance(event, DrawnBox)] == [one["event_id"] for one in truths]
    assert len({one["event_id"] for one in truths}) == 2000
    assert Counter(one["kind"] for one in truths) == {kind: n for kind, n in record["kinds"].items() if n}
    assert not any(b"good" in line or b"object" in line for line in lines_of(tmp_path / "s" / "events"))


def test_a_line_is_the_event_s_json_as_the_server_writes_it() -> None:
    scene, options = Scene(TRUTH), SimulationOptions(events=50, seed=5)
    for chunk in chunks_of(scene, options):
        for drawn in drawn_boxes(scene, options, chunk):
            text = json.dumps(event_record(drawn), separators=(",", ":"), sort_keys=True)
            assert event_line(drawn) == text.encode()


def test_shares_of_kinds_and_words_are_those_of_the_model() -> None:
    noise = NOISES["messy"]
    chunk = draw_chunk(Scene(TRUTH), SimulationOptions(events=CHUNK, seed=6, noise=noise), 0)
    for kind, share in noise.shares().items():
        assert (chunk.kind == KINDS.index(kind)).mean() == pytest.approx(share, abs=0.01)
    assert (chunk.word < 0).mean() == pytest.approx(noise.no_word, abs=0.01)


def test_good_boxes_are_off_by_the_spread_and_no_further() -> None:
    noise = replace(NOISES["clean"], spread=0.02)
    scene = Scene((TRUTH[1],))
    chunk = draw_chunk(scene, SimulationOptions(events=CHUNK, seed=7, noise=noise), 0)
    true = np.array(TRUTH[1].objects[0].box)
    off = (chunk.edges - true) / np.array([0.3, 0.5, 0.3, 0.5])
    assert off.std() == pytest.approx(0.02, rel=0.05)
    assert abs(off.mean()) < 0.001


def test_half_of_the_boxes_can_be_junk() -> None:
    shares = NoiseModel().with_junk(0.5).shares()
    assert shares["good"] == pytest.approx(0.5)
    assert shares["loose"] / shares["random"] == pytest.approx(3)


def test_robots_draw_faster_than_people_and_the_heavy_person_draws_the_stated_share() -> None:
    options = SimulationOptions(events=CHUNK, seed=8, noise=NoiseModel(robot_share=0.3, heavy_share=0.2))
    chunk = draw_chunk(Scene(TRUTH), options, 0)
    robot = chunk.kind == KINDS.index("robot")
    assert np.ptp(chunk.at[robot]) < 3600
    assert (chunk.user[robot] < 0).all()
    assert (chunk.user[~robot] == 0).mean() == pytest.approx(0.2, abs=0.02)


def test_one_photo_and_one_person_can_have_as_many_boxes_as_asked_for() -> None:
    options = SimulationOptions(events=1000, seed=9, photos=50, skew_photo=400, skew_user=300, noise=NOISES["clean"])
    chunk = draw_chunk(Scene(TRUTH), options, 0)
    assert 400 <= (chunk.photo == 0).sum() < 430
    assert 300 <= (chunk.user == 0).sum() < 330


def test_more_photos_than_the_truth_has_are_named_copies() -> None:
    scene = Scene(TRUTH)
    assert [scene.photo_name(number) for number in range(5)] == ["a.jpg", "b.jpg", "a.jpg~1", "b.jpg~1", "a.jpg~2"]


def test_broken_rows_are_rejected_for_how_they_were_broken(tmp_path: Path) -> None:
    options = SimulationOptions(events=1200, seed=10, noise=NoiseModel(bad_share=0.1))
    record = write_simulation(TRUTH, tmp_path / "s", options, progress=False)
    found = [read_line(line) for line in lines_of(tmp_path / "s" / "events")]
    reasons = Counter(one.reason.value for one in found if isinstance(one, Reject))
    assert reasons == record["broken"]
    assert set(reasons) == set(BROKEN)


def test_a_folder_that_exists_is_never_written_to(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="exists: remove it"):
        write_simulation(TRUTH, tmp_path, SimulationOptions(events=1), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1.0}, "has no 'colour'"),
        ({"random_share": 1.5}, "add up"),
        ({"wrong_word": 2.0}, "must lie in 0..1"),
    ],
)
def test_a_noise_model_that_cannot_be_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        noise_of("messy", changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "lacks the field 'width'"),
        ('{"image":"a","width":10,"height":10,"boxes":[[1,2,3]]}', "is not .left, top"),
        ('{"image":"a","width":10,"height":10,"boxes":[[5,5,4,9,"x"]]}', "is not .left, top"),
        ('{"image":"a","width":10,"height":10,"boxes":[]}', "holds no boxes"),
        ("not json", "is not valid JSON"),
    ],
)
def test_a_truth_that_cannot_be_read_names_its_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "t.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DecodeError, match=message):
        load_truth(tmp_path / "t.jsonl")


def test_the_command_writes_events_and_says_what_it_drew(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "width": 100, "height": 50, "boxes": [[10, 10, 60, 40, "cup"]]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    asked = ["simulate", str(tmp_path / "t.jsonl"), "--out", str(tmp_path / "s"), "--events", "30", "--quiet"]
    answer = CliRunner().invoke(main, [*asked, "--noise", "clean", "--set", "spread=0.1"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["kinds"]["good"] == 30
    assert json.loads((tmp_path / "s" / "simulation.json").read_text())["options"]["noise"]["spread"] == 0.1
    again = CliRunner().invoke(main, asked)
    assert (again.exit_code, "Traceback" in again.output) == (1, False)
    assert "exists: remove it" in again.output
