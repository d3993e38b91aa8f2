"""What the blend is worth: NDCG@10 and the share of wanted kinds, beside answers that do not know the type.

    python benchmarks/blending.py --out benchmarks/results/blending.json --images docs/images
    python benchmarks/blending.py --fit          also fits the curves of the policy's `scores`

Photographs and the rule by which an item counts as helpful are those of `blending_cases.py`. Methods, each with the
same candidates and understanding:

* blended: the shipped policy.
* format 1: the policy before it, without curves, diversity and bands (`tests/sdk/policies/format-1.json`).
* fixed ratio: one layout for all types, a section a kind, its share the mean over the shipped policy's types.
* one list: all candidates by their value on the common scale, whatever their kind.
* annotation only, visual only: one source, best first.

NDCG is that of Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques" (2002): the gain is the
helpfulness 0..6, the ideal list is drawn from the whole catalogue. Intervals are 95 % bootstrap over photos. `wanted`
is the part of the ten whose kind people want first or next (wish 2 and more), `right` those that are also of the thing.

Exit code 1 when the blend does not lead every other method on the query photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))
sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from blending_cases import ROOT, WISHES, Case, catalogue_of, collect, helpfulness
from measure import machine, make_device, write_json

from handlens.blend import Policy, blend
from handlens.wire.item import KINDS, Item

TOP = 10
Method = Callable[[Case], list[Item]]


def answered_by(policy: Policy) -> Method:
    def method(case: Case) -> list[Item]:
        settings = {"limit": TOP, "request_id": case.name, "as_of": "2026-01-02", "locale": "en"}
        sections = blend(case.candidates, case.understanding, policy, **settings)
        return [match.item for section in sections for match in section.matches]

    return method


def fixed_ratio(policy: Policy) -> Policy:
    """The shipped policy with one layout for all: a section a kind with the mean of the types' shares."""
    shares = dict.fromkeys(KINDS, 0.0)
    for rules in policy.types.values():
        for rule in rules:
            kinds = ["photo"] if rule.name == "similar" else rule.kinds
            for kind in kinds:
                shares[kind] += rule.share / len(kinds) / len(policy.types)
    sections = [
        {"name": kind, "title": kind, "sources": ["annotation", "visual"], "kinds": [kind], "share": share}
        for kind, share in sorted(shares.items(), key=lambda entry: -entry[1])
    ]
    plain = {"bands": None, "types": {}, "default": {"sections": sections}}
    return Policy.from_json(json.dumps({**policy.raw, **plain}))


def one_list(policy: Policy) -> Method:
    def method(case: Case) -> list[Item]:
        ranked = sorted(case.candidates, key=lambda one: -policy.curves[one.source](one.score))
        return _unique([one.item for one in ranked])

    return method


def only(source: str) -> Method:
    def method(case: Case) -> list[Item]:
        offers = sorted((one for one in case.candidates if one.source == source), key=lambda one: -one.score)
        return _unique([one.item for one in offers])

    return method


def _unique(items: Sequence[Item]) -> list[Item]:
    return list({item.item_id: item for item in items}.values())[:TOP]


def ndcg(case: Case, shown: Sequence[Item], catalogue: Sequence[Item]) -> float:
    ideal = sorted((helpfulness(case, item) for item in catalogue), reverse=True)[:TOP]
    return _dcg([helpfulness(case, item) for item in shown]) / _dcg(ideal)


def _dcg(gains: Sequence[int]) -> float:
    return float(sum(gain / np.log2(at + 2) for at, gain in enumerate(gains)))


def measured(method: Method, cases: Sequence[Case], catalogue: Sequence[Item]) -> dict[str, object]:
    scores, wanted, right, types = [], [], [], {}
    for case in cases:
        shown = method(case)
        kinds = [WISHES[case.object_type].get(item.kind, 0) >= 2 for item in shown]
        scores.append(ndcg(case, shown, catalogue))
        wanted.append(sum(kinds) / TOP)
        right.append(sum(is_so and case.about(item) > 0 for is_so, item in zip(kinds, shown, strict=True)) / TOP)
        types.setdefault(case.object_type, []).append(scores[-1])
    low, high = _interval(scores)
    return {
        "ndcg": round(float(np.mean(scores)), 4),
        "interval": [round(low, 4), round(high, 4)],
        "wanted": round(float(np.mean(wanted)), 4),
        "right": round(float(np.mean(right)), 4),
        "by_type": {name: [round(float(np.mean(found)), 3), len(found)] for name, found in sorted(types.items())},
    }


def _interval(values: Sequence[float]) -> tuple[float, float]:
    numbers, random = np.array(values), np.random.default_rng(0)
    means = numbers[random.integers(0, len(numbers), (2000, len(numbers)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def fitted(cases: Sequence[Case], policy: Policy) -> dict[str, object]:
    """Platt's logistic curve of each source, by Newton's method on the catalogue's photographs, and how true it is."""
    report: dict[str, object] = {}
    for source in ("visual", "object", "annotation"):
        offers = [(one.score, case.about(one.item) > 0, case.is_query) for case in cases for one in case.candidates
                  if one.source == source]  # fmt: skip
        scores, hits, is_query = (np.array(column, dtype=float) for column in zip(*offers, strict=True))
        slope, offset = _logistic(scores[is_query == 0], hits[is_query == 0])
        asked, is_hit = scores[is_query == 1], hits[is_query == 1]
        shipped = np.array([policy.curves[source](score) for score in asked])
        report[source] = {
            "midpoint": round(float(-offset / slope), 3),
            "slope": round(float(slope), 2),
            "ece_on_queries": _calibration_error(1.0 / (1.0 + np.exp(-(slope * asked + offset))), is_hit),
            "ece_on_queries_as_shipped": _calibration_error(shipped, is_hit),
            "offers": [int((is_query == 0).sum()), int((is_query == 1).sum())],
            "about_the_thing": [round(float(hits[is_query == asking].mean()), 4) for asking in (0, 1)],
        }
    return report


def _calibration_error(chances: np.ndarray, hits: np.ndarray) -> float:
    bins = np.minimum((chances * 10).astype(int), 9)
    gaps = [(bins == one).mean() * abs(chances[bins == one].mean() - hits[bins == one].mean()) for one in set(bins)]
    return round(float(sum(gaps)), 4)


def _logistic(scores: np.ndarray, hits: np.ndarray) -> np.ndarray:
    rows, weights = np.stack([scores, np.ones_like(scores)], axis=1), np.zeros(2)
    for _ in range(30):
        chances = 1.0 / (1.0 + np.exp(-rows @ weights))
        curvature = rows.T @ (rows * (chances * (1.0 - chances))[:, None])
        weights = weights + np.linalg.solve(curvature, rows.T @ (hits - chances))
    return weights


def plot(report: dict[str, dict[str, dict]], images: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    colours = ["#b4582f", "#d9a184", "#2f6fb4", "#3a8a57", "#8a8f98", "#c2c5ca"]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    for axis, (group, found) in zip(axes, report.items(), strict=True):
        values = [row["ndcg"] for row in found.values()]
        errors = np.array([[row["ndcg"] - row["interval"][0], row["interval"][1] - row["ndcg"]]
                           for row in found.values()]).T  # fmt: skip
        axis.barh(list(found), values, xerr=errors, color=colours, error_kw={"lw": 1})
        axis.invert_yaxis()
        axis.set(title=group, xlabel="NDCG@10", xlim=(0, 1))
    figure.savefig(images / "blending-ndcg.png", dpi=110)
    figure, axis = pyplot.subplots(figsize=(10, 3.4), layout="constrained")
    found = report["catalogue photographs"]
    types = [name for name, (_, count) in found["blended"]["by_type"].items() if count >= 5]
    drawn = {"blended": colours[0], "fixed ratio": colours[2], "annotation only": colours[4], "visual only": colours[5]}
    for at, (name, colour) in enumerate(drawn.items()):
        heights = [found[name]["by_type"][one][0] for one in types]
        axis.bar(np.arange(len(types)) + 0.2 * at - 0.3, heights, 0.2, label=name, color=colour)
    axis.set_xticks(range(len(types)), types)
    axis.set(ylabel="NDCG@10", title="by type of the thing (types with five photographs and more)")
    axis.legend(ncols=4, loc="upper right", fontsize=8)
    axis.set_ylim(0, 1)
    figure.savefig(images / "blending-types.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--images", type=Path, help="draw the plots into this folder (needs matplotlib)")
    parser.add_argument("--fit", action="store_true", help="fit the curves of the policy's scores")
    parser.add_argument("--photos", type=int, help="photographs of the catalogue that are asked; all without it")
    parser.add_argument("--device", type=Path, help="a device with the demo installed; one is made without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = list(collect(options.device or make_device(Path(folder), threads=2), photos=options.photos))
    catalogue = catalogue_of()
    policy = Policy.from_json((ROOT / "models" / "policy.json").read_bytes())
    former = Policy.from_json((ROOT / "tests" / "sdk" / "policies" / "format-1.json").read_bytes())
    methods = {
        "blended": answered_by(policy),
        "format 1": answered_by(former),
        "fixed ratio": answered_by(fixed_ratio(policy)),
        "one list": one_list(policy),
        "annotation only": only("annotation"),
        "visual only": only("visual"),
    }
    helped = [case for case in cases if any(helpfulness(case, item) for item in catalogue)]
    groups = {
        "query photographs": [case for case in helped if case.is_query],
        "catalogue photographs": [case for case in helped if not case.is_query],
    }
    report = {
        group: {name: measured(method, found, catalogue) for name, method in methods.items()}
        for group, found in groups.items()
    }
    for group, rows in report.items():
        print(f"{group} ({len(groups[group])})")
        for name, row in rows.items():
            print(f"  {name:16} NDCG@10 {row['ndcg']:.3f} {row['interval']}  wanted {row['wanted']:.3f}"
                  f"  wanted and right {row['right']:.3f}")  # fmt: skip
    figures: dict[str, object] = {"machine": machine(), "photos": {name: len(rows) for name, rows in groups.items()}}
    figures |= {"methods": report, "policy": policy.version}
    if options.fit:
        figures["curves"] = fitted(cases, policy)
        print(json.dumps(figures["curves"]))
    if options.images is not None:
        plot(report, options.images)
    write_json(options.out, figures)
    asked = report["query photographs"]
    behind = [name for name in ("fixed ratio", "one list", "annotation only", "visual only")
              if asked[name]["ndcg"] >= asked["blended"]["ndcg"]]  # fmt: skip
    if behind:
        sys.exit(f"MISSED: the blend does not lead {', '.join(behind)}")


if __name__ == "__main__":
    main()
