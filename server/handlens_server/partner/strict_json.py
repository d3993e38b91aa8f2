"""JSON of a partner, read strictly: what two readers could understand differently is refused.

Refused are names that stand twice in an object, NaN and infinities, numbers that no double holds, halves of surrogate
pairs, text that is not UTF-8, and nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from handlens_server.partner.errors import PartnerError

__all__ = ["MAX_DEPTH", "read_json"]

MAX_DEPTH = 32


def read_json(data: bytes) -> Any:
    """The JSON value in `data`.

    Raises:
        PartnerError: it is none that has one meaning (400 malformed-json).
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
        _check(value)
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise _malformed(f"it is nested more than {MAX_DEPTH} deep") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at character {error.pos}") from error
    except ValueError as error:  # ours, or a whole number with thousands of digits
        raise _malformed(str(error)[:200]) from error
    return value


def _check(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                for name in value:
                    _check_text(name)
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {ascii(twice)[:80]} stands twice in an object")
    return values


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _malformed(how: str) -> PartnerError:
    return PartnerError(400, "malformed-json", f"the body cannot be read as JSON: {how}")
