"""Who we are to servers that ask for a name and a password."""

from pathlib import Path

from monitoring.contract.settings import Settings

USER = "driftloop"  # of every door that asks for HTTP's basic authentication, but for MLflow's and Grafana's accounts

Login = tuple[str, str]


class MLflowLogin(Settings):
    """What a client sends to MLflow, by the names that MLflow's own client has for it, or from a file."""

    mlflow_tracking_username: str | None = None
    mlflow_tracking_password: str | None = None
    mlflow_tracking_password_file: Path | None = None

    @property
    def mlflow_login(self) -> Login | None:
        """Return name and password; None where MLflow asks for none; raise ConfigError where a file cannot be read."""
        name, password = self.mlflow_tracking_username, self.mlflow_tracking_password
        if self.mlflow_tracking_password_file is not None:
            password = self.read_secret("MLFLOW_TRACKING_PASSWORD_FILE", self.mlflow_tracking_password_file)
        return (name, password) if name and password else None


def login_from(settings: Settings, variable: str, path: Path | None) -> Login | None:
    """Return our name and the password in the file of that variable; None if none is set; raise ConfigError."""
    return None if path is None else (USER, settings.read_secret(variable, path))
