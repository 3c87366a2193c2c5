"""Whose model a run is about: that of the one config file, or one of a folder's, by its name."""

from dataclasses import dataclass
from pathlib import Path

from flows.settings import FlowSettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config, load_configs
from monitoring.contract.errors import ConfigError
from monitoring.contract.layout import Layout


@dataclass(frozen=True)
class WatchedModel:
    """A model's config, the file that it is from, and where its data lies."""

    config: Config
    path: Path
    layout: Layout


def watches_many(path: Path) -> bool:
    """Say whether DRIFTLOOP_CONFIG is a folder of files, one model each."""
    return path.is_dir()


def watched_model(settings: FlowSettings, name: str | None = None) -> WatchedModel:
    """Return the model of this name; of one config file it is the only one, and need not be named.

    Raise ConfigError if there is no such model, or its file cannot be used.
    """
    path = settings.driftloop_config
    if not watches_many(path):
        config = load_config(path)
        if name not in (None, config.model.name):
            raise ConfigError(f"{path}: is about the model {config.model.name}, not about {name}")
        return WatchedModel(config, path, settings.layout(config.model))
    files = load_configs(path)
    usable = {config.model.name: (file, config) for file, config in files.items() if isinstance(config, Config)}
    if name is None:
        raise ConfigError(f"{path}: is a folder of many models; say which one: {', '.join(usable) or 'none is usable'}")
    if name in usable:
        file, config = usable[name]
        return WatchedModel(config, file, settings.of_model(name).layout(config.model))
    faults = "".join(f"\n  {error}" for error in files.values() if isinstance(error, ConfigError))
    known = ", ".join(usable) or "none"
    raise ConfigError(f"{path}: no usable file is about the model {name}; there are {known}{faults}")
