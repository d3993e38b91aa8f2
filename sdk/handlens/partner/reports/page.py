"""A report as a page that stands alone: no script, nothing from another server."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from handlens.partner.running import Report

__all__ = ["html_page"]

_TEMPLATE = Path(__file__).parent / "report.html"


def html_page(report: Report) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    groups = [(name, list(found)) for name, found in groupby(report.outcomes, key=lambda one: one.check.group)]
    return environment.from_string(_TEMPLATE.read_text("utf-8")).render(report=report, groups=groups)
