"""Feature Monitoring: which features moved, how far, in which direction, and what moved with them."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard

from monitoring.contract.config_file import load_config
from scripts.dashboards.base import frame
from scripts.dashboards.chosen_model import of_model
from scripts.dashboards.limits import CONFIG, limit_of
from scripts.dashboards.model_performance import ADJUSTED, P_VALUES
from scripts.dashboards.panels import DATASOURCE, Display, Query, bars, heat, levels, number, rows, time_series

# as the built-in config calls its features; another model's config gives another title with `make dashboards`
FAMILY = load_config(CONFIG).metrics.feature_prefix.upper()
KS = '{__name__=~".+_ks_statistic",feature!=""}'
EFFECT = '{__name__=~".+_effect_size",feature!=""}'
# between backticks nothing but a backtick ends the text, whatever a feature is called
CHOSEN = "feature=~`${feature:regex}`"
GROUPS = "Groups of rows: where is it worst?"
CATEGORIES = "Which categories hold what is new? Of categorical features alone"
SHIFTS = "sum by (feature_a, feature_b) (feature_correlation_shift)"


def feature_monitoring() -> builders.Dashboard:
    """Return the dashboard."""
    board = frame("feature-monitoring", "Which features moved, how far, and what moved with them?")
    feature = builders.QueryVariable("feature").label("Feature").datasource(DATASOURCE).multi(True).include_all(True)
    feature.query(
        {"query": f"label_values({of_model('feature_distribution')}, feature)", "refId": "feature", "qryType": 1}
    )
    feature.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.NATURAL_ASC)
    everything = dashboard.VariableOption(text="All", value="$__all", selected=True)
    board.with_variable(feature.current(everything).all_value(".*"))
    for row in (_blamed, _tests, _each, _categories, _together, _missing, _groups):
        row(board)
    return board


def _blamed(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Which columns does the drift alarm blame?"))
    blamed = _last("feature, direction", "drift_blamed")
    share = _last("feature", "drift_contribution")
    effect = 'drift_feature_effect{{measure="{}",bound="value"}}'
    measures = (("ks", "KS distance"), ("psi", "PSI"), ("wasserstein", "Wasserstein"))
    board.with_panel(
        rows(
            "Blamed columns",
            "Columns that changed since the onset (false discovery rate 5 %), and how; their share of the evidence, "
            "and effect sizes. Of the alarm that holds, or else of those in the time range.",
            Display(span=14, height=10, unit="none", decimals=3),
            Query(f"{blamed} * on (feature) group_left () {share}", "evidence"),
            *(
                Query(f"{_last('feature', effect.format(measure))} and on (feature) {blamed}", name)
                for measure, name in measures
            ),
            names={},
            by="feature",
        )
    )
    board.with_panel(
        levels(
            "Contribution to the evidence",
            "Each column's share of their evidence since the onset. Of the alarm that holds, or else of those in the "
            "time range.",
            Display(span=10, height=10, unit="percentunit", minimum=0, maximum=1),
            Query(f"sort_desc({share})"),
        )
    )


def _last(labels: str, series: str) -> str:
    """Return what an alarm says now by these labels or, where none holds, what was last said in the time range."""
    before = f"last_over_time({series}[$__range]) unless on () drift_detected == 1"
    return f"max by ({labels}) ({series} or ({before}))"


def _tests(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(f"{FAMILY} Feature Drift: which features moved?"))
    columns = ((P_VALUES, "p-value"), (ADJUSTED, "adjusted"), (KS, "KS statistic"), (EFFECT, "effect size"))
    board.with_panel(
        rows(
            "Statistical Tests",
            "Per feature: p-value of its drift test, the same adjusted for the number of features, the two-sample "
            "Kolmogorov-Smirnov statistic, and the mean's shift in the reference's standard deviations.",
            Display(span=10, height=14, unit="none", decimals=4),
            *(Query(f"sum by (feature) ({expr[:-1]},{CHOSEN}}})", name) for expr, name in columns),
            names={},
            by="feature",
        )
    )
    board.with_panel(
        heat(
            "Kolmogorov-Smirnov statistic over time",
            "The widest gap between window and reference, per feature. It does not depend on the number of rows.",
            Display(span=14, height=14, unit="none"),
            Query(f"sum by (feature) ({KS[:-1]},{CHOSEN}}})"),
        )
    )


def _each(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("$feature").repeat("feature"))
    board.with_panel(
        time_series(
            "$feature: p-value",
            "p-value and adjusted p-value; the line is the feature drift alert's threshold.",
            Display(span=6, unit="none", minimum=0, maximum=1),
            Query(f"{P_VALUES[:-1]},{CHOSEN}}}", "p-value"),
            Query(f"{ADJUSTED[:-1]},{CHOSEN}}}", "adjusted"),
            limit=limit_of(".+FeatureDrift"),
        )
    )
    board.with_panel(
        time_series(
            "$feature: effect size",
            "How far the mean moved, in the reference's standard deviations, and the KS statistic.",
            Display(span=6, unit="none"),
            Query(f"{EFFECT[:-1]},{CHOSEN}}}", "effect size"),
            Query(f"{KS[:-1]},{CHOSEN}}}", "KS statistic"),
        )
    )
    board.with_panel(
        time_series(
            "$feature: since the onset",
            "Kolmogorov-Smirnov distance of the rows since the drift's onset from the reference, with a bootstrap "
            "interval of 95 %. While an alarm holds.",
            Display(span=6, unit="none", minimum=0, maximum=1),
            *(
                Query(f'drift_feature_effect{{measure="ks",bound="{bound}",{CHOSEN}}}', name)
                for bound, name in (("value", "KS distance"), ("low", "low"), ("high", "high"))
            ),
            dashed=("low", "high"),
        )
    )
    shares = "sum by (bin) (feature_distribution{{{chosen},dataset={dataset!r}}})"
    board.with_panel(
        bars(
            "$feature: Distribution Comparisons",
            "Share of values per range, in the reference and in the window.",
            Display(span=6, unit="percentunit", minimum=0),
            *(
                Query(shares.format(chosen=CHOSEN, dataset=dataset).replace("'", '"'), dataset)
                for dataset in ("reference", "current")
            ),
            by="bin",
        )
    )


def _categories(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(CATEGORIES))
    board.with_panel(
        time_series(
            "Levels never seen",
            "Values of the window whose level the reference does not hold, per feature.",
            Display(span=14, minimum=0),
            Query(f"unseen_categories{{{CHOSEN}}}", "{{feature}}"),
        )
    )
    board.with_panel(
        levels(
            "Levels never seen, now",
            "Values of the window whose level the reference does not hold, per feature.",
            Display(span=10, minimum=0),
            Query(f"sum by (feature) (unseen_categories{{{CHOSEN}}})"),
        )
    )


def _of_pair(label: str) -> str:
    """Return the changes of correlations under the name of one feature of each pair."""
    return f'label_replace(abs(feature_correlation_shift), "feature", "$1", "{label}", "(.*)")'


def _together(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Feature Correlation: what moved together?"))
    board.with_panel(
        rows(
            "Correlations that changed most",
            "Correlation of two features in the window minus that in the reference, the 20 largest.",
            Display(height=10, unit="none", decimals=3),
            Query(f"{SHIFTS} and topk(20, abs({SHIFTS}))", "shift"),
            names={"feature_a": "feature", "feature_b": "with"},
            by="feature_a",
        )
    )
    board.with_panel(
        levels(
            "Mean change of correlations, per feature",
            "Mean size of the largest changes of a feature's correlations: a feature that moved alone stands out.",
            Display(height=10, unit="none", minimum=0, decimals=3),
            Query(f"avg by (feature) ({' or '.join(_of_pair(label) for label in ('feature_a', 'feature_b'))})"),
        )
    )
    board.with_panel(
        time_series(
            "Largest change of a correlation",
            "The largest change among all pairs of features.",
            Display(span=4, height=10, unit="none", minimum=0),
            Query("max(abs(feature_correlation_shift))", "largest"),
        )
    )
    board.with_panel(
        number(
            "Outliers",
            "Values more than 1.5 interquartile ranges beyond the reference's quartiles, of all features.",
            Display(span=4, height=10),
            Query("sum(outliers)"),
        )
    )


def _missing(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Missing values: which features lack more than in the reference?"))
    board.with_panel(
        time_series(
            "Missing values by feature",
            "Share of the window's rows that lack the feature, less the reference's; the line is the difference from "
            "which on the alert FeatureMissingMoreOften asks whether it may be chance.",
            Display(span=14, unit="percentunit"),
            Query(f"missing_share{{{CHOSEN}}} - reference_missing_share", "{{feature}}"),
            limit=limit_of("FeatureMissingMoreOften"),
        )
    )
    board.with_panel(
        rows(
            "Missing values now",
            "Per feature: the share of the window's rows that lack it, the reference's, and the p-value of its being "
            "missing no more often than there.",
            Display(span=10, unit="none", decimals=4),
            *(
                Query(f"sum by (feature) ({name}{{{CHOSEN}}})", label)
                for name, label in (
                    ("missing_share", "window"),
                    ("reference_missing_share", "reference"),
                    ("missing_p_value", "p-value"),
                )
            ),
            names={},
            by="feature",
        )
    )
    board.with_panel(
        time_series(
            "Values out of range",
            "Values of the window outside the bounds that a test gives, or else the reference's range, per feature.",
            Display(span=24, minimum=0),
            Query(f"out_of_range{{{CHOSEN}}}", "{{feature}}"),
        )
    )


def _groups(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(GROUPS))
    named = 'label_join({}, "of", " = ", "segment", "group")'
    columns = (
        ("segment_effect_size", "effect size"),
        ("segment_rows", "rows"),
        ("segment_performance", "performance"),
        ("segment_reference_performance", "in the reference"),
        ("segment_explains", "explains"),
    )
    board.with_panel(
        rows(
            "Worst groups",
            "The ten worst groups of `model.segments`: the largest effect size among their columns that differ from "
            "the reference (false discovery rate 5 %), accuracy or mean absolute error, and the share of the window's "
            "difference that is gone without the group, where that is most of it.",
            Display(span=16, height=10, unit="none", decimals=3),
            *(Query(f"sum by (of) ({named.format(name)})", label) for name, label in columns),
            names={"of": "group"},
            by="of",
        )
    )
    board.with_panel(
        time_series(
            "Groups that differ",
            "Groups in which a column differs from the same group in the reference.",
            Display(span=8, height=10, unit="none", minimum=0),
            Query("max(segments_drifted)", "differ"),
            Query("max(segments_tested)", "tested"),
        )
    )
