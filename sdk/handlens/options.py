"""What a user can set about a `Lens`, each with its unit and its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handlens.errors import OptionsError
from handlens.wire.event import CONSENTS

__all__ = ["INDEX_KINDS", "RUNTIMES", "Options"]

RUNTIMES = ("auto", "litert", "tflite")
INDEX_KINDS = ("auto", "exact", "hnsw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of one `Lens`; every bound that the code uses stands here.

    Raises:
        OptionsError: a value cannot work.
    """

    data_dir: str | Path = "~/.handlens"  # the device's store: database, models, index files
    packs: tuple[str, ...] = ()  # packs to search; empty means every installed pack
    runtime: str = "auto"  # litert, tflite, or auto: LiteRT where it is installed, else tflite-runtime
    threads: int = 2  # threads that a model may run on; from two on, two objects are embedded at once (14 MB each)
    index: str = "auto"  # exact, hnsw, or auto: HNSW from `exact_below` vectors on where hnswlib is installed
    exact_below: int = 10_000  # vectors; below this an exact scan costs less than a tenth of one embedding
    max_objects: int = 3  # objects searched in one photo, best first
    min_detection_score: float | None = None  # None: the score that the detector's model.json names
    crop_margin: float = 0.08  # context kept around a box, as a fraction of the box's size
    neighbours: int = 40  # nearest vectors asked per object
    limit: int = 12  # matches per object over all sections
    deadline_ms: float | None = None  # after it no more sources are asked, and the answer names those left out
    max_pixels: int = 89_000_000  # photos with more pixels are refused before they are decoded (Pillow warns above)
    decode_side: int = 960  # pixels; photos are scaled while decoding, to a long side of at least this
    locale: str = "en"  # items of this language, and items of none
    server_url: str = ""  # where `sync` goes, such as https://lens.example.com
    trusted_root: str | Path | None = None  # the root.json that trust in releases begins with; ship it with the app
    channel: str = "stable"  # the line of releases that this device follows
    enrolment_key: str = ""  # what the server asks of new devices, if it does
    timeout: float = 20.0  # seconds to connect, and to wait for each part of an answer
    retries: int = 4  # how often a request that failed is sent again
    consent: str = "none"  # what the user allows to be kept and sent: none, events, embedding, crop
    outbox_bytes: int = 50_000_000  # events that may wait to be sent

    def __post_init__(self) -> None:
        _require(self.runtime in RUNTIMES, "runtime", self.runtime, f"one of {', '.join(RUNTIMES)}")
        _require(self.index in INDEX_KINDS, "index", self.index, f"one of {', '.join(INDEX_KINDS)}")
        for name in ("threads", "max_objects", "neighbours", "limit", "max_pixels", "decode_side"):
            value = getattr(self, name)
            _require(isinstance(value, int) and value >= 1, name, value, "a whole number of at least 1")
        _require(self.consent in CONSENTS, "consent", self.consent, f"one of {', '.join(CONSENTS)}")
        url = self.server_url
        _require(not url or url.startswith(("https://", "http://")), "server_url", url, "an https:// address")
        _require(self.timeout > 0, "timeout", self.timeout, "seconds above 0")
        _require(
            isinstance(self.retries, int) and self.retries >= 0, "retries", self.retries, "a whole number from 0 on"
        )
        deadline = self.deadline_ms
        _require(deadline is None or deadline > 0, "deadline_ms", deadline, "milliseconds above 0, or None")
        _require(0.0 <= self.crop_margin <= 1.0, "crop_margin", self.crop_margin, "a fraction from 0 to 1")
        _require(not isinstance(self.packs, str), "packs", self.packs, "a list of pack names, not one string")

    @property
    def data_path(self) -> Path:
        """The store's folder, with ``~`` resolved."""
        return Path(self.data_dir).expanduser()


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise OptionsError(f"option {name} is {value!r}: give {expected}")
