"""Which model a notification is about: the one of the config file, or by the label `model` one of a folder's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.trigger.decision import Decision, Trigger
from flows.trigger.notification import Notification
from flows.watched_models import watches_many
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.model_folder import ModelFile, ModelFolder

MakeTrigger = Callable[[Config, bool], Trigger]


@dataclass
class Triggers:
    """A trigger for each model, made when it is first asked for, and anew when its file has changed."""

    path: Path
    make: MakeTrigger
    _made: dict[str, tuple[Config, Trigger]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError now if the one config file cannot be used."""
        self.many = watches_many(self.path)
        self._folder = ModelFolder(self.path)
        if not self.many:
            config = load_config(self.path)
            self._made[config.model.name] = config, self.make(config, False)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the models, as the folder is now."""
        return tuple(self._folder.look()) if self.many else tuple(self._made)

    def decide(self, notification: Notification) -> Sequence[Decision]:
        """Start a run of each model that it is about, or say why not; raise as `Trigger.decide` does."""
        if not self.many:
            ((_, trigger),) = self._made.values()
            return [trigger.decide(notification)]
        models = self._folder.look()
        named = {one.labels.get("model", ""): None for one in notification.requesting or notification.alerts}
        return [self._decide(name, models, notification) for name in named]

    def _decide(self, name: str, models: Mapping[str, ModelFile], notification: Notification) -> Decision:
        if name not in models:
            about = f"is about {name}, of which no file can be used" if name else "bears no label `model`"
            return Decision("ignored", detail=f"the alert {about}; the models are {', '.join(models) or 'none'}")
        return self._of(name, models[name].config).decide(notification.about(name))

    def _of(self, name: str, config: Config) -> Trigger:
        if name not in self._made or self._made[name][0] != config:
            self._made[name] = config, self.make(config, True)
        return self._made[name][1]
