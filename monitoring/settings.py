"""The monitor's settings, from the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from monitoring.contract.log_settings import LogReaderSettings
from monitoring.contract.logins import Login, login_from

Port = Annotated[int, Field(ge=1, le=65535)]


class MonitorSettings(LogReaderSettings):
    """Where the monitor listens, how often it looks, what it keeps, and what its page links to."""

    monitor_host: str = "127.0.0.1"
    monitor_port: Port = 8000
    monitor_interval_seconds: float = Field(default=15, gt=0)
    drift_alarm: Literal["on", "off"] = "on"  # the sequential tests; off saves the calibration's minute of a core
    reports_kept: int = Field(default=20, ge=1)
    report_interval_seconds: float = Field(default=300, gt=0)
    api_url: str = "http://127.0.0.1:5050"
    prometheus_url: str = "http://127.0.0.1:9090"
    prometheus_api_url: str | None = None  # where the monitor itself finds it, if that differs from where browsers do
    prometheus_password_file: Path | None = None
    monitor_password_file: Path | None = None  # what the page and the reports ask for
    alertmanager_url: str = "http://127.0.0.1:9093"
    grafana_url: str | None = None  # a local run has no Grafana
    prefect_ui_url: str = "http://127.0.0.1:4200"
    mlflow_ui_url: str = "http://127.0.0.1:5000"

    def prometheus_login(self) -> Login | None:
        """Return what Prometheus asks for; None if nothing; raise ConfigError where it cannot be read."""
        return login_from(self, "PROMETHEUS_PASSWORD_FILE", self.prometheus_password_file)

    def monitor_login(self) -> Login | None:
        """Return what the page asks for; None if nothing; raise ConfigError where it cannot be read."""
        return login_from(self, "MONITOR_PASSWORD_FILE", self.monitor_password_file)
