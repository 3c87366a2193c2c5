"""The worst groups of rows as Prometheus metrics: few, however many groups there are. docs/metrics.md defines each."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from monitoring.snapshot.segments import Group, Segments

SHOWN = 10  # groups
_LABELS = ("segment", "group")
_OF_GROUP: tuple[tuple[str, str, Callable[[Group], float | None]], ...] = (
    ("segment_rows", "Rows of the window in the group.", lambda group: group.rows),
    (
        "segment_effect_size",
        "The largest effect size among the group's columns that differ from the reference; 0 if none does.",
        lambda group: None if group.drifted is None else max((one.effect_size for one in group.drifted), default=0.0),
    ),
    (
        "segment_performance",
        "The accuracy of the group's labelled rows, or a regression's mean absolute error.",
        lambda group: group.performance,
    ),
    (
        "segment_reference_performance",
        "The same, of the reference's rows in the group.",
        lambda group: group.reference_performance,
    ),
)


def segment_metrics(segments: Segments | None) -> Iterator[Metric]:
    """Yield how many groups differ, what the worst are like, and which one explains the change."""
    if segments is None:
        return
    yield GaugeMetricFamily("segments_tested", "Groups with rows enough to be tested.", value=segments.tested)
    yield GaugeMetricFamily(
        "segments_drifted", "Groups in which a column differs from the reference.", value=len(segments.drifted)
    )
    for name, text, value_of in _OF_GROUP:
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        for group in segments.groups[:SHOWN]:
            if (value := value_of(group)) is not None:
                family.add_metric([group.segment, group.name], value)
        yield family
    explained = GaugeMetricFamily(
        "segment_explains", "Share of the window's difference that is gone without the group's rows.", labels=_LABELS
    )
    if (found := segments.explanation) is not None:
        explained.add_metric([found.segment, found.name], found.explained)
    yield explained
