"""A report as a table on a terminal, and after it what failed, with its clause and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlens.partner.running import Outcome, Report

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_report"]

_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def print_report(report: Report, console: Console) -> None:
    """Print the report."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(_title(report)), title_justify="left", expand=False)
    table.add_column("check", no_wrap=True)
    table.add_column("promise", overflow="fold")
    table.add_column("result", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for one in report.outcomes:
        state = f"[{_STYLES[one.state]}]{one.state}[/]"
        table.add_row(one.check.check_id, escape(one.check.title), state, f"{one.seconds * 1000:.0f}")
    console.print(table)
    for one in report.outcomes:
        if one.state != "passed":
            _print_detail(one, console)
    counts = ", ".join(f"{report.count(state)} {state}" for state in ("passed", "failed", "skipped"))
    verdict = "keeps the contract" if report.is_conformant else "does not keep the contract"
    console.print(f"{escape(report.base_url)} {verdict}: {counts} in {report.seconds:.1f} s", highlight=False)


def _title(report: Report) -> str:
    return f"{report.base_url}, partner {report.partner}, contract {report.contract} (served: {report.served})"


def _print_detail(one: Outcome, console: Console) -> None:
    from rich.markup import escape

    console.print(f"\n[{_STYLES[one.state]}]{one.state}[/] {one.check.check_id}: {escape(one.detail)}", highlight=False)
    if one.state == "failed":
        console.print(
            f"  promised by  {escape(one.check.clause)}\n  remedy       {escape(one.check.remedy)}", highlight=False
        )
        for said in one.said[-1:]:
            shown = said.to_dict()
            for name in ("sent", "seen"):
                text = shown[name].replace("\n", "\n    ")
                console.print(f"  {name}\n    {escape(text)}", highlight=False)
