"""What goes wrong in training."""

from monitoring.contract.errors import DriftloopError


class ModelError(DriftloopError):
    """A model cannot be trained on these rows, or what was trained cannot be exported."""
