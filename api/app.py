"""The application factory: `gunicorn -c api/gunicorn.conf.py "api.app:create_app()"`."""

import time
from functools import partial

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from api import problems, routes
from api.access import refuse_foreign_pages, require_key
from api.keys import Keys
from api.log.append_log import LogUnavailableError
from api.problems import Problem
from api.request_buffer import MAX_BODY_BYTES
from api.service import Service
from api.settings import APISettings
from monitoring.contract.onnx.pyfunc import ModelLostError, ModelRaisedError

_WRITES = {rule.path: rule.name for rule in routes.RULES if rule.method == "POST"}
_SCOPES = {rule.name: rule.scope for rule in routes.RULES if rule.scope}

logger = structlog.get_logger(__name__)


def create_app(settings: APISettings | None = None) -> Flask:
    """Make the WSGI application of one worker process and start its background threads.

    `app.extensions["driftloop"]` is the Service; close it when the process ends.
    """
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    service = Service.start(settings or APISettings.read())
    app.extensions["driftloop"] = service
    app.extensions["driftloop.shed"] = partial(_count_shed, service)
    for rule in routes.RULES:
        app.add_url_rule(rule.path, rule.name, partial(rule.view, service), methods=[rule.method])
    app.before_request(_start_clock)
    if service.keys is not None:
        app.before_request(partial(require_key, service.keys, _SCOPES))
        app.after_request(partial(_log_request, service.keys))
    else:
        app.before_request(refuse_foreign_pages)
    app.after_request(partial(_count, service))
    app.register_error_handler(Exception, partial(_answer_error, service))
    return app


def _start_clock() -> None:
    g.started = time.perf_counter()


def _count(service: Service, response: Response) -> Response:
    endpoint = request.endpoint or "none"
    service.metrics.answered(endpoint, request.method, response.status_code, time.perf_counter() - g.started)
    return response


def _log_request(keys: Keys, response: Response) -> Response:
    """Log whose key a request has carried, as soon as there are several to tell apart."""
    if keys.tell() and (key := g.get("key")) is not None:
        seconds = round(time.perf_counter() - g.started, 6)
        logger.info("request", key=key.name, endpoint=request.endpoint, status=response.status_code, seconds=seconds)
    return response


def _count_shed(service: Service, path: str) -> None:
    """Count a POST to that path that the worker has refused before it came to the application."""
    service.metrics.shed(_WRITES.get(path, "none"))


def _answer_error(service: Service, error: Exception) -> Response:
    problem = _problem_of(error)
    if problem.status < 500:  # noqa: PLR2004 - the client's errors
        service.metrics.rejected.labels(problem.reason).inc()
    answer = problems.response(problem)
    if isinstance(error, HTTPException) and (allow := dict(error.get_headers()).get("Allow")):
        answer.headers["Allow"] = allow
    if problem.status == 401:  # noqa: PLR2004
        answer.headers["WWW-Authenticate"] = 'Bearer realm="api"'
    if problem.status == 413:  # noqa: PLR2004
        answer.headers["Connection"] = "close"
    return answer


def _problem_of(error: Exception) -> Problem:  # noqa: PLR0911 - one per kind of error
    match error:
        case Problem():
            return error
        case LogUnavailableError():
            return Problem(503, "log_unavailable", f"nothing was logged, please try again: {error}", retry_after=5)
        case ModelRaisedError():
            return Problem(422, "no_finite_answer", f"the model has no answer for these values: {error}")
        case ModelLostError():
            return Problem(503, "model_unavailable", f"nothing was logged, please try again: {error}", retry_after=5)
        case HTTPException(code=413):
            limit = (request.max_content_length or MAX_BODY_BYTES) // 1_000_000
            return Problem(413, "too_large", f"the body is larger than {limit} MB")
        case HTTPException(code=405):
            return Problem(405, "method_not_allowed", f"{request.path} does not take {request.method}")
        case HTTPException(code=404):
            return Problem(404, "not_found", f"there is no {request.path}; GET / lists what there is")
        case HTTPException(code=int() as code) if code < 500:  # noqa: PLR2004
            return Problem(code, "bad_request", str(error.description))
    logger.error("request_failed", endpoint=request.endpoint, exc_info=error)
    return Problem(500, "internal_error", "the server failed on this request; the error is in its log")
