"""Model Performance: is the model well, on what evidence, and what fires."""

from dataclasses import replace

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries

from scripts.dashboards.base import frame
from scripts.dashboards.limits import limit_of
from scripts.dashboards.panels import Display, Query, bars, heat, levels, number, rows, time_series

P_VALUES = '{__name__=~".+_drift_p_value",feature!=""}'
ADJUSTED = '{__name__=~".+_drift_p_value_adjusted",feature!=""}'
RATIO = Display(unit="percentunit", minimum=0, maximum=1)
PROBABILITIES = "What are its probabilities worth? Of two categories, or where all probabilities are logged"
REGRESSION = "How far off is it? Of a regression alone"
TRIAL = "Is a challenger better? While one is on trial"
LABEL = "sum without (instance, job)"


def model_performance() -> builders.Dashboard:
    """Return the dashboard."""
    board = frame("model-performance", "Is the model well, on what evidence, and what fires?")
    for row in (_verdict, _drift, _predictions, _probabilities, _regression, _trial, _data, _alerts):
        row(board)
    return board


def _verdict(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Is the model well?"))
    board.with_panel(
        number(
            "Drift detected",
            "Whether the drift alarm holds. There once the detector is calibrated for the present reference.",
            Display(4, 5, "bool_yes_no", minimum=0, maximum=1),
            Query("max(drift_detected)"),
            limit=limit_of("DriftDetected"),
        )
    )
    board.with_panel(
        number(
            "Features with drift",
            "Features whose own test found drift at the threshold in config.yml, unadjusted.",
            Display(4, 5),
            Query("max(drifted_features)"),
        )
    )
    board.with_panel(
        number(
            "Tests that fail",
            "Tests of the Evidently suite that failed or broke off; skipped ones are not among them.",
            Display(4, 5),
            Query('sum(evidently_tests{status=~"fail|error"})'),
        )
    )
    board.with_panel(
        number(
            "Accuracy",
            "On the window's labelled rows; there once enough labels have arrived.",
            Display(4, 5, "percentunit"),
            Query("max(model_accuracy)"),
            limit=limit_of("ModelAccuracyDropped"),
        )
    )
    board.with_panel(
        number(
            "Champion",
            "The version that carries the alias champion in MLflow.",
            Display(4, 5, "none"),
            Query("max(mlflow_champion_version)"),
        )
    )
    board.with_panel(
        number(
            "Alerts that fire",
            "Watchdog, which always fires, is not counted.",
            Display(4, 5),
            Query('count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)'),
        )
    )


def _drift(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Has the data drifted?"))
    board.with_panel(
        time_series(
            "Drift alarm: score against threshold",
            "Evidence as strong comes by chance once in 10 to the score rows. The alarm begins when the score reaches "
            "the threshold, which is what false_alarm_every in config.yml promises, and ends 0.5 below it. A threshold "
            "above `supported` is extrapolated: the calibration has seen fewer rows without change than are promised "
            "between false alarms.",
            Display(span=11, height=9, unit="none", minimum=0),
            Query("max(drift_alarm_score)", "score"),
            Query("max(drift_alarm_threshold)", "threshold"),
            Query("log10(clamp_min(max(drift_supported_rows), 1))", "supported"),
            dashed=("threshold", "supported"),
        )
    )
    board.with_panel(
        time_series(
            "Drift: effect size",
            "The largest share of a column's values that would have to change to undo the drift, while an alarm holds. "
            "From the line on ModelDrift asks for a retraining.",
            Display(span=5, height=9, unit="none", minimum=0, maximum=1),
            Query("max(drift_effect_size)", "effect size"),
            limit=limit_of("ModelDrift"),
        )
    )
    board.with_panel(
        number(
            "Drift since",
            "When the drift began, by the rows' own times: that of the last alarm in the time range.",
            Display(span=4, height=9, unit="dateTimeAsIso"),
            Query("1000 * max(drift_onset_timestamp_seconds)"),
        )
    )
    board.with_panel(
        number(
            "What raised the alarm",
            "The statistics that raised the alarms in the time range.",
            Display(span=4, height=9),
            Query("sum by (kind) (drift_cause)", "{{kind}}"),
            named=True,
        )
    )
    board.with_panel(
        time_series(
            "Drift Detection Timeline",
            "p-values of all features, unadjusted; the line is the feature drift alert's threshold. With no drift one "
            "in twenty is below it.",
            Display(span=16, height=9, unit="none", minimum=0, maximum=1),
            Query(P_VALUES, "{{feature}}"),
            limit=limit_of(".+FeatureDrift"),
        )
    )
    board.with_panel(
        time_series(
            "Prediction drift",
            "p-value of the predictions' test against the reference.",
            Display(height=9, unit="none", minimum=0, maximum=1),
            Query("prediction_drift_p_value", "predictions"),
            limit=limit_of("PredictionDrift"),
        )
    )


def _predictions(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("What does it predict, and is it right?"))
    board.with_panel(
        heat(
            "Prediction Distribution",
            "Share of each category among the window's predictions.",
            Display(span=12, height=9, unit="percentunit"),
            Query(f"{LABEL}(prediction_distribution)"),
        )
    )
    board.with_panel(
        levels(
            "Predictions in the window",
            "Share of each category among the window's predictions.",
            Display(span=6, height=9, unit="percentunit", minimum=0),
            Query(f"{LABEL}(prediction_distribution)"),
        )
    )
    board.with_panel(
        levels(
            "Predictions in the reference",
            "Share of each category among the reference's predictions.",
            Display(span=6, height=9, unit="percentunit", minimum=0),
            Query(f"{LABEL}(reference_distribution)"),
        )
    )
    board.with_panel(
        time_series(
            "Accuracy and F1",
            "On the window's labelled rows; there once enough labels have arrived. The line is "
            "ModelAccuracyDropped's threshold.",
            RATIO,
            Query("model_accuracy", "accuracy"),
            Query("model_f1", "F1"),
            limit=limit_of("ModelAccuracyDropped"),
        )
    )
    board.with_panel(
        time_series(
            "Confidence",
            "Quantiles of the confidence of the window's predictions.",
            RATIO,
            Query("prediction_confidence", "quantile {{quantile}}"),
        )
    )
    board.with_panel(
        time_series(
            "Labels",
            "Rows of the window, and how many of them have a label.",
            Display(minimum=0),
            Query("rowcount", "rows"),
            Query("labelled_rows", "labelled"),
        )
    )
    board.with_panel(
        time_series(
            "Accuracy with and without labels",
            "On the window's labelled rows; as the confidence of its predictions tells it, with an interval of 95 %; "
            "and on the rows that the champion was evaluated on before its promotion. "
            "EstimatedAccuracyLow fires when the estimate lies below its threshold.",
            replace(RATIO, span=12),
            Query("model_accuracy", "by labels"),
            Query("model_accuracy_estimate", "by confidence"),
            Query("model_accuracy_estimate_low", "low"),
            Query("model_accuracy_estimate_high", "high"),
            Query("model_accuracy_estimate_threshold", "threshold of the estimate"),
            Query("accuracy_at_promotion", "at promotion"),
            dashed=("low", "high", "threshold of the estimate"),
        )
    )
    board.with_panel(
        _harm_alarm(
            "Accuracy alarm: score against threshold",
            "Tested after every block of time, or after every label where the reference has no times: evidence of a "
            "fall since the promotion as strong as this comes by chance once in 10 to the score blocks or labelled "
            "rows. AccuracyDropDetected fires when it reaches the threshold.",
            "accuracy",
        )
    )


def _harm_alarm(title: str, description: str, prefix: str) -> timeseries.Panel:
    """Return the panel of a test of harm, whose metrics begin with a prefix."""
    return time_series(
        title,
        description,
        Display(span=12, unit="none"),
        Query(f"max({prefix}_alarm_score)", "score"),
        Query(f"max({prefix}_alarm_threshold)", "threshold"),
        dashed=("threshold",),
    )


def _probabilities(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(PROBABILITIES))
    board.with_panel(
        time_series(
            "ROC AUC and log loss",
            "Of the probabilities on the labelled rows. ROC AUC: 0.5 is chance, 1 the right order; it does not "
            "depend on how rare a category is. Log loss: 0 is sure and right, and it has no upper bound.",
            Display(span=24, unit="none", minimum=0),
            Query("model_roc_auc", "ROC AUC"),
            Query("model_log_loss", "log loss"),
        )
    )


def _regression(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(REGRESSION))
    board.with_panel(
        time_series(
            "Size of the errors",
            "Mean absolute error and root mean square error on the window's labelled rows, in the label's unit; dashed "
            "what the champion is held to since its promotion.",
            Display(span=10, unit="none", minimum=0),
            Query("model_mae", "mean absolute error"),
            Query("model_rmse", "root mean square error"),
            Query("max(loss_ceiling)", "bound of the mean absolute error"),
            dashed=("bound of the mean absolute error",),
        )
    )
    board.with_panel(
        time_series(
            "Mean error",
            "Predictions minus labels: above zero the model answers too much, below it too little.",
            Display(span=7, unit="none"),
            Query("model_mean_error", "mean error"),
        )
    )
    board.with_panel(
        time_series(
            "Share of the variance explained",
            "R²: 1 is a model that is always right, 0 one that knows no more than the labels' mean.",
            Display(span=7, unit="none", maximum=1),
            Query("model_r2", "R²"),
        )
    )
    board.with_panel(
        time_series(
            "Error with and without labels",
            "Mean absolute error, in the label's unit: on the window's labelled rows; and as the window's features and "
            "answers tell it, with an interval meant for 95 % that held less often where it was measured. No rule uses "
            "the threshold.",
            Display(span=12, unit="none", minimum=0),
            Query("model_mae", "by labels"),
            Query("model_loss_estimate", "by features and answers"),
            Query("model_loss_estimate_low", "low"),
            Query("model_loss_estimate_high", "high"),
            Query("model_loss_estimate_threshold", "threshold of the estimate"),
            dashed=("low", "high", "threshold of the estimate"),
        )
    )
    board.with_panel(
        _harm_alarm(
            "Error alarm: score against threshold",
            "Tested after every block of time: evidence of larger errors since the promotion as strong as this comes "
            "by chance once in 10 to the score blocks. LossRiseDetected fires when it reaches the threshold.",
            "loss",
        )
    )
    board.with_panel(
        bars(
            "Distribution of the errors",
            "Predictions minus labels: the share of labelled rows in each range, in the window and in the reference.",
            Display(span=12, height=9, unit="percentunit", minimum=0),
            Query("sum by (bin) (error_distribution)", "window"),
            Query("sum by (bin) (reference_error_distribution)", "reference"),
            by="bin",
        )
    )
    board.with_panel(
        bars(
            "Predicted against actual",
            "Mean prediction and mean label of the labelled rows, by range of the prediction: where they part, answers "
            "of that size are off in one direction.",
            Display(span=12, height=9, unit="none"),
            Query("sum by (bin) (mean_prediction)", "predicted"),
            Query("sum by (bin) (mean_label)", "actual"),
            Query("sum by (bin) (reference_mean_label)", "actual in the reference"),
            by="bin",
        )
    )


def _trial(board: builders.Dashboard) -> None:
    board.with_row(builders.Row(TRIAL))
    board.with_panel(
        number(
            "Challenger",
            "The version on trial; it answers beside the champion, and nobody gets its answers. Empty while none is.",
            Display(span=4),
            Query("max(rollout_challenger_version)"),
        )
    )
    board.with_panel(
        number(
            "Labelled rows of the trial",
            "Rows that champion and challenger have answered and that have a label.",
            Display(span=4),
            Query("max(rollout_labelled_rows)"),
        )
    )
    board.with_panel(
        time_series(
            "Loss of champion and challenger",
            "On the same labelled rows since the trial began: the share of wrong answers, or of a regression the mean "
            "absolute error.",
            Display(span=8, unit="none", minimum=0),
            Query("rollout_loss", "{{role}}"),
        )
    )
    board.with_panel(
        time_series(
            "Evidence of the trial",
            "log10 of the evidence that the challenger is better (promote) or worse (drop). The first that reaches the "
            "threshold decides, and ChallengerDecided fires.",
            Display(span=8, unit="none"),
            Query("rollout_score", "{{decision}}"),
            Query("rollout_threshold", "threshold"),
            dashed=("threshold",),
        )
    )


def _data(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Data Quality Metrics: can the data be relied on?"))
    board.with_panel(
        number(
            "Data quality score",
            "Share of cells that hold a finite number, times the share of rows that repeat no earlier one.",
            Display(span=4, unit="percentunit", minimum=0, maximum=1),
            Query("min(data_quality_score)"),
        )
    )
    board.with_panel(
        time_series(
            "Missing values",
            "Feature cells of the window that are null; the line is DataQualityIssue's threshold.",
            Display(minimum=0),
            Query("missing_values", "missing"),
            limit=limit_of("DataQualityIssue"),
        )
    )
    board.with_panel(
        time_series(
            "Row count",
            "Rows of the window and of the reference.",
            Display(span=6, minimum=0),
            Query("rowcount", "window"),
            Query("reference_rows", "reference"),
        )
    )
    board.with_panel(
        time_series(
            "Type consistency and repetitions",
            "Columns that do not hold numbers, columns that hold one value, and rows that repeat an earlier one.",
            Display(span=6, minimum=0),
            Query("column_type_mismatches", "columns of another type"),
            Query("constant_columns", "constant columns"),
            Query("duplicated_rows", "repeated rows"),
        )
    )


def _alerts(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Alert Status: what fires, and what may?"))
    board.with_panel(
        rows(
            "Current alerts",
            "Alerts that fire or wait for their time, and how many series each has. Watchdog always fires.",
            Display(span=12),
            Query("count by (alertname, severity, alertstate) (ALERTS)", "series"),
            names={"alertname": "alert", "alertstate": "state"},
            by="alertname",
        )
    )
    board.with_panel(
        bars(
            "Tests by outcome",
            "Tests of the Evidently suite in the last cycle.",
            Display(span=4, minimum=0),
            Query("sum by (status) (evidently_tests)", "tests"),
            by="status",
        )
    )
    board.with_panel(
        levels(
            "Thresholds in reach",
            "Each alert's value over its threshold, of scores their logarithms'; 1 where the alert's condition holds.",
            Display(unit="percentunit", minimum=0, maximum=1),
            Query(_reach()),
        )
    )


def _reach() -> str:
    """Return how far each alert's value is on the way to its threshold; 1 is at it."""
    drift, accuracy = limit_of("ModelDrift").value, limit_of("ModelAccuracyDropped").value
    scores = {"DriftDetected": "drift", "AccuracyDropDetected": "accuracy", "LossRiseDetected": "loss"}
    shares = {
        **{name: f"clamp(max({p}_alarm_score) / max({p}_alarm_threshold), 0, 1)" for name, p in scores.items()},
        "ModelDrift": f"clamp_max((max(drift_effect_size) or vector(0)) / {drift}, 1)",
        "ModelAccuracyDropped": f"clamp_max({accuracy} / min(model_accuracy), 1)",
        "DataQualityIssue": f"clamp_max(max(missing_values) / {limit_of('DataQualityIssue').value}, 1)",
        "PredictionDrift": f"clamp_max({limit_of('PredictionDrift').value} / min(prediction_drift_p_value), 1)",
    }
    return " or ".join(f'label_replace({share}, "alert", "{name}", "", "")' for name, share in shares.items())
