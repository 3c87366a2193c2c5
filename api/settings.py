from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from api.keys import Keys
from monitoring.contract.config_file import load_config, load_configs
from monitoring.contract.config_values import Duration
from monitoring.contract.logins import MLflowLogin
from monitoring.contract.uris import below

Positive = Annotated[float, Field(gt=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class APISettings(MLflowLogin):
    """What the API reads from the environment."""

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=5050, ge=0, le=65535)
    api_workers: AtLeastOne = 2
    api_threads: AtLeastOne = 4
    mlflow_tracking_uri: str = Field(default="http://127.0.0.1:5000", pattern="^https?://")
    model_cache_dir: Path | None = None
    model_poll_seconds: Positive = 1
    prediction_log_seal_seconds: Positive = 10
    prediction_log_seal_rows: AtLeastOne = 10_000
    prediction_log_fsync: bool = False
    prediction_log_merge: bool = True
    prediction_log_reserve_mb: int = Field(default=100, ge=0)
    prediction_log_keep: Duration | None = None
    prediction_log_keep_mb: AtLeastOne | None = None
    prediction_log_archive: str | None = None
    api_key_file: Path | None = None
    api_keys_file: Path | None = None

    @property
    def model_cache(self) -> Path:
        """Return the folder of the champion's local copy."""
        return self.model_cache_dir or self.data_dir / "_model"

    def of_model(self, name: str) -> Self:
        """Return the settings for one of many models: its copy and its archive lie in folders of its name too."""
        cache = self.model_cache_dir and self.model_cache_dir / name
        own = {"model_cache_dir": cache, "prediction_log_archive": below(self.prediction_log_archive, name)}
        return super().of_model(name).model_copy(update=own)

    def require_configs(self) -> None:
        """Raise ConfigError if the one config file cannot be used, or the folder not be read."""
        path = self.driftloop_config
        (load_configs if path.is_dir() else load_config)(path)

    def read_keys(self) -> Keys | None:
        """Read the keys that open what writes; None if none is asked for. Raise ConfigError if one is unfit."""
        if self.api_key_file is None and self.api_keys_file is None:
            return None
        single = self.read_secret("API_KEY_FILE", self.api_key_file) if self.api_key_file else None
        return Keys(single, self.api_keys_file)
