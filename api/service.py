"""What one worker process holds: the champion, the logs, the audio path and the metrics."""

from dataclasses import dataclass
from typing import Self

from api.audio import Extractor
from api.metrics import APIMetrics
from api.prediction_log import AppendLog, Sealing, label_format, prediction_format
from api.registry import Follower
from api.settings import APISettings
from monitoring.schema import Config, load_config
from monitoring.store import Layout


@dataclass(frozen=True)
class Service:
    """The parts that the endpoints work with."""

    config: Config
    metrics: APIMetrics
    follower: Follower
    predictions: AppendLog
    labels: AppendLog
    extractor: Extractor | None
    key: str | None  # that clients must send to write

    @classmethod
    def start(cls, settings: APISettings) -> Self:
        """Build the parts and start their background threads; raise ConfigError if the config cannot be used."""
        config = load_config(settings.driftloop_config)
        model, layout, metrics = config.model, Layout(settings.data_dir), APIMetrics(config.model)
        sealing = Sealing(
            settings.prediction_log_seal_seconds, settings.prediction_log_seal_rows, settings.prediction_log_fsync
        )
        service = cls(
            config=config,
            metrics=metrics,
            follower=Follower(
                settings.mlflow_tracking_uri, model, settings.model_cache, metrics, settings.model_poll_seconds
            ),
            predictions=AppendLog(layout.current, prediction_format(model), metrics.log, sealing),
            labels=AppendLog(layout.labels, label_format(model), metrics.labels, sealing),
            extractor=Extractor(model) if model.audio else None,
            key=settings.read_key(),
        )
        service.follower.start()
        service.predictions.start()
        service.labels.start()
        if service.extractor:
            service.extractor.start()
        return service

    def close(self) -> None:
        """Stop the threads and seal the journals."""
        self.follower.close()
        self.predictions.close()
        self.labels.close()
