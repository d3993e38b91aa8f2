"""All checks, in the order in which they are made.

The one that uses up a limit comes last, because those after it would have to wait.
"""

from __future__ import annotations

from handlens.partner.checking import Check
from handlens.partner.checks import (
    answer_checks,
    auth_checks,
    contract_checks,
    input_checks,
    limit_checks,
    page_checks,
    sandbox_checks,
    signature_checks,
    write_checks,
)

__all__ = ["ALL_CHECKS"]

ALL_CHECKS: tuple[Check, ...] = (
    *contract_checks.CHECKS,
    *auth_checks.CHECKS,
    *signature_checks.CHECKS,
    *write_checks.CHECKS,
    *page_checks.CHECKS,
    *answer_checks.CHECKS,
    *input_checks.CHECKS,
    *sandbox_checks.CHECKS,
    *limit_checks.CHECKS,
)
