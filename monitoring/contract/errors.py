"""The errors that this project raises on purpose."""


class DriftloopError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(DriftloopError):
    """config.yml, or an environment variable, holds something that cannot be used."""
