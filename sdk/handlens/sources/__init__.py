"""Sources: each turns an understood query into candidates. Rules and protocols stand in `handlens.sources.base`.

>>> sources = (VisualSource(), AnnotationSource(store, gate=policy.gates.annotation))        # doctest: +SKIP
>>> [candidate for source in sources for candidate in source.candidates(query)]              # doctest: +SKIP
"""

from __future__ import annotations

from handlens.sources.annotation import AnnotationSource
from handlens.sources.base import ItemLookup, Source, TextHit, TextSearch, suits_locale
from handlens.sources.curated import CuratedSource
from handlens.sources.object import ObjectSource
from handlens.sources.visual import VisualSource

__all__ = [
    "AnnotationSource",
    "CuratedSource",
    "ItemLookup",
    "ObjectSource",
    "Source",
    "TextHit",
    "TextSearch",
    "VisualSource",
    "suits_locale",
]
