"""Settings of the services that read the log: it may be one of others, watched where it lies."""

from typing import Self

from monitoring.contract.config import Model
from monitoring.contract.errors import ConfigError
from monitoring.contract.foreign_log import watched_log
from monitoring.contract.layout import Layout
from monitoring.contract.settings import Settings


class LogReaderSettings(Settings):
    """What a service reads that reads the log and does not write it."""

    prediction_log: str | None = None  # another system's log, in the place of DATA_DIR/current.parquet

    def of_model(self, name: str) -> Self:
        """Return the settings for one of many models; raise ConfigError for a PREDICTION_LOG, which is one model's."""
        if self.prediction_log is not None:
            raise ConfigError("PREDICTION_LOG: is one model's log; it takes one config file, no folder of them")
        return super().of_model(name)

    def layout(self, model: Model) -> Layout:
        """Return where the files lie; the log may be one of others, with names of its own for columns of ours."""
        watched = None if self.prediction_log is None else watched_log(self.prediction_log, model)
        return Layout(self.data_dir, self.parts_uri, watched)
