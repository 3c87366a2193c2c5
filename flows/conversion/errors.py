"""What keeps a model that somebody brings from being taken."""

from monitoring.contract.errors import DriftloopError


class BroughtModelError(DriftloopError):
    """A model that somebody brings cannot be read, converted or used."""
