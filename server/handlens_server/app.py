"""The application that serves devices. Nothing happens at import; `create_app` makes one from a config.

::

    app = create_app(Config.from_environment())
"""

from __future__ import annotations

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.middleware.proxy_fix import ProxyFix

from handlens_server import devices_views, events_views, health_views, repository_files, search_views
from handlens_server.access import require_tokens
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.following import follow
from handlens_server.metrics import Metrics
from handlens_server.observing import observe
from handlens_server.partner import views as partner_views
from handlens_server.problems import handle_problems
from handlens_server.searching import Searching
from handlens_server.services import Services
from handlens_server.times import Clock, utc_now
from handlens_server.tracer_choice import open_tracer

__all__ = ["create_app"]


def create_app(config: Config, *, clock: Clock = utc_now) -> Flask:
    """The application of a config. Its database is connected when it is needed, and may be down until then."""
    app = Flask("handlens_server", static_folder=None)
    app.url_map.merge_slashes = False  # a name with // is wrong, not another way to write one
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    database = Database(config)
    tracer = open_tracer(config)
    services = Services(config, database, Metrics(), clock, Searching(config, database, clock), tracer)
    app.extensions["handlens"] = services
    if config.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, config.trusted_proxies, config.trusted_proxies)  # type: ignore[method-assign]
    observe(app, services.metrics)
    follow(app, tracer)
    require_tokens(app, services)
    handle_problems(app, config)
    limiter = Limiter(get_remote_address, app=app, storage_uri=config.limits_url, headers_enabled=True)
    for blueprint in (
        repository_files.blueprint(services),
        devices_views.blueprint(services, limiter),
        events_views.blueprint(services),
        search_views.blueprint(services),
        health_views.blueprint(services),
        partner_views.blueprint(services),
    ):
        app.register_blueprint(blueprint)
    return app
