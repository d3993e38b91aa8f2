"""The data set's report: one HTML page with its pictures inside. All text that came from users is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from handlens_conversion.pipeline.groups import SIDES

__all__ = ["Sheet", "draw_report"]

_LABELS = 30  # bars
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#212529;background:#faf9f6;margin:24px auto;max-width:1120px}
h1{font-size:20px}h2{font-size:17px;margin:28px 0 4px}p{margin:4px 0}
table{border-collapse:collapse;margin-top:8px}th{text-align:left;border-bottom:2px solid #ccc}
td,th{padding:3px 12px 3px 0;vertical-align:top;overflow-wrap:anywhere}tr{border-bottom:1px solid #e6e3dc}
.number{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
figure{margin:14px 0}figcaption{color:#666;font-size:12px;overflow-wrap:anywhere}
"""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sample sheet (JPEG bytes), or why there is none, and what stands below it."""

    photo: str
    picture: bytes | str
    credit: str


def draw_report(sheet: Mapping[str, Any], sheets: Sequence[Sheet], *, detector: str | None) -> str:
    """The page: figures, plots, sample sheets. `detector` names whose predictions are the third picture, if any."""
    body = "".join((_summary(sheet), _left_out(sheet), _plots(sheet), _samples(sheets, detector)))
    head = f'<meta charset="utf-8"><title>Training data from boxes</title><style>{_STYLE}</style>'
    return (
        f"<!doctype html><html lang=en><head>{head}</head><body><h1>Training data from boxes</h1>{body}</body></html>\n"
    )


def _summary(sheet: Mapping[str, Any]) -> str:
    rows, photos, objects = sheet["rows"], sheet["photos"], sheet["objects"]
    lines = [[side, photos[side], objects[side]] for side in SIDES]
    return (
        f"<p>{rows['read']} rows were read; {rows['used']} boxes on {photos['with_boxes']} photos were used, "
        f"{rows['left_out']} rows left out, {rows['bad']} of them bad. "
        f"{sheet['labels'].get('', 0)} objects have no label. "
        f"{sheet['near_duplicates']} photos are near-duplicates of another and on its side.</p>"
        + _table(["side", "photos", "objects"], lines)
    )


def _left_out(sheet: Mapping[str, Any]) -> str:
    rows = [
        [name, one["group"], one["count"], " · ".join(one["samples"][:2])] for name, one in sheet["left_out"].items()
    ]
    return "<h2>What was left out</h2>" + _table(["reason", "kind", "rows", "such as"], rows)


def _plots(sheet: Mapping[str, Any]) -> str:
    labels = sorted(((name, n) for name, n in sheet["labels"].items() if name), key=lambda one: (-one[1], one[0]))
    plots = (
        ("Objects by label", labels[:_LABELS], f"the {min(_LABELS, len(labels))} commonest of {len(labels)}"),
        ("Users of an object", list(sheet["users_of_an_object"].items()), "objects by how many users drew them"),
        ("Agreement", list(sheet["agreement"].items()), "objects by the share of users near it whose box fits"),
        (
            "Uncertainty",
            list(sheet["largest_error_of_an_edge_in_thousandths"].items()),
            "objects by the standard error of their least certain edge, in thousandths of the photo",
        ),
    )
    return "<h2>Distributions</h2>" + "".join(
        f"<figure>{_image(_bars(title, bars), 'png', title)}<figcaption>{escape(told)}</figcaption></figure>"
        for title, bars, told in plots
    )


def _bars(title: str, bars: Sequence[tuple[str, int]]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A label such as $x$ is text, not a formula.
    axes.bar(range(len(bars)), [count for _, count in bars], color="#2f6fb4")
    axes.set_xticks(
        range(len(bars)), [name[:24] for name, _ in bars], rotation=60, ha="right", fontsize=7, parse_math=False
    )
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _samples(sheets: Sequence[Sheet], detector: str | None) -> str:
    right = f", right what {escape(detector)} sees" if detector else ""
    told = f"Left the boxes as users drew them, a colour a user; then the objects made of them{right}."
    head = f"<h2>Samples</h2><p>{told}</p>"
    return head + "".join(_figure(one) for one in sheets)


def _figure(one: Sheet) -> str:
    caption = escape(" · ".join(part for part in (one.photo, one.credit) if part))
    picture = (
        f"<p>{escape(one.picture)}</p>" if isinstance(one.picture, str) else _image(one.picture, "jpeg", one.photo)
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _image(data: bytes, kind: str, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _table(head: list[str], rows: list[list[Any]]) -> str:
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _cell(cell: Any) -> str:
    return f"<td class=number>{cell}</td>" if isinstance(cell, int) else f"<td>{escape(str(cell))}</td>"
