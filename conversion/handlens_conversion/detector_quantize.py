"""How the detector is quantized: a named recipe of `ai-edge-quantizer`, kept beside the model as recipe.json.

Use::

    model = quantize(float_model, threads=2)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import Any

__all__ = ["quantize", "recipe_record"]

RECIPE = "weight_only_wi8_afp32"


def quantize(parent: bytes, *, threads: int) -> bytes:
    """Return the quantized model of a float one."""
    from ai_edge_quantizer import quantizer

    quantizer_ = quantizer.Quantizer(bytearray(parent))
    quantizer_.load_quantization_recipe(_recipe())
    return bytes(quantizer_.quantize(enable_progress_report=False).quantized_model)


def recipe_record(parent: bytes) -> dict[str, Any]:
    """Return what recipe.json says: the recipe, the library that ran it, and the float model it was run on."""
    return {
        "format": 1,
        "name": RECIPE,
        "library": f"ai-edge-quantizer {importlib.metadata.version('ai-edge-quantizer')}",
        "parent_sha256": hashlib.sha256(parent).hexdigest(),
        "recipe": _recipe(),
    }


def _recipe() -> list[dict[str, Any]]:
    from ai_edge_quantizer import recipe

    rules: list[dict[str, Any]] = getattr(recipe, RECIPE)()
    return rules
