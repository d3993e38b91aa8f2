"""The contract as a page to read: Swagger UI as the package `flask-swagger-ui` bundles it, with nothing from elsewhere.

Only the files that the page needs are served, by name. The policy of the page lets it load from this server alone, and
run no script that stands in the page itself.
"""

from __future__ import annotations

import functools
from html import escape
from importlib.util import find_spec
from pathlib import Path

from handlens_server.partner.errors import PartnerError

__all__ = ["PAGE_POLICY", "asset", "page"]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_BEGIN = "begin.js"
_SCRIPT = b"""window.addEventListener("load", function () {
  var place = document.getElementById("contract");
  SwaggerUIBundle({
    url: place.dataset.url, dom_id: "#contract", deepLinking: true, supportedSubmitMethods: [], validatorUrl: null
  });
});
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>handlens partner API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<noscript>The page needs JavaScript; the contract itself is at <a href="{url}">{url}</a>.</noscript>
<div id="contract" data-url="{url}"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/begin.js"></script>
</body>
</html>
"""


def page(contract_url: str) -> str:
    """The HTML of the page."""
    return _PAGE.format(url=escape(contract_url, quote=True))


@functools.cache
def asset(name: str) -> tuple[bytes, str]:
    """A file of the page, and its type.

    Raises:
        PartnerError: the page has no such file (404).
    """
    if name == _BEGIN:
        return _SCRIPT, "text/javascript; charset=utf-8"
    if name not in _ASSETS:
        raise PartnerError(404, "not-found", "the page has no such file")
    return (_folder() / name).read_bytes(), _ASSETS[name]


def _folder() -> Path:
    found = find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise PartnerError(404, "not-found", "the page is not installed: pip install 'handlens[server]'")
    return Path(found.origin).parent / "dist"
