"""Blending: candidates of several sources become titled sections, ordered by what is most helpful for the type.

Rules:

* The policy is data (`Policy`, read from ``policy.json``); `blend` holds no preference of its own.
* `blend` is pure: the same candidates in any order, understanding, policy and request give the same answer.
* An item stands in one section only, no section is empty, and the answer is empty only when there is no candidate that
  the user may see.
* Every match carries a `Why`; `explain` gives the whole decision, with what was left out and why.

>>> policy = Policy.from_json(Path("models/policy.json").read_bytes())                       # doctest: +SKIP
>>> blend(candidates, understanding, policy, limit=12, request_id="r1")[0].title            # doctest: +SKIP
'Recipes with grapefruit'
"""

from __future__ import annotations

from handlens.blend.assemble import blend
from handlens.blend.curves import SOURCES
from handlens.blend.explain import explain
from handlens.blend.explore import explores
from handlens.blend.layouts import Band, Layout, Rule
from handlens.blend.policy import Exploration, Fallback, Gates, Pick, Policy
from handlens.blend.refine import Refinement, refined

__all__ = [
    "SOURCES",
    "Band",
    "Exploration",
    "Fallback",
    "Gates",
    "Layout",
    "Pick",
    "Policy",
    "Refinement",
    "Rule",
    "blend",
    "explain",
    "explores",
    "refined",
]
