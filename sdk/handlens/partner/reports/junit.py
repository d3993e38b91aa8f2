"""A report as JUnit XML, which CI systems read: a suite a group, a case a check (by `junitparser`)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from handlens.partner.running import Outcome, Report

if TYPE_CHECKING:
    from junitparser import TestCase

__all__ = ["junit_xml"]

_NOT_XML = {code: "?" for code in range(32) if code not in (9, 10, 13)}


def junit_xml(report: Report) -> bytes:
    """The XML document."""
    from junitparser import JUnitXml, TestSuite

    document = JUnitXml("handlens partner check")
    for group, outcomes in groupby(report.outcomes, key=lambda one: one.check.group):
        suite = TestSuite(f"{group} ({report.base_url})")
        suite.timestamp = report.begun
        suite.add_property("contract", report.contract)
        for one in outcomes:
            suite.add_testcase(_case(one))
        document.add_testsuite(suite)
    document.update_statistics()
    text: bytes = document.tostring()
    return text


def _case(one: Outcome) -> TestCase:
    from junitparser import Failure, Skipped, TestCase

    case = TestCase(one.check.check_id, classname=f"handlens.partner.{one.check.group}", time=round(one.seconds, 3))
    if one.state == "failed":
        failure = Failure(_clean(one.detail), "promise-not-kept")
        failure.text = _clean(_told(one))
        case.result = [failure]
    elif one.state == "skipped":
        case.result = [Skipped(_clean(one.detail))]
    return case


def _told(one: Outcome) -> str:
    lines = [one.detail, "", f"Promised by: {one.check.clause}", f"Remedy: {one.check.remedy}"]
    for said in one.said:
        shown = said.to_dict()
        lines += ["", "Sent:", shown["sent"], "", "Seen:", shown["seen"]]
    return "\n".join(lines)


def _clean(text: str) -> str:
    """The text without what XML cannot hold."""
    return text.translate(_NOT_XML).encode("utf-8", "replace").decode()
