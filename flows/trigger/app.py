"""`python -m flows.trigger`: Alertmanager's webhook becomes a run of the flow that it asks for."""

import hmac
import signal
import sys
from datetime import timedelta
from http import HTTPStatus

import structlog
import waitress
from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, disable_created_metrics, generate_latest
from werkzeug.exceptions import HTTPException

from flows.clients.mlflow import MLflow
from flows.clients.prefect import Prefect
from flows.clients.rest import RejectedError, UnavailableError
from flows.settings import TriggerSettings
from flows.trigger.decision import Trigger
from flows.trigger.metrics import TriggerMetrics, Upstreams, Watched, watch
from flows.trigger.notification import RETRAIN, NotificationError, parse_notification
from flows.trigger.scheduler import Scheduler
from flows.trigger.triggers import Triggers
from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.logs import start_logging

log = structlog.get_logger(__name__)

_LARGEST_BODY = 4_000_000
_CONNECTIONS = 800  # within the 1,024 files that a process commonly may open


def problem(status: int, detail: str) -> Response:
    """Return an RFC 9457 problem."""
    body = jsonify(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)
    body.status_code = status
    body.content_type = "application/problem+json"
    if status == HTTPStatus.UNAUTHORIZED:
        body.headers["WWW-Authenticate"] = 'Bearer realm="alerts"'
    return body


def create_app(settings: TriggerSettings) -> Flask:
    """Make the application; the caller starts the polls in `app.extensions["upstreams"]`."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    registry = CollectorRegistry()
    metrics = TriggerMetrics(registry)
    prefect = Prefect(settings.prefect_api_url, settings.prefect_api_auth_string)
    mlflow = MLflow(settings.mlflow_tracking_uri, settings.mlflow_login)
    cooldown = timedelta(seconds=settings.trigger_cooldown_seconds)

    def trigger_of(config: Config, is_one_of_many: bool) -> Trigger:  # noqa: FBT001 - of its one caller
        forward = config.retrain.forward
        return Trigger(
            prefect=prefect,
            mlflow=mlflow,
            model=config.model.name,
            cooldown=cooldown,
            is_one_of_many=is_one_of_many,
            notify_only=frozenset({RETRAIN} if config.retrain.mode == "notify" else ()),
            scheduler=Scheduler(forward, settings.read_forward_token()) if forward else None,
        )

    triggers = Triggers(settings.driftloop_config, trigger_of)
    watched = Watched(lambda: triggers.names, triggers.many, cooldown)
    upstreams = watch(prefect, mlflow, watched, settings.trigger_poll_seconds, registry)
    app.extensions["upstreams"] = upstreams
    _add_alerts(app, triggers, metrics, settings.read_token())
    _add_errors(app, metrics)
    _add_status(app, registry, upstreams)
    return app


def _add_alerts(app: Flask, triggers: Triggers, metrics: TriggerMetrics, token: str) -> None:
    expected = f"Bearer {token}".encode()

    @app.post("/alerts")
    def alerts() -> Response:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            needed = "a bearer token is required: the one that the trigger reads from WEBHOOK_TOKEN_FILE"
            raise NotificationError(401, needed)
        decisions = triggers.decide(parse_notification(request.get_data()))
        for decision in decisions:
            metrics.notifications.labels(decision.outcome).inc()
            log.info("notification", **decision.as_json())
        first, *others = (decision.as_json() for decision in decisions)
        return jsonify(first | ({"others": others} if others else {}))  # a group may be about several models


def _add_errors(app: Flask, metrics: TriggerMetrics) -> None:
    """Answer 5xx wherever Alertmanager shall try again: it does so for these alone."""

    @app.errorhandler(NotificationError)
    def refused(error: NotificationError) -> Response:
        metrics.notifications.labels("refused").inc()
        log.warning("notification_refused", reason=str(error))
        return problem(error.status, str(error))

    @app.errorhandler(UnavailableError)
    def unavailable(error: UnavailableError) -> Response:
        metrics.notifications.labels("failed").inc()
        log.error("notification_failed", reason=str(error))
        return problem(503, str(error))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.code:
            if request.path == "/alerts":
                metrics.notifications.labels("refused").inc()
            return problem(error.code, error.description or error.name)
        metrics.notifications.labels("failed").inc()
        log.error("notification_failed", reason=str(error), exc_info=error)
        return problem(500, str(error) if isinstance(error, RejectedError) else "the trigger failed; its log says why")


def _add_status(app: Flask, registry: CollectorRegistry, upstreams: Upstreams) -> None:
    @app.get("/health")
    def health() -> Response:
        return jsonify(status="ok")

    @app.get("/ready")
    def ready() -> Response:
        if upstreams.prefect.seen is not None:
            return jsonify(status="ok")
        return problem(503, "Prefect's flow runs cannot be read; the log says why")

    @app.get("/metrics")
    def export() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _serve(app: Flask, settings: TriggerSettings) -> None:
    """Serve until told to stop. The event loop receives requests, so that slow clients hold connections, no threads."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for poll in app.extensions["upstreams"].polls:
        poll.start()
    waitress.serve(
        app,
        host=settings.trigger_host,
        port=settings.trigger_port,
        threads=4,
        ident="trigger",
        connection_limit=_CONNECTIONS,
        channel_timeout=30,
        cleanup_interval=10,
        max_request_body_size=2 * _LARGEST_BODY,  # up to there the application's own 413 says more
        asyncore_use_poll=True,
    )


def main() -> int:
    """Serve until told to stop; return the process's exit code."""
    start_logging("trigger")
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        settings = TriggerSettings.read()
        app = create_app(settings)
    except DriftloopError as error:
        log.error("trigger_stopped", reason=str(error))  # noqa: TRY400 - the reason is meant for a person
        return 1
    _serve(app, settings)
    return 0
