"""Policies of former formats, read as what they mean in the present one. Pure: JSON object in, JSON object out.

Format 1 had one gate for the type in place of bands, no curves, and nothing that draws: its scores stay as they are,
its types end in the policy's own fallback, and it explores never.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlens.wire.fields import Fields

__all__ = ["FORMAT", "migrated"]

FORMAT = 2


def migrated(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The policy in the present format; what is not of a former format comes back as it is.

    Raises:
        DecodeError: a policy of format 1 lacks what the change needs.
    """
    if values.get("format") != 1 or isinstance(values["format"], bool):
        return values
    fields = Fields(values, what="policy")
    gates, types = fields.mapping("gates"), fields.mapping("types")
    gate = gates.number("type")
    if not 0.0 <= gate <= 1.0:
        raise gates.wrong("type", "a number from 0 to 1")
    sure = [{"name": "sure", "from": gate}] if gate > 0 else []
    return {
        **values,
        "format": FORMAT,
        "bands": [*sure, {"name": "unsure", "from": 0, **({"use": "default"} if sure else {})}],
        "gates": {name: value for name, value in gates.values.items() if name != "type"},
        "types": {name: _ended(types.mapping(name)) for name in types.values},
        "default": _ended(fields.mapping("default")),
    }


def _ended(layout: Fields) -> dict[str, Any]:
    return {**layout.values, "fallback": None}
