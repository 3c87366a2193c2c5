"""What the environment sets for the flows and for the trigger."""

from pathlib import Path

from pydantic import Field

from monitoring.contract.log_settings import LogReaderSettings
from monitoring.contract.logins import MLflowLogin


class FlowSettings(LogReaderSettings, MLflowLogin):
    """Settings of `python -m flows` and of the flow runs that it starts."""

    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    mlflow_ui_url: str | None = None
    prefect_api_url: str = "http://127.0.0.1:4200/api"
    prefect_api_auth_string: str | None = None
    flows_wait_seconds: float = Field(default=300, gt=0)
    flows_run_seconds: float = Field(default=1800, gt=0)

    def client_environment(self) -> dict[str, str]:
        """Return what Prefect's and MLflow's own clients read of this from the environment."""
        login = self.mlflow_login
        names = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
        return {
            "PREFECT_API_URL": self.prefect_api_url,
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            **(dict(zip(names, login, strict=True)) if login else {}),
        }

    @property
    def mlflow_links(self) -> str:
        """Return the address that links to MLflow's pages start with."""
        return (self.mlflow_ui_url or self.mlflow_tracking_uri).rstrip("/")


class TriggerSettings(MLflowLogin):
    """Settings of `python -m flows.trigger`."""

    trigger_host: str = "127.0.0.1"
    trigger_port: int = Field(default=5080, gt=0, lt=65536)
    trigger_cooldown_seconds: float = Field(default=900, ge=0)
    trigger_poll_seconds: float = Field(default=10, gt=0)
    webhook_token_file: Path
    forward_token_file: Path | None = None
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    prefect_api_url: str = "http://127.0.0.1:4200/api"
    prefect_api_auth_string: str | None = None

    def read_token(self) -> str:
        """Read the bearer token that Alertmanager sends; raise ConfigError if there is none."""
        return self.read_secret("WEBHOOK_TOKEN_FILE", self.webhook_token_file)

    def read_forward_token(self) -> str | None:
        """Read the bearer token that the user's scheduler asks for; None if it asks for none."""
        if self.forward_token_file is None:
            return None
        return self.read_secret("FORWARD_TOKEN_FILE", self.forward_token_file)
