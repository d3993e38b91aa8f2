"""Builds `models/detector` from the published package: fetch, read, write as float TFLite, quantize, describe.

Every step is repeatable: the package is named by its hash, the float model is written byte for byte the same, and the
quantization follows the recipe in `detector_quantize`. The float parent is not kept in the model folder; `float_parent`
makes it again for comparisons.

Use::

    build(Path("models/detector"), cache=default_cache(), photos=Path("."))
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlens.vision.image import load_photo
from handlens_conversion.calibration import check_list, load_list
from handlens_conversion.detector_graph import read_graph
from handlens_conversion.detector_labels import COCO_LABELS
from handlens_conversion.detector_quantize import RECIPE, quantize, recipe_record
from handlens_conversion.detector_tflite import write_tflite
from handlens_conversion.files import write_json, write_whole
from handlens_conversion.packages import fetch_npm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SIDE", "build", "describe", "float_parent", "load_pixels"]

NAME = "centernet-mobilenetv3"
VERSION = "1.1.0"
SIDE = 320  # pixels; the network is fully convolutional, 320 is the best quality for the latency of a phone
STRIDE = 4  # image pixels for one cell of the heat map
OUTPUTS = ("heatmap", "distances")
PACKAGE = ("@vladmandic/human", "3.3.6", "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7")
MODEL_FILE = "model.tflite"
CALIBRATION_FILE = "calibration.json"
RESAMPLE = "quad"


def build(
    out: Path,
    *,
    cache: Path,
    photos: Path = Path("."),
    calibration: Path | None = None,
    threads: int = 2,
    progress: bool = True,
) -> None:
    """Write model.tflite, model.json and recipe.json into the folder `out`, fetching the package when `cache` lacks it.

    Args:
        out: Folder of the model; made when missing, files of an earlier build are replaced whole.
        cache: Folder of fetched packages.
        photos: Folder that the calibration list's paths start from.
        calibration: The calibration list; `out`/calibration.json when None.
        threads: Threads for the runs that calibration needs.
        progress: Show a progress bar on standard error.

    Raises:
        ModelError: the package cannot be fetched or is not the expected one, or a calibration photograph is missing or
            has changed.
    """
    from tqdm import tqdm

    listed = calibration or out / CALIBRATION_FILE
    files = check_list(load_list(listed), root=photos)
    with tqdm(total=3, desc="detector", disable=not progress) as bar:
        parent = float_parent(cache)
        bar.update()
        model = quantize(parent, map(load_pixels, files), threads=threads)
        bar.update()
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / MODEL_FILE, model)
        write_json(out / "recipe.json", recipe_record(parent, calibration=listed, photos=len(files)))
        write_json(out / "model.json", describe(model))
        bar.update()


def float_parent(cache: Path, *, side: int = SIDE) -> bytes:
    """Return the float32 model that the quantized one is made from and compared with.

    Raises:
        ModelError: the package cannot be fetched or is not the expected one.
    """
    folder = fetch_npm(*PACKAGE, cache)
    graph = read_graph(folder / "package" / "models" / "centernet.json")
    return write_tflite(graph, side=side, outputs=OUTPUTS)


def load_pixels(file: Path) -> NDArray[np.uint8]:
    """The whole photo as the SDK gives it to the network: (320, 320, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read.
    """
    return load_photo(file).pixels(size=(SIDE, SIDE), resample=RESAMPLE)


def describe(model: bytes) -> dict[str, Any]:
    """Return the `model.json` of a detector model made by `quantize` or `float_parent`."""
    details = _details(model)
    cells = SIDE // STRIDE
    return {
        "format": 1,
        "kind": "detector",
        "name": NAME,
        "version": VERSION,
        "file": MODEL_FILE,
        "sha256": hashlib.sha256(model).hexdigest(),
        "size": len(model),
        "input": _input(details["input"]),
        "outputs": {
            "heatmap": {
                "position": details["channels"].index(len(COCO_LABELS)),
                "shape": [1, cells, cells, len(COCO_LABELS)],
            },
            "distances": {"position": details["channels"].index(4), "shape": [1, cells, cells, 4]},
        },
        "decode": _DECODE,
        "embedding": {},
        "labels": list(COCO_LABELS),
        "calibration": None,
        "quantization": details["quantization"],
        "provenance": _PROVENANCE,
        "licence": "MIT, as declared by the package; no licence file was seen in the network's own repository",
    }


_DECODE: dict[str, Any] = {
    "method": "centernet",
    "stride": STRIDE,
    # The published decoding puts a cell's centre at its corner: half a cell more costs 0.017 mAP.
    "cell_offset": 0.0,
    "peak": "a cell that no cell of its 3x3 neighbourhood exceeds in its own channel",
    "distances": "left, top, right, bottom in input pixels, from (column, row) plus cell_offset, times stride",
    # Chosen on the training split: from here on two of three boxes shown are right, whatever their label.
    "min_score": 0.25,
    "nms_iou": 0.6,
}
_PROVENANCE: dict[str, Any] = {
    "package": {"registry": "npm", "name": PACKAGE[0], "version": PACKAGE[1], "sha256": PACKAGE[2], "licence": "MIT"},
    "files": ["package/models/centernet.json", "package/models/centernet.bin"],
    "network": "https://github.com/610265158/mobilenetv3_centernet",
    "training_data": "COCO 2017 train, as stated by the network's author",
    "built_with": "handlens-convert models build detector",
}


def _input(details: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": SIDE,
        "height": SIDE,
        "dtype": details["dtype"].__name__,
        "color": "RGB",
        "resize": "stretch",
        "resample": RESAMPLE,
        "mean": 0.0,
        "std": 1.0,
    }


def _details(model: bytes) -> dict[str, Any]:
    """Return what the interpreter says of a model: its input, the channels of its outputs, and its number types."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    types = [str(tensor["dtype"].__name__) for tensor in interpreter.get_tensor_details()]
    return {
        "input": interpreter.get_input_details()[0],
        "channels": [int(output["shape"][3]) for output in interpreter.get_output_details()],
        "quantization": {
            "method": RECIPE,
            "recipe": "recipe.json",
            "tensors": {name: types.count(name) for name in sorted(set(types))},
        },
    }
