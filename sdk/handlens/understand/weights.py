"""The constants of understanding, under the name that its callers know them by; the model carries them.

They are a wire record because another embedding space wants another set: see `handlens.wire.fusion`.
"""

from __future__ import annotations

from handlens.wire.fusion import FusionWeights

__all__ = ["FusionWeights"]
