"""What keeps a model that somebody brings from being taken."""

from monitoring.contract.errors import DriftloopError

AS_PYFUNC = (
    "What cannot be converted can be served as it is, by a process of its own: what MLflow has logged (a pyfunc), with "
    "--pyfunc, and `model.pyfunc: {}` in config.yml"
)


class BroughtModelError(DriftloopError):
    """A model that somebody brings cannot be read, converted or used."""
