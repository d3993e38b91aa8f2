"""The picture of `sync.py`: bytes of a change by way of syncing, and searches while a change is applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw"]

_OURS, _OTHERS, _BASE = "#0b6e4f", "#9aa5b1", "#c9ced6"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the parts `bytes` and `large`, those of them that were measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [part for part in ("bytes", "large") if part in figures]
    if not parts:
        raise SystemExit("nothing to draw: measure the parts bytes or large")
    drawing, axes = pyplot.subplots(1, len(parts), figsize=(7 * len(parts), 4.4), squeeze=False)
    for part, axis in zip(parts, axes[0], strict=True):
        (_draw_bytes if part == "bytes" else _draw_latencies)(axis, figures[part])
    drawing.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=110)
    pyplot.close(drawing)


def _draw_bytes(axis: Any, figures: dict[str, Any]) -> None:
    first = figures["releases"][0]
    rows = {
        "base of the pack": figures["base_bytes"],
        **figures["peers_for_the_first_change"],
        "handlens": first["downloaded"],
        "changed rows alone, gzip": first["changed_rows_gzip"],
    }
    names = list(rows)[::-1]
    colours = [_colour(name) for name in names]
    bars = axis.barh(names, [rows[name] for name in names], color=colours)
    axis.bar_label(bars, [f"{rows[name] / 1e6:,.2f} MB" for name in names], padding=4, fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(right=max(rows.values()) * 8)
    axis.set_xlabel("bytes that a device fetches (log)")
    axis.set_title(f"{figures['items']:,} items, 1 % of the rows changed")


def _draw_latencies(axis: Any, figures: dict[str, Any]) -> None:
    labels, usual, syncing = [], [], []
    for mode, found in figures["changes"].items():
        for level, windows in found["latency_ms"].items():
            if windows["syncing"]["searches"]:
                labels.append(f"{level}\n({mode})")
                usual.append(windows["usual"]["p99"])
                syncing.append(windows["syncing"]["p99"])
    places = range(len(labels))
    axis.bar([place - 0.2 for place in places], usual, 0.4, color=_OTHERS, label="usual")
    bars = axis.bar([place + 0.2 for place in places], syncing, 0.4, color=_OURS, label="while a sync runs")
    axis.bar_label(bars, [f"{now / before:.1f}x" for now, before in zip(syncing, usual, strict=True)], fontsize=8)
    axis.set_xticks(list(places), labels, fontsize=8)
    axis.set_yscale("log")
    axis.set_ylabel("p99 of a search, ms (log)")
    axis.set_title(f"{figures['changed_rows']:,} changed rows of {figures['items']:,}")
    axis.legend()


def _colour(name: str) -> str:
    if name == "handlens":
        return _OURS
    return _BASE if name.startswith(("base", "changed rows")) else _OTHERS
