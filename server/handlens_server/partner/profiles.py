"""A partner's profile: what it may see and do, as data.

Rules:

1. A profile is JSON as `profile.schema.json` describes it; any other is refused with the path of the fault.
2. Policies and the link template are checked when the profile is set, so that no request finds them broken.
3. Which items are a partner's own stands in no profile: its own audience is ``partner:<id>``, and nobody else sees it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from handlens.errors import DecodeError, HandlensError
from handlens_server.partner.links import TemplateError, check_template

if TYPE_CHECKING:
    from handlens.blend import Policy

__all__ = ["SCOPES", "Profile", "ProfileError", "read_profile"]

SCOPES = ("lens", "feedback", "items:read", "catalog:read", "catalog:write", "usage:read", "sandbox")
_SCHEMA = Path(__file__).parent / "profile.schema.json"


class ProfileError(HandlensError):
    """A profile cannot be used."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A checked profile of the partner `partner_id`; see `profile.schema.json` for what each field says."""

    partner_id: str
    values: Mapping[str, Any]
    policy: Policy | None
    surface_policies: Mapping[str, Policy]
    digest: str  # of the profile's text: profiles that have the same are the same

    @property
    def name(self) -> str:
        """For people."""
        return str(self.values["name"])

    @property
    def contract(self) -> str:
        """The major version of the contract."""
        return str(self.values["contract"])

    @property
    def own_audience(self) -> str:
        """The audience of its own items."""
        return f"partner:{self.partner_id}"

    @property
    def audiences(self) -> frozenset[str]:
        """All audiences whose items it may show."""
        return frozenset((*self.values["audiences"], self.own_audience))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that it may show; none: all."""
        return tuple(self.values.get("kinds", ()))

    @property
    def locales(self) -> tuple[str, ...]:
        """The languages that it may ask for; none: all."""
        return tuple(self.values["locales"])

    @property
    def link_template(self) -> str | None:
        """Where results lead; None: to the item's own link."""
        template = self.values["link_template"]
        return None if template is None else str(template)

    @property
    def thumbnail_sides(self) -> tuple[int, ...]:
        """Pixels of the longer side of each thumbnail, small ones first."""
        return tuple(sorted(self.values["thumbnail_sides"]))

    @property
    def token_seconds(self) -> int:
        """How long a bearer token works."""
        return int(self.values["token_seconds"])

    @property
    def insights_hours(self) -> int:
        """How long feedback on an answer is taken."""
        return int(self.values["insights_hours"])

    @property
    def limits(self) -> Mapping[str, int]:
        """requests_per_minute, concurrent."""
        return dict(self.values["limits"])

    @property
    def quotas(self) -> Mapping[str, int]:
        """requests_per_day, items."""
        return dict(self.values["quotas"])

    def shows_kind(self, kind: str) -> bool:
        """Whether items of this kind may be shown."""
        return not self.kinds or kind in self.kinds

    def policy_for(self, surface: str) -> Policy | None:
        """The policy for a surface; None: the release's."""
        return self.surface_policies.get(surface, self.policy)

    def first_intents(self, surface: str) -> tuple[str, ...]:
        """Intents that stand before the others."""
        return tuple(self.values["first_intents"].get(surface, ()))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, with every default."""
        return dict(self.values)


@functools.lru_cache(maxsize=256)
def read_profile(partner_id: str, text: str) -> Profile:
    """The profile in a JSON text.

    Raises:
        ProfileError: it is not as the schema says, or a policy or the template in it cannot be used.
    """
    from handlens.blend import Policy

    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"the profile is not JSON: {error}") from error
    fault = next(
        iter(sorted(_validator().iter_errors(values), key=lambda one: list(map(str, one.absolute_path)))), None
    )
    if fault is not None:
        raise ProfileError(f"profile{_path(fault)}: {fault.message[:200]}")
    try:
        policies = {name: Policy.from_json(json.dumps(one)) for name, one in values.get("surface_policies", {}).items()}
        policy = None if values.get("policy") is None else Policy.from_json(json.dumps(values["policy"]))
        if values.get("link_template") is not None:
            check_template(values["link_template"])
    except (DecodeError, TemplateError) as error:
        raise ProfileError(f"profile: {error}") from error
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Profile(partner_id, _with_defaults(values, _schema()), policy, policies, digest)


def _with_defaults(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    known = schema.get("properties", {})
    filled = {name: one["default"] for name, one in known.items() if "default" in one} | dict(values)
    return {
        name: _with_defaults(value, known[name])
        if isinstance(value, Mapping) and known[name].get("properties")
        else value
        for name, value in filled.items()
    }


def _path(fault: Any) -> str:
    return "".join(f"/{one}" for one in fault.absolute_path)


@functools.cache
def _schema() -> dict[str, Any]:
    return dict(json.loads(_SCHEMA.read_text("utf-8")))


@functools.cache
def _validator() -> Any:
    return Draft202012Validator(_schema())
