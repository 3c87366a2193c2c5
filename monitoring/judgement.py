"""From a suite that has run to a judgement: each feature's drift, adjusted, with its size and its shape."""

import pandas as pd
from scipy import stats

from monitoring import quality
from monitoring.schema import Config
from monitoring.snapshot import ColumnDrift, FeatureDrift, Judgement
from monitoring.suite import SuiteRun


def judge(config: Config, run: SuiteRun, reference: pd.DataFrame, current: pd.DataFrame) -> Judgement:
    """Bring together what the suite found and what it does not say."""
    features = config.model.features
    drift = {name: run.drift.get(name) or _not_tested(config, name) for name in features}
    adjusted = adjust_p_values({name: d.p_value for name, d in drift.items() if d.p_value is not None})
    usable = quality.judgeable(features, reference, current)
    return Judgement(
        verdicts=run.verdicts,
        features=tuple(
            _describe_feature(
                drift[name], adjusted.get(name), reference[name], current[name] if name in usable else None
            )
            for name in features
        ),
        prediction=run.drift.get(config.model.prediction),
        correlation_shifts=quality.shift_correlations(reference, current, usable),
        accuracy=run.accuracy,
        f1=run.f1,
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
    drift: ColumnDrift, adjusted: float | None, reference: pd.Series, current: pd.Series | None
) -> FeatureDrift:
    ours = quality.finite(reference)
    if current is None:
        return FeatureDrift(drift, adjusted, ks_statistic=None, effect_size=None, outliers=None, bins=())
    theirs = quality.finite(current)
    return FeatureDrift(
        drift,
        adjusted,
        ks_statistic=quality.ks_statistic(ours, theirs),
        effect_size=quality.effect_size(ours, theirs),
        outliers=quality.count_outliers(ours, current),
        bins=quality.share_bins(ours, theirs),
    )
