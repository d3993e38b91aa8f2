"""Profiles and deep links: what is refused when a profile is set, and that a link cannot be led elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.partner import profile

from handlens_server.cli import main
from handlens_server.partner.links import PLACES, TemplateError, check_template, deep_link
from handlens_server.partner.profiles import ProfileError, read_profile


class TestProfiles:
    def test_what_is_not_said_has_a_default(self) -> None:
        found = read_profile("acme", profile())
        assert found.audiences == {"all", "partner:acme"}
        assert (found.kinds, found.locales, found.link_template) == ((), (), None)
        assert found.thumbnail_sides == (320,)
        assert found.limits == {"requests_per_minute": 600, "concurrent": 16}
        assert found.quotas["items"] == 100_000

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ({"format": 2}, "profile/format"),
            ({"surprise": 1}, "surprise"),
            ({"kinds": ["gadget"]}, "profile/kinds/0"),
            ({"audiences": ["partner:other"]}, "profile/audiences/0"),
            ({"limits": {"requests_per_minute": 0}}, "profile/limits/requests_per_minute"),
            ({"policy": {"format": 2}}, "policy"),
            ({"surface_policies": {"fridge": {}}}, "fridge"),
            ({"link_template": "http://acme.example/"}, "link_template must be https"),
            ({"link_template": "https://acme.example/{secret}"}, "link_template may fill in"),
        ],
    )
    def test_what_cannot_be_used_is_refused_with_its_place(self, more: dict[str, Any], told: str) -> None:
        with pytest.raises(ProfileError, match=told):
            read_profile("acme", profile(**more))

    def test_what_is_no_json_is_refused(self) -> None:
        with pytest.raises(ProfileError, match="not JSON"):
            read_profile("acme", "{")


class TestLinks:
    @pytest.mark.parametrize(
        "template",
        [
            "http://acme.example/{link}",
            "https://{link}",
            "https://{item_id}.acme.example/",
            "https://acme.example{link}",
            "https://acme.example:0/{link}",
            "javascript:alert(1)//{link}",
            "https://acme.example/{link",
            "https://acme.example/{{link}}",
            "https://acme.example/ {link}",
            "https://user@{link}/x",
            "//acme.example/{link}",
            "https:///{link}",
            "https://acme.example\\{link}",
        ],
    )
    def test_a_template_that_could_lead_elsewhere_is_refused(self, template: str) -> None:
        with pytest.raises(TemplateError):
            check_template(template)

    @given(st.dictionaries(st.sampled_from(PLACES), st.text(max_size=40)), st.text(max_size=60))
    def test_whatever_is_filled_in_stays_in_its_place(self, values: dict[str, str], link: str) -> None:
        template = "https://go.acme.example/open?u={link}&i={item_id}&s={surface}#x"
        check_template(template)
        found = deep_link(template, f"https://shop.example/{link}", values)
        assert found is not None
        parts = urlsplit(found)
        assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", "go.acme.example", "/open", "x")
        query = parse_qs(parts.query, keep_blank_values=True, errors="surrogatepass")
        assert query["u"] == [f"https://shop.example/{link}"]
        assert query["i"] == [values.get("item_id", "")]
        assert len(query) == 3

    @pytest.mark.parametrize("link", [None, "http://shop.example/", "javascript:alert(1)", "ftp://x", ""])
    def test_an_item_without_an_https_link_leads_nowhere(self, link: str | None) -> None:
        assert deep_link(None, link, {}) is None
        assert deep_link("https://acme.example/?u={link}", link, {}) is None

    def test_a_template_that_needs_no_link_leads_somewhere_all_the_same(self) -> None:
        assert (
            deep_link("https://acme.example/{item_id}", None, {"item_id": "a/b&c"}) == "https://acme.example/a%2Fb%26c"
        )


class TestCommandLine:
    def test_a_partner_is_added_gets_keys_and_is_switched_off(self, tmp_path: Path) -> None:
        def run(*words: str, code: int = 0) -> str:
            done = CliRunner().invoke(main, [*words, "--data-dir", str(tmp_path / "data")])
            assert done.exit_code == code, done.output
            return done.output

        file = tmp_path / "acme.json"
        file.write_text(profile(kinds=["recipe"]), "utf-8")
        run("db", "upgrade")
        run("partner", "add", "acme", "--profile", str(file))
        made = json.loads(run("partner", "key", "new", "acme", "--test", "--scope", "lens", "--json"))
        assert made["key_id"].startswith("hl_test_")
        device = run("partner", "key", "new", "acme", "--device")
        assert "BEGIN PRIVATE KEY" in device
        shown = json.loads(run("partner", "show", "acme"))
        assert [one["kind"] for one in shown["keys"]] == ["secret", "ed25519"] or len(shown["keys"]) == 2
        assert shown["profile"]["kinds"] == ["recipe"]
        assert made["secret"] not in json.dumps(shown)
        file.write_text(profile(kinds=["gadget"]), "utf-8")
        assert "profile/kinds/0" in run("partner", "set", "acme", "--profile", str(file), code=1)
        run("partner", "key", "revoke", made["key_id"])
        run("partner", "disable", "acme")
        assert "True" in run("partner", "list")
        run("partner", "enable", "acme")
        assert json.loads(run("partner", "list", "--json"))[0]["disabled"] is False

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("partner", "show", "nobody"), "there is no partner 'nobody'"),
            (("partner", "key", "new", "nobody"), "there is no partner 'nobody'"),
            (("partner", "key", "revoke", "hl_live_x"), "there is no key"),
        ],
    )
    def test_what_is_not_there_is_one_line(self, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
        data = ("--data-dir", str(tmp_path))
        CliRunner().invoke(main, ["db", "upgrade", *data])
        done = CliRunner().invoke(main, [*words, *data])
        assert (done.exit_code, done.output.count("\n")) == (1, 1)
        assert told in done.output

    def test_the_contract_is_compared_with_the_released_one(self) -> None:
        done = CliRunner().invoke(main, ["partner", "contract"])
        assert done.exit_code == 0, done.output
