"""The application factory: `gunicorn -c api/gunicorn.conf.py "api.app:create_app()"`."""

import time
from functools import partial
from urllib.parse import unquote

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from api import problems, routes
from api.access import refuse_foreign_pages, require_key
from api.fleet import Fleet
from api.log.append_log import LogUnavailableError
from api.problems import Problem
from api.request_buffer import MAX_BODY_BYTES
from api.routes import Rule
from api.settings import APISettings
from monitoring.contract.onnx.pyfunc import ModelLostError, ModelRaisedError

_WRITES = {rule.path: rule.name for rule in routes.RULES if rule.method == "POST"}
_OF_THE_FIRST = {rule.name for rule in routes.RULES if rule.process is None}  # at their plain paths
_SCOPES = {rule.name: rule.scope for rule in routes.RULES if rule.scope}

logger = structlog.get_logger(__name__)


def create_app(settings: APISettings | None = None) -> Flask:
    """Make the WSGI application of one worker process and start its background threads.

    `app.extensions["driftloop"]` is the Fleet; close it when the process ends.
    """
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    fleet = Fleet(settings or APISettings.read())
    app.extensions["driftloop"] = fleet
    app.extensions["driftloop.shed"] = partial(_count_shed, fleet)
    app.extensions["driftloop.model_of"] = fleet.model_of
    for rule in routes.RULES:
        view = partial(_answer, fleet, rule)
        app.add_url_rule(rule.path, rule.name, view, methods=[rule.method])
        if rule.model is not None:
            app.add_url_rule(f"/models/<name>{rule.path}", rule.name, view, methods=[rule.method])
    app.before_request(_start_clock)
    if fleet.keys is not None:
        app.before_request(partial(require_key, fleet.keys, _SCOPES, partial(_asked, fleet)))
        app.after_request(partial(_log_request, fleet))
    else:
        app.before_request(refuse_foreign_pages)
    app.after_request(partial(_count, fleet))
    app.register_error_handler(Exception, partial(_answer_error, fleet))
    return app


def _answer(fleet: Fleet, rule: Rule, name: str | None = None) -> Response:
    if name is None and rule.process is not None:
        return rule.process(fleet)
    assert rule.model is not None
    with fleet.used(fleet.first if name is None else name) as service:
        return rule.model(service)


def _asked(fleet: Fleet) -> str:
    """Return which model a request is for, be there one of that name or not; empty for one that is for none."""
    if request.view_args:
        return str(request.view_args.get("name", ""))
    return fleet.first if request.endpoint in _OF_THE_FIRST else ""


def _start_clock() -> None:
    g.started = time.perf_counter()


def _count(fleet: Fleet, response: Response) -> Response:
    endpoint = request.endpoint or "none"
    seconds = time.perf_counter() - g.started
    fleet.metrics_of(_asked(fleet)).answered(endpoint, request.method, response.status_code, seconds)
    return response


def _log_request(fleet: Fleet, response: Response) -> Response:
    """Log whose key a request has carried, as soon as there are several to tell apart; None is that of a 401."""
    key, refused = g.get("key"), response.status_code == 401  # noqa: PLR2004
    if fleet.keys is not None and fleet.keys.tell() and (key is not None or refused):
        about = {"endpoint": request.endpoint, "model": _asked(fleet), "status": response.status_code}
        logger.info("request", key=key and key.name, **about, seconds=round(time.perf_counter() - g.started, 6))
    return response


def _count_shed(fleet: Fleet, path: str) -> None:
    """Count a POST to that path that the worker has refused before it came to the application."""
    plain = unquote(path)
    _, top, _, rest = [*plain.split("/", 3), "", "", ""][:4]
    fleet.metrics_of(fleet.model_of(path)).shed(_WRITES.get(f"/{rest}" if top == "models" else plain, "none"))


def _answer_error(fleet: Fleet, error: Exception) -> Response:
    problem = _problem_of(error)
    if problem.status < 500:  # noqa: PLR2004 - the client's errors
        fleet.metrics_of(_asked(fleet)).rejected.labels(problem.reason).inc()
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
