"""A regression's errors as Prometheus metrics: their sizes, and where they lie."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from monitoring.snapshot.snapshot import Errors


def error_metrics(errors: Errors | None) -> Iterator[Metric]:
    """Yield what the window's labelled rows say of the errors."""
    if errors is None:
        return
    for name, text, value in (
        ("model_mae", "Mean absolute error on the window's labelled rows.", errors.mean_absolute),
        ("model_rmse", "Root mean squared error on the same rows.", errors.root_mean_squared),
        ("model_mean_error", "Mean of predictions less labels on the same rows.", errors.mean),
        ("model_r2", "Coefficient of determination on the same rows.", errors.r2),
    ):
        if value is not None:
            yield GaugeMetricFamily(name, text, value=value)
    bins, ranges = errors.shape.bins, errors.shape.ranges
    yield from _by_bin("error_distribution", "Share of errors in a range.", {b.name: b.current for b in bins})
    # of a reference without labels nothing is known
    known = any(b.reference for b in bins)
    yield from _by_bin(
        "reference_error_distribution",
        "Share of the reference's errors in the same range.",
        {b.name: b.reference for b in bins if known},
    )
    for name, text, values in (
        ("labelled_predictions", "Labelled rows by range of the prediction.", {r.name: r.rows for r in ranges}),
        ("mean_prediction", "Mean of these rows' predictions.", {r.name: r.predicted for r in ranges}),
        ("mean_label", "Mean of these rows' labels.", {r.name: r.actual for r in ranges}),
        (
            "reference_mean_label",
            "Mean of the reference's labels by range of the prediction.",
            {r.name: r.reference_actual for r in ranges},
        ),
    ):
        yield from _by_bin(name, text, values)


def _by_bin(name: str, text: str, values: Mapping[str, float | None]) -> Iterator[Metric]:
    family = GaugeMetricFamily(name, text, labels=["bin"])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], value)
    if family.samples:
        yield family
