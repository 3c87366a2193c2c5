"""The applications whose throughput is compared; `benchmarks.servers` runs them under the API's own server settings."""

import orjson
from flask import Flask, Response, request

from api.app import create_app


def with_log() -> Flask:
    """Make the API as it is."""
    return create_app()


def without_log() -> Flask:
    """Make the same application with the log off: rows are made and go nowhere."""
    app = create_app()
    app.extensions["driftloop"].predictions.append = lambda _rows: None
    return app


def plain() -> Flask:
    """Make a Flask application whose handler parses the JSON, by Flask's own means, and does nothing else."""
    app = Flask("plain", static_folder=None)

    @app.post("/predict")
    def predict() -> dict[str, str]:
        request.get_json()
        return {}

    app.extensions["driftloop"] = _Nothing()
    return app


def empty() -> Flask:
    """Make the same with the fastest parser that there is."""
    app = Flask("empty", static_folder=None)

    @app.post("/predict")
    def predict() -> Response:
        orjson.loads(request.get_data())
        return Response(b"{}", mimetype="application/json")

    app.extensions["driftloop"] = _Nothing()
    return app


class _Nothing:
    def close(self) -> None:
        """Be closed as a Service is."""
