"""The pictures of listed photos, by their path below a root; one object that can travel to the workers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.pipeline.look import Look, look_at_file, read_picture
from handlens_conversion.pipeline.photo_rows import ListedPhoto

__all__ = ["Pictures"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Looks at pictures below `root`, a local folder or a URI.

    With `unseen` no picture is opened: sizes come from the list, missing and corrupt ones are not noticed, and only
    photos of equal names are near-duplicates. The hashes then are of the name.
    """

    root: str
    unseen: bool = False

    def path(self, listed: ListedPhoto) -> str:
        """Where the picture is."""
        return f"{self.root.rstrip('/')}/{listed.image}"

    def __call__(self, listed: ListedPhoto) -> Look | RejectReason:
        """Look at one, or say why it cannot be used."""
        if not self.unseen:
            return look_at_file(self.path(listed))
        if listed.size is None:
            return RejectReason.MISSING_PHOTO
        sha256 = hashlib.sha256(listed.image.encode()).hexdigest()
        return Look(listed.size, sha256, sha256[:16])

    def read(self, listed: ListedPhoto) -> bytes | RejectReason:
        """The bytes of one."""
        return read_picture(self.path(listed))
