"""Settings from the environment."""

from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from monitoring.contract.config_values import StorageURI
from monitoring.contract.errors import ConfigError
from monitoring.contract.uris import below, without_keys


class Settings(BaseSettings):
    """A service's settings: each field is the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("data")
    local_dir: Path = Path("data")  # what data_dir is, where DATA_DIR is a URI
    parts_uri: StorageURI | None = None  # where the parts of the logs lie, if not under data_dir
    driftloop_config: Path = Path("monitoring/config.yml")

    @model_validator(mode="before")
    @classmethod
    def _split_data_dir(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take a DATA_DIR in object storage as the place of the parts alone: all else stays on this machine."""
        if "://" not in str(given.get("data_dir", "")):
            return given
        return {**given, "data_dir": given.get("local_dir", "data"), "parts_uri": given["data_dir"]}

    @classmethod
    def read(cls) -> Self:
        """Read the environment; raise ConfigError with the name of each variable that is wrong and what it takes."""
        try:
            return cls()
        except ValidationError as error:
            lines = "\n".join(f"  {_explain_variable(e)}" for e in error.errors())
            raise ConfigError(f"the environment cannot be used:\n{lines}") from error

    def of_model(self, name: str) -> Self:
        """Return the settings for one of many models: all that is its own lies in a folder of its name."""
        places = {"data_dir": self.data_dir / name, "local_dir": self.local_dir / name}
        return self.model_copy(update={**places, "parts_uri": below(self.parts_uri, name)})

    def read_secret(self, variable: str, path: Path) -> str:
        """Read the secret in a file that a variable names; raise ConfigError if it is none that a header can carry."""
        try:
            secret = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable} = {path}: cannot be read: {error}") from error
        if not secret:
            raise ConfigError(f"{variable} = {path}: is empty; it takes one line, the secret")
        return secret


def _explain_variable(error: Any) -> str:
    """Say what is wrong; where no single variable is, the input holds all of them and must not be shown."""
    name = ".".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "missing":
        return f"{name}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    return without_keys(f"{name} = {error['input']!r}: {message}") if name else message
