"""The applications whose throughput is compared; `benchmarks.servers` runs them under the API's own server settings."""

from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Response, request

from api.app import create_app


def with_log() -> Flask:
    """Make the API as it is."""
    return create_app()


def without_log() -> Flask:
    """Make the same application with the log off: rows are made and go nowhere."""
    app = create_app()
    for service in app.extensions["driftloop"].services.values():
        service.predictions.append = lambda _rows: None
    return app


def empty() -> Flask:
    """Make a Flask application whose handler parses the JSON, by the fastest parser, and does nothing else."""
    return _answering(lambda: orjson.loads(request.get_data()))


def empty_plain() -> Flask:
    """Make the same with Flask's own parser."""
    return _answering(lambda: request.get_json())  # noqa: PLW0108 - there is no request yet


def _answering(parse: Callable[[], Any]) -> Flask:
    app = Flask("empty", static_folder=None)

    @app.post("/predict")
    def predict() -> Response:
        parse()
        return Response(b"{}", mimetype="application/json")

    app.add_url_rule("/ready", view_func=dict)
    app.extensions["driftloop"] = _Nothing()
    app.extensions["driftloop.shed"] = lambda _path: None
    app.extensions["driftloop.model_of"] = lambda _path: ""
    return app


class _Nothing:
    def wait_until_warm(self) -> None:
        """Be asked as a Fleet is."""

    def close(self) -> None:
        """Be closed as a Fleet is."""
