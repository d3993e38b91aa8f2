"""CARD.md of a trained detector: what was taught with what, and the figures that were measured. Pure text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handlens_conversion.training.folder import Base
from handlens_conversion.training.judging import Judgement

__all__ = ["render_card"]


def render_card(
    base: Base, record: Mapping[str, Any], judgement: Judgement, *, types: Mapping[str, str], licences: Sequence[str]
) -> str:
    """The card of the detector that `record`, its model.json, describes."""
    return "\n".join(
        (
            _head(base, record, types),
            _new(judgement),
            _old(judgement),
            _data(record, licences),
            _LIMITS,
            f"The network itself, its data and its licence: {record.get('licence', 'see the base')}; "
            f"base {base.spec.model_id}, SHA-256 {base.spec.sha256}.\n",
        )
    )


def _head(base: Base, record: Mapping[str, Any], types: Mapping[str, str]) -> str:
    grown = record["size"] - len(base.data)
    labels = ", ".join(f"{label} ({kind})" for label, kind in types.items())
    return f"""# Detector: {record["name"]} {record["version"]}

{base.spec.model_id} with {len(types)} labels taught by `handlens-convert train detector`: {labels}.
It names {len(record["labels"])} labels. File: {record["size"] / 1e6:.3f} MB, {grown} bytes more than before. Every
figure below was measured by the training that made this model.
"""


def _new(judgement: Judgement) -> str:
    found, point = judgement.new, judgement.new_shown
    rows = [(label, f"{value:.3f}") for label, value in sorted(found.by_label.items())]
    return f"""## New labels

On {judgement.held_out} photos that were not trained on: **AP50 {found.ap50:.3f}**, mAP 0.50:0.95 {found.map:.3f}
(before: 0, the labels were unknown). From the score {point.min_score:g} that a search shows boxes from: precision
{point.precision:.2f}, recall {point.recall:.2f}.

{_table(("label", "mAP 0.50:0.95"), rows)}
"""


def _old(judgement: Judgement) -> str:
    before, after = judgement.shown
    rows = [
        ("mAP 0.50:0.95 of the old labels", *(f"{value:.3f}" for value in judgement.old_map)),
        ("AP50 of the old labels", *(f"{value:.3f}" for value in judgement.old_ap50)),
        ("objects found, any label", f"{before.recall:.3f}", f"{after.recall:.3f}"),
        ("boxes shown a photo", f"{before.per_photo:.2f}", f"{after.per_photo:.2f}"),
    ]
    if not judgement.own_guard:
        rows.append(("boxes shown that are right, any label", f"{before.precision:.3f}", f"{after.precision:.3f}"))
    truth = "what the old detector shows there as truth" if judgement.own_guard else "their drawn boxes as truth"
    return f"""## Old labels

On {judgement.guard_photos} guard photos, with {truth}.
The rows of the old labels are untouched: their outputs are the same bits.

{_table(("figure", "before", "after"), rows)}
"""


def _data(record: Mapping[str, Any], licences: Sequence[str]) -> str:
    training = record["provenance"]["training"]
    named = ", ".join(licence for licence in licences if licence) or "not stated by the data set"
    return f"""## Data

{training["photos"]} photos with {training["objects"]} boxes of the new labels; SHA-256 of the data set's records
{training["data_sha256"]}. Licences of the photos: {named}.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_LIMITS = """## Limits

- Boxes come from distances that were learned from the base's labels; only what is at their middle is learned here.
  Objects of a shape unlike any of those get loose boxes.
- Objects whose look the base's features do not tell apart cannot be taught by rows alone.
- The limits of the base hold too: small objects are missed, the photo is stretched to a square.
"""
