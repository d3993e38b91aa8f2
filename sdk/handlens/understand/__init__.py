"""Understanding: what kind of thing an object is, and words for it, from three voices that each know a part.

Rules:

* The detector knows 80 labels, the classifier 1,000, and the neighbours whatever the catalogue holds.
* A voice that knows little must say little: what it does not say is spread evenly over all types.
* Types are fused by a log-linear pool, words by a noisy-or; see `handlens.understand.fusion`. Their parameters come
  with the embedder: `ModelSpec.understanding`.
* Everything is pure: the same evidence gives the same understanding, on the device and on the server.

>>> from handlens.results import Evidence
>>> from handlens.wire.taxonomy import Taxonomy
>>> taxonomy = Taxonomy("1", {}, {"orange": "food"}, {"lemon": "food", "tennis ball": "sport"})
>>> known = understand(Evidence(("orange", 0.6), (("lemon", 0.3), ("tennis ball", 0.2)), ()), taxonomy)
>>> known.object_type, [note.tag for note in known.annotations]
('food', ['orange', 'lemon'])
"""

from __future__ import annotations

from handlens.understand.colours import ColourRules, colours_of, salient_colours
from handlens.understand.fusion import type_confidences, understand
from handlens.understand.regions import SubjectRules, choose_regions
from handlens.understand.weights import FusionWeights

__all__ = [
    "ColourRules",
    "FusionWeights",
    "SubjectRules",
    "choose_regions",
    "colours_of",
    "salient_colours",
    "type_confidences",
    "understand",
]
