"""Reading config.yml, and saying all that is wrong with it."""

import os
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from monitoring.contract.config import Audio, Config, Drift, DriftTest, Metrics, Model, Retrain, SuiteEntry, Window
from monitoring.contract.errors import ConfigError


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and validate config.yml; raise ConfigError with every key that is wrong and what it takes."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is not a mapping; it takes the keys {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(e)}" for e in error.errors())
        raise ConfigError(f"{path}: {error.error_count()} value(s) cannot be used:\n{lines}") from error


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "config"
    value = repr(error["input"])
    shown = textwrap.shorten(value, 80, placeholder="...")
    if error["type"] == "extra_forbidden":
        allowed = ", ".join(_section(error["loc"][:-1]).model_fields)
        return f"{key} = {shown}: no such key; allowed here are {allowed}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict) and shown != value:  # a whole section; the message names what does not fit
        return f"{key}: {message}"
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        message += " (YAML reads a bare yes, no, on and off as booleans: quote it)"
    return f"{key} = {shown}: {message}"


def _section(location: tuple[Any, ...]) -> type[BaseModel]:
    """Return the section class that stands at a key's place, to list its keys."""
    known: dict[str, type[BaseModel]] = {
        "model": Model, "audio": Audio, "metrics": Metrics, "window": Window,
        "drift": Drift, "default": DriftTest, "columns": DriftTest, "tests": SuiteEntry, "retrain": Retrain,
    }  # fmt: skip
    named = [known[part] for part in location if part in known]
    return named[-1] if named else Config
