"""The parts of one model in one worker process: what serves, the logs, the audio path and the metrics."""

from dataclasses import dataclass
from typing import Self

from api.audio import Extractor
from api.challenger import Challenger
from api.clock import Clock
from api.keys import Keys
from api.log.append_log import AppendLog, Sealing, label_format, prediction_format, shadow_format
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from api.metrics import APIMetrics, ChallengerMetrics
from api.registry import Follower
from api.settings import APISettings
from monitoring.contract.config import Config
from monitoring.contract.errors import ConfigError
from monitoring.contract.layout import Layout
from monitoring.contract.storage import place


@dataclass(frozen=True)
class Service:
    """The parts that the endpoints work with."""

    config: Config
    metrics: APIMetrics
    follower: Follower
    predictions: AppendLog
    labels: AppendLog
    maintenance: Maintenance
    extractor: Extractor | None
    keys: Keys | None  # of which clients must send one to write
    clock: Clock
    challenger: Challenger | None  # None without `retrain.rollout: shadow`

    @classmethod
    def start(
        cls, settings: APISettings, config: Config, *, keys: Keys | None, many: bool, former: Self | None = None
    ) -> Self:
        """Build the parts of a model, which may be one of many, and start their background threads.

        The metrics of the former service of the model count on. Raise ConfigError if the model cannot be one of many.
        """
        if many and config.model.label == "model":
            raise ConfigError("model.label = model: is taken; of many models each metric has the label model")
        model, sealing = config.model, _sealing(settings)
        metrics = APIMetrics(model, many=many, former=former.metrics if former else None)
        layout = Layout(settings.data_dir, settings.parts_uri)
        predictions = AppendLog(
            layout.journals(layout.current), prediction_format(model), metrics.log, sealing, layout.current
        )
        labels = AppendLog(layout.journals(layout.labels), label_format(model), metrics.labels, sealing, layout.labels)
        challenger = _challenger(settings, config, metrics, layout) if config.retrain.rollout == "shadow" else None
        service = cls(
            config=config,
            metrics=metrics,
            follower=Follower(
                settings.mlflow_tracking_uri,
                model,
                settings.model_cache,
                metrics,
                login=settings.mlflow_login,
                poll_seconds=settings.model_poll_seconds,
                awaited=config.first_model,
            ),
            predictions=predictions,
            labels=labels,
            maintenance=Maintenance(
                predictions,
                labels,
                _retention(settings),
                sealing.seconds,
                shadow=challenger.log if challenger else None,
            ),
            extractor=Extractor(model) if model.audio else None,
            keys=keys,
            clock=Clock(),
            challenger=challenger,
        )
        service.follower.start()
        service.predictions.start()
        service.labels.start()
        if service.challenger:
            service.challenger.start()
        if settings.prediction_log_merge:
            service.maintenance.start()
        if service.extractor:
            service.extractor.start()
        return service

    def unready(self) -> str | None:
        """Say why the model cannot answer now; None if it is loaded, its log writable and its audio path warm."""
        served = self.follower.serving()
        checks = {
            "model": served.onnx.fault if served else self.follower.error or "the registry has not been asked yet",
            "log": self.predictions.probe() or self.labels.probe(),
            "audio": self.extractor.error if self.extractor else None,
        }
        return "; ".join(f"{name}: {why}" for name, why in checks.items() if why) or None

    def close(self) -> None:
        """Stop the threads and seal the journals."""
        self.follower.close()
        self.maintenance.close()
        if self.challenger:
            self.challenger.close()
        self.predictions.close()
        self.labels.close()


def _challenger(settings: APISettings, config: Config, metrics: APIMetrics, layout: Layout) -> Challenger:
    found = ChallengerMetrics(metrics.make)
    form, sealing = shadow_format(config.model), _sealing(settings)
    return Challenger(
        settings.mlflow_tracking_uri,
        config.model,
        AppendLog(layout.journals(layout.shadow), form, found.log, sealing, layout.shadow),
        found,
        login=settings.mlflow_login,
        poll_seconds=settings.model_poll_seconds,
    )


def _sealing(settings: APISettings) -> Sealing:
    return Sealing(
        seconds=settings.prediction_log_seal_seconds,
        rows=settings.prediction_log_seal_rows,
        fsync=settings.prediction_log_fsync,
        reserve=settings.prediction_log_reserve_mb * 1_000_000,
    )


def _retention(settings: APISettings) -> Retention:
    size, archive = settings.prediction_log_keep_mb, settings.prediction_log_archive
    return Retention(
        age=settings.prediction_log_keep,
        size=size * 1_000_000 if size else None,
        archive=place(archive) if archive else None,
    )
