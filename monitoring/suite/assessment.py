"""From a suite that has run to an assessment: each feature's drift, adjusted, with its size and its shape."""

from scipy import stats

from monitoring.contract.config import Config
from monitoring.profile.columns import column_of, judgeable
from monitoring.profile.profile import Profile
from monitoring.snapshot import quality
from monitoring.snapshot.shapes import shape_of
from monitoring.snapshot.snapshot import Assessment, ColumnDrift, FeatureDrift, Shape
from monitoring.suite.suite import SuiteRun


def assess(config: Config, run: SuiteRun, reference: Profile, current: Profile) -> Assessment:
    """Bring together what the suite found and what it does not say."""
    features = config.model.features
    drift = {name: run.drift.get(name) or _not_tested(config, name) for name in features}
    adjusted = adjust_p_values({name: d.p_value for name, d in drift.items() if d.p_value is not None})
    usable = judgeable(reference, current)
    return Assessment(
        verdicts=run.verdicts,
        features=tuple(
            _describe_feature(drift[name], adjusted.get(name), reference, current, judged=name in usable)
            for name in features
        ),
        prediction=run.drift.get(config.model.prediction),
        correlation_shifts=quality.shift_correlations(reference, current),
        accuracy=run.accuracy,
        f1=run.f1,
        errors=quality.measure_errors(reference, current, config.minimum_labels),
        probabilities=quality.measure_probabilities(current, config.minimum_labels),
    )


def _not_tested(config: Config, column: str) -> ColumnDrift:
    pinned = config.drift_test(column)
    return ColumnDrift(column, pinned.test, pinned.threshold, None, drifted=False)


def adjust_p_values(p_values: dict[str, float]) -> dict[str, float]:
    """Adjust for looking at many features at once (Benjamini-Hochberg, scipy.stats.false_discovery_control)."""
    if not p_values:
        return {}
    adjusted = stats.false_discovery_control(list(p_values.values()), method="bh")
    return dict(zip(p_values, map(float, adjusted), strict=True))


def _describe_feature(
    drift: ColumnDrift, adjusted: float | None, reference: Profile, current: Profile, *, judged: bool
) -> FeatureDrift:
    column = column_of(current.grid, drift.column)
    shaped = shape_of(column) if judged else None
    shape = shaped.shape(reference, current) if shaped else Shape()
    return FeatureDrift(drift, adjusted, shape.ks_statistic, shape.effect_size, shape.outliers, shape.bins, column.kind)
