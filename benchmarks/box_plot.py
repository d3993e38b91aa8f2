"""The pictures of `box_consensus.py`: quality by noise, and by parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw_curves", "draw_parameters"]

_FIGURES = {"recall": "recall", "precision": "precision", "iou": "mean IoU", "label": "label accuracy"}
_COLOURS = {
    "handlens": "#0b6e4f",
    "mean": "#7a869a",
    "median": "#c08a2d",
    "single best user": "#b0413e",
    "weighted boxes fusion": "#5b5fc7",
}


def draw_curves(curves: dict[str, Any], path: Path) -> None:
    """Each figure of each method, by the share of junk and by the spread of careful edges."""
    titles = {"junk": "share of boxes that are junk", "spread": "spread of a careful edge, in sides of the object"}
    drawing, axes = _axes(len(titles))
    for row, (name, label) in enumerate(titles.items()):
        points = {float(value): rows for value, rows in curves[name].items()}
        for axis, (figure, title) in zip(axes[row], _FIGURES.items(), strict=True):
            for method, colour in _COLOURS.items():
                values = [points[value][method][figure] for value in sorted(points)]
                wide = 2.4 if method == "handlens" else 1.3
                axis.plot(sorted(points), values, marker="o", markersize=3, color=colour, lw=wide, label=method)
            axis.set_title(title)
            axis.set_xlabel(label)
    axes[0][0].legend(fontsize=7)
    _save(drawing, path)


def draw_parameters(parameters: dict[str, Any], path: Path) -> None:
    """Recall, precision, IoU and label accuracy by each parameter that is a number."""
    titles = {
        "min_users": "least users of an object",
        "reach": "reach (squared deviations)",
        "users": "users who drew it well",
    }
    drawing, axes = _axes(1, len(titles))
    for axis, (name, label) in zip(axes[0], titles.items(), strict=True):
        points = {float(value): row for value, row in parameters[name].items()}
        for figure, title in _FIGURES.items():
            if name == "users" and figure == "precision":
                continue  # of all objects of so many users, not of those that so many drew well
            axis.plot(sorted(points), [points[value][figure] for value in sorted(points)], marker="o", label=title)
        axis.set_xlabel(label)
        axis.legend(fontsize=7)
    _save(drawing, path)


def _axes(rows: int, columns: int = len(_FIGURES)) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows), squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return drawing, axes


def _save(drawing: Any, path: Path) -> None:
    from matplotlib import pyplot

    drawing.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=90)
    pyplot.close(drawing)
