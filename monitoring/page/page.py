"""The monitor over HTTP: a page for a person, Evidently's reports, metrics, health."""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

import flask
import jinja2
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from werkzeug.exceptions import NotFound

from monitoring.contract.history import KEPT, read_history
from monitoring.contract.layout import Layout
from monitoring.contract.logins import Login
from monitoring.monitor import Monitor
from monitoring.page.firing_alerts import AlertReader
from monitoring.page.score_history import ScoreReader
from monitoring.settings import MonitorSettings
from monitoring.snapshot.report_archive import KeptReport, since

# No page loads anything from elsewhere, and the browser holds Evidently's report, which is one file of scripts, to it.
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
NO_REPORT = "There is no report yet: the first is made when the window holds enough rows."
ABSENT = "\N{EN DASH}"
OPEN = ("metrics", "health", "ready", "targets")  # what machines read, whichever model's
CHALLENGE = {"WWW-Authenticate": 'Basic realm="monitor", charset="UTF-8"'}
EPISODES = 10  # of the loop's history that the page shows


@dataclass(frozen=True)
class ModelPages:
    """What a model's pages show: its monitor, and what Prometheus says of it; `base` is before their paths."""

    monitor: Monitor
    registry: CollectorRegistry
    alerts: AlertReader
    scores: ScoreReader
    base: str = ""

    @classmethod
    def of(cls, monitor: Monitor, registry: CollectorRegistry, base: str = "", model: str | None = None) -> Self:
        """Return a model's pages; one of many is told by its name in the label `model`."""
        url, login = prometheus_of(monitor.settings)
        scores = ScoreReader(url, monitor.config.model.task, login, model)
        return cls(monitor, registry, AlertReader(url, login, model), scores, base)


def create_app(monitor: Monitor, registry: CollectorRegistry, watching: Callable[[], bool]) -> flask.Flask:
    """Return the Flask app that shows what the monitor saw last; `watching` tells whether its loop is alive."""
    pages = ModelPages.of(monitor, registry)
    app = start_app(monitor.settings)
    app.register_blueprint(model_paths(lambda _: pages, watching))

    @app.get("/sd")
    def targets() -> flask.Response:
        return flask.jsonify([])  # the one model is a target of Prometheus' own configuration

    return app


def start_app(settings: MonitorSettings) -> flask.Flask:
    """Return an app without paths, which asks for the password if there is one."""
    app = flask.Flask(__name__)
    if (asked := settings.monitor_login()) is not None:
        app.before_request(partial(_ask_for, asked))
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["absent"] = ABSENT
    app.add_template_filter(_number, "number")
    app.add_template_filter(_percent, "percent")
    app.add_template_filter(_moment, "moment")
    app.add_template_filter(lambda seconds: _moment(datetime.fromtimestamp(seconds, UTC)), "instant")

    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> flask.Response:
        return flask.Response(f"{error.description}\n", 404, mimetype="text/plain")

    return app


def prometheus_of(settings: MonitorSettings) -> tuple[str, Login | None]:
    """Return where the monitor finds Prometheus, and what that asks for."""
    return settings.prometheus_api_url or settings.prometheus_url, settings.prometheus_login()


def model_paths(find: Callable[[str | None], ModelPages], watching: Callable[[], bool]) -> flask.Blueprint:
    """Return the paths of a model's pages; `find` gets the `model` in the path, if there is one, or raises NotFound."""
    paths = flask.Blueprint("model", __name__)

    @paths.url_value_preprocessor
    def take_model(_endpoint: str | None, values: dict[str, Any] | None) -> None:
        flask.g.model = (values or {}).pop("model", None)

    def shown() -> ModelPages:
        return find(flask.g.model)

    @paths.get("/")
    def page() -> flask.Response:
        found = shown()
        told = {"alerts": found.alerts.read(), "scores": found.scores.read(), "base": found.base}
        return respond("page.html", **told, **_view(found.monitor))

    @paths.get("/metrics")
    def metrics() -> flask.Response:
        return respond_metrics(shown().registry)

    @paths.get("/health")
    def health() -> tuple[dict[str, str], int]:
        shown()
        return respond_health(watching())

    @paths.get("/ready")
    def ready() -> tuple[dict[str, str], int]:
        monitor = shown().monitor
        if monitor.fresh:
            return {"status": "ready"}, 200
        return {"status": monitor.state.problem or "no cycle has succeeded lately"}, 503

    _add_reports(paths, shown)
    return paths


def _add_reports(paths: flask.Blueprint, shown: Callable[[], ModelPages]) -> None:
    @paths.get("/reports")
    def reports() -> flask.Response:
        found = shown()
        entries = found.monitor.archive.entries()
        return respond(
            "reports.html", config=found.monitor.config, reports=entries, no_report=NO_REPORT, base=found.base
        )

    @paths.get("/report")
    def report() -> flask.Response:
        monitor = shown().monitor
        return _report(monitor, _newest(monitor).id, ".html")

    @paths.get("/report.json")
    def report_json() -> flask.Response:
        monitor = shown().monitor
        return _report(monitor, _newest(monitor).id, ".json")

    @paths.get("/reports/<name>")
    def kept_report(name: str) -> flask.Response:
        return _report(shown().monitor, name, ".html")

    @paths.get("/reports/<name>.json")
    def kept_report_json(name: str) -> flask.Response:
        return _report(shown().monitor, name, ".json")


def respond(template: str, **values: Any) -> flask.Response:
    """Return a page, which loads nothing."""
    response = flask.make_response(flask.render_template(template, **values))
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def respond_metrics(registry: CollectorRegistry) -> flask.Response:
    """Return what a registry holds, as Prometheus reads it."""
    return flask.Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def respond_health(alive: bool) -> tuple[dict[str, str], int]:  # noqa: FBT001
    """Say whether the loop runs."""
    return ({"status": "ok"}, 200) if alive else ({"status": "the loop has stopped"}, 503)


def links_of(settings: MonitorSettings) -> dict[str, str]:
    """Return where the page's links to the other services lead, by their names."""
    return {
        **({"Grafana": settings.grafana_url} if settings.grafana_url else {}),
        "Prometheus": settings.prometheus_url,
        "Alertmanager": settings.alertmanager_url,
        "Prefect": settings.prefect_ui_url,
        "MLflow": settings.mlflow_ui_url,
        "API": settings.api_url,
    }


def _ask_for(login: Login) -> flask.Response | None:
    """Answer 401 to who does not send this login; figures and states alone, which machines read, are open."""
    if (flask.request.endpoint or "").rpartition(".")[2] in OPEN:
        return None
    wanted = f"{login[0]}:{login[1]}".encode()
    scheme, _, sent = flask.request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic" and hmac.compare_digest(sent.encode(), base64.b64encode(wanted)):
        return None
    return flask.Response("This page asks for a name and a password.\n", 401, CHALLENGE, mimetype="text/plain")


def _report(monitor: Monitor, name: str, suffix: str) -> flask.Response:
    content = monitor.archive.read(name, suffix)
    if content is None:
        raise NotFound(f"There is no report {name}.")
    response = flask.Response(content, mimetype="text/html" if suffix == ".html" else "application/json")
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response


def _newest(monitor: Monitor) -> KeptReport:
    kept = monitor.archive.entries()
    if not kept:
        raise NotFound(NO_REPORT)
    return kept[0]


def _view(monitor: Monitor) -> dict[str, Any]:
    state, settings = monitor.state, monitor.settings
    report = state.report
    return {
        "config": monitor.config,
        "state": state,
        "fresh": monitor.fresh,
        "awaited": _awaited(monitor),
        "snapshot": report.snapshot if report else None,
        "since": since(monitor.archive.entries(), report.snapshot.verdict) if report else None,
        "history": read_history(Layout(settings.data_dir), EPISODES),
        "age": (datetime.now(UTC) - state.last_success).total_seconds() if state.last_success else None,
        "interval": settings.monitor_interval_seconds,
        "links": links_of(settings),
    }


def _awaited(monitor: Monitor) -> str | None:
    """Say how a model is registered, while none is and the config says that the start waits for one."""
    config = monitor.config
    if config.bootstrap != "wait":
        return None
    told = read_history(Layout(monitor.settings.data_dir), KEPT)
    return None if any(one.version is not None for one in told) else config.first_model


def _number(value: float | None, digits: int = 3) -> str:
    return ABSENT if value is None else f"{value:.{digits}g}"


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1%}"


def _moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else ABSENT
