"""How many models are watched, and how: the metrics of a monitor of many models."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitoring.contract.config_file import printable
from monitoring.fleet.fleet import Fleet, Standing


class FleetCollector(Collector):
    """The models and the config files of a folder, as they are now."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        counted = Counter(self._fleet.standing(member) for member in self._fleet.members.values())
        models = GaugeMetricFamily("monitor_models", "Models by how their cycles go.", labels=["state"])
        for state in get_args(Standing):
            models.add_metric([state], counted[state])
        yield models
        faulty = GaugeMetricFamily(
            "monitor_config_faulty", "1 for each config file that cannot be used.", labels=["file"]
        )
        for path in self._fleet.faults:
            faulty.add_metric([printable(path.name)], 1)
        yield faulty

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()
