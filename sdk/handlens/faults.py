"""Named points at which a test may kill this process; in a product they cost one comparison.

``HANDLENS_FAULT=point`` kills the process (SIGKILL, as a power cut would) when it comes to that point, and
``HANDLENS_FAULT=point:3`` at its third pass. ``HANDLENS_FAULT_LOG=FILE`` appends the name of every point passed, one a
line, which is how a test learns the points there are.
"""

from __future__ import annotations

import os
import signal

__all__ = ["fault_point"]

_NAME, _, _COUNT = os.environ.get("HANDLENS_FAULT", "").partition(":")
_LOG = os.environ.get("HANDLENS_FAULT_LOG", "")
_IS_ON = bool(_NAME or _LOG)
_left = int(_COUNT or 1) if _NAME else 0


def fault_point(name: str) -> None:
    """Pass the point `name`."""
    if _IS_ON:
        _passed(name)


def _passed(name: str) -> None:
    global _left
    if _LOG:
        with open(_LOG, "a", encoding="utf-8") as log:
            log.write(f"{name}\n")
    if name == _NAME:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
