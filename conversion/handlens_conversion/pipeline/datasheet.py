"""What a data set holds and how it came to be, for people (`DATASHEET.md`) and programs (`datasheet.json`).

The headings follow Gebru et al., "Datasheets for Datasets" (2021), as far as a program can answer them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from handlens_conversion.boxes.modes import DrawingMode
from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.pipeline.dataset import STEP, Figures
from handlens_conversion.pipeline.groups import SIDES
from handlens_conversion.pipeline.job import JobRules
from handlens_conversion.pipeline.summary import Summary

__all__ = ["datasheet", "settings_of", "to_markdown"]

_RARE = 20  # labels told of each end


def settings_of(rules: JobRules) -> dict[str, Any]:
    """All settings that the data set depends on, as JSON holds them."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(rules), default=str))
    return settings


def datasheet(summary: Summary, figures: Figures, rules: JobRules, modes: Sequence[DrawingMode] = ()) -> dict[str, Any]:
    """The figures as one JSON object."""
    tally = summary.tally
    return {
        "rows": {"read": tally.rows, "used": summary.used, "left_out": tally.left_out, "bad": tally.bad},
        "left_out": {
            name: {"group": RejectReason(name).group, **told} for name, told in tally.to_dict()["reasons"].items()
        },
        "photos": {"with_boxes": summary.photos, **{side: figures.photos[side] for side in SIDES}},
        "near_duplicates": figures.near_duplicates,
        "objects": {side: figures.objects[side] for side in SIDES},
        "places": figures.places,
        "labels": dict(sorted(figures.labels.items())),
        "label_sources": dict(sorted(figures.sources.items())),
        "licences": dict(sorted(figures.licences.items())),
        "users_of_an_object": {str(key): figures.users[key] for key in sorted(figures.users)},
        "agreement": {f"{key * STEP:.2f}": figures.agreement[key] for key in sorted(figures.agreement)},
        "largest_error_of_an_edge_in_thousandths": {str(key): figures.error[key] for key in sorted(figures.error)},
        "ways_of_drawing": [one.to_dict() for one in modes],
        "settings": settings_of(rules),
    }


def to_markdown(sheet: Mapping[str, Any]) -> str:
    """The datasheet as a page."""
    return "\n".join([*_composition(sheet), *_collection(sheet), *_labels(sheet), *_terms(sheet)]) + "\n"


def _composition(sheet: Mapping[str, Any]) -> list[str]:
    rows = [[side, sheet["photos"][side], sheet["objects"][side]] for side in SIDES]
    total = sum(sheet["objects"].values())
    unlabelled = sheet["labels"].get("", 0)
    return [
        "# Datasheet",
        "",
        "## What it holds",
        f"{sum(row[1] for row in rows)} photos with {total} objects, {unlabelled} of them without a label. Boxes are "
        "drawn by users and merged; every object has at least "
        f"{sheet['settings']['photo']['consensus']['min_users']} users. No user is named or can be told apart. The "
        "photos themselves are not in the folder.",
        "",
        f"{sheet['places']} places where users drew and nobody agreed are listed as `unsettled`, on a coarse grid and "
        "without a word: they are not known to be background.",
        "",
        *_table(["side", "photos", "objects"], rows),
        "",
        f"Near-duplicates lie on one side; {sheet['near_duplicates']} photos are in the group of another.",
        "",
    ]


def _collection(sheet: Mapping[str, Any]) -> list[str]:
    rows, left = sheet["rows"], sheet["left_out"]
    told = [[name, one["group"], one["count"], _code(one["samples"][:1])] for name, one in left.items()]
    return [
        "## How it was made",
        f"Of {rows['read']} rows {rows['used']} boxes were used on {sheet['photos']['with_boxes']} photos; the others "
        "were left out:",
        "",
        *_table(["reason", "kind", "rows", "such as"], told),
        "",
        "Kinds: *bad* rows are not what the format says, *skipped* ones are no new box, *cleaned* boxes were taken out "
        "by a rule. A broken file counts as one row.",
        "",
    ]


def _labels(sheet: Mapping[str, Any]) -> list[str]:
    named = sorted(
        ((name, count) for name, count in sheet["labels"].items() if name), key=lambda one: (-one[1], one[0])
    )
    sources = [[name, count] for name, count in sheet["label_sources"].items()]
    most = ", ".join(f"{name} ({count})" for name, count in named[:_RARE])
    least = ", ".join(f"{name} ({count})" for name, count in named[_RARE:][-_RARE:])
    return [
        "## Labels",
        f"{len(named)} labels. The commonest: {_escaped(most)}."
        + (f" The rarest: {_escaped(least)}." if least else ""),
        "",
        *_table(["label rests on", "objects"], sources),
        "",
    ]


def _terms(sheet: Mapping[str, Any]) -> list[str]:
    settings = json.dumps(sheet["settings"], indent=1, ensure_ascii=False)
    return [
        "## Licences of the photos",
        *_table(["licence", "photos"], [[name, count] for name, count in sheet["licences"].items()]),
        "",
        "## Settings",
        "```json",
        settings,
        "```",
    ]


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_escaped(str(cell)) for cell in row) + " |" for row in rows]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")


def _code(samples: list[str]) -> str:
    return "".join(f"`{one.replace('`', chr(39))}`" for one in samples)
