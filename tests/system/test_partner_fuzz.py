"""Calls made from the contract, against gunicorn and PostgreSQL: a short run of `benchmarks/partner_fuzz.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.heavy
def test_no_call_that_can_be_made_from_the_contract_breaks_it() -> None:
    command = [sys.executable, "benchmarks/partner_fuzz.py", "--examples", "10", "--least", "800", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
