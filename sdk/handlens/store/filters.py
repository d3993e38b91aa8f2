"""The conditions that a search puts on items, as SQL with its parameters: values are always bound, never written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ItemFilter", "marks"]


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items may be found; an empty field lets all pass.

    An item passes a locale when it has the same or none ("en" passes for "en-GB"), and an audience when it has the same
    or is for "all".
    """

    packs: tuple[str, ...] = ()
    locale: str = ""
    audience: str = ""

    def where(self) -> tuple[str, list[str]]:
        """An SQL condition on the table `items`, and its parameters."""
        conditions, values = ["1"], list[str]()
        locales = (self.locale, self.locale.partition("-")[0], "") if self.locale else ()
        audiences = (self.audience, "all") if self.audience else ()
        wanted = {"pack": self.packs, "locale": locales, "audience": audiences}
        for column, allowed in wanted.items():
            if allowed:
                conditions.append(f"items.{column} IN ({marks(allowed)})")
                values += allowed
        return " AND ".join(conditions), values


def marks(values: Sequence[object]) -> str:
    """One question mark for each value, for ``IN (...)``."""
    return ",".join("?" * len(values))
