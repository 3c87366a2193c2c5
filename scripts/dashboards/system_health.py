"""System Health: do the services run, answer in time, and do what they are for."""

from grafana_foundation_sdk.builders import dashboard as builders

from scripts.dashboards.base import frame
from scripts.dashboards.limits import limit_of
from scripts.dashboards.panels import Display, Query, bars, number, rows, time_series

SERVICE = "container_label_com_docker_compose_service"
CONTAINERS = f'{{{SERVICE}!=""}}'
EVALUATION = 'label_replace(prometheus_rule_group_last_duration_seconds, "group", "$1", "rule_group", ".*;(.*)")'
BLOCKS = "prometheus_tsdb_storage_blocks_bytes"
DISK = f"({BLOCKS} + (prometheus_tsdb_wal_storage_size_bytes or 0 * {BLOCKS}))"  # 2.42 does not tell the latter
BUCKETS = "sum by (le) (rate(api_request_duration_seconds_bucket[$__rate_interval]))"


def system_health() -> builders.Dashboard:
    """Return the dashboard."""
    board = frame("system-health", "Do the services run, answer in time, and do what they are for?")
    for row in (_targets, _api, _log, _models, _flows, _alerting, _machine):
        row(board)
    return board


def _targets(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Does everything answer?"))
    board.with_panel(
        rows(
            "Targets",
            "1 for a target that answered Prometheus's last scrape, 0 for one that did not.",
            Display(7, 9),
            Query("min by (job, instance) (up)", "up"),
            names={},
            by="job",
        )
    )
    board.with_panel(
        time_series(
            "Servers behind the trigger",
            "1 while Prefect and MLflow answer the trigger's polls, and while a runner takes runs.",
            Display(5, 9, minimum=0, maximum=1),
            Query("upstream_up", "{{service}}"),
            Query("min(flow_runner_up)", "runner"),
        )
    )
    board.with_panel(
        time_series(
            "Age of the monitor's last success",
            "From its first success on; the line is MonitorStale's threshold.",
            Display(5, 9, "s", minimum=0),
            Query("time() - (monitor_last_success_timestamp_seconds > 0)", "age"),
            Query("monitor_cycle_seconds", "a cycle took"),
            limit=limit_of("MonitorStale"),
        )
    )
    board.with_panel(
        number(
            "Drift detector calibrated",
            "How much of the calibration for the present reference is done; until all is, no drift is found.",
            Display(4, 9, "percentunit", minimum=0, maximum=1),
            Query("min(drift_calibration_progress)"),
            limit=limit_of("DriftCalibrationStuck"),
        )
    )
    board.with_panel(
        number(
            "Drift detector learns for",
            "After a re-base: how long rows of the log still join a reference that is too short; 0 where none do, or"
            " the first row after that time is waited for.",
            Display(3, 9, "s", minimum=0),
            Query("clamp_min(max(drift_learning_until_timestamp_seconds) - time(), 0)"),
        )
    )


def _api(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("API Performance: does it answer in time?"))
    board.with_panel(
        time_series(
            "Response time",
            "Quantiles over all endpoints; the line is APILatencyHigh's threshold, which holds per endpoint.",
            Display(unit="s", minimum=0),
            *(Query(f"histogram_quantile({q}, {BUCKETS})", f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
            limit=limit_of("APILatencyHigh"),
        )
    )
    board.with_panel(
        time_series(
            "Error ratio",
            "Share of 5xx among the answers, without /ready; the line is APIErrorRatioHigh's threshold.",
            Display(unit="percentunit", minimum=0),
            Query(
                '(sum(rate(api_requests_total{endpoint!="ready",status=~"5.."}[$__rate_interval])) or vector(0))'
                ' / sum(rate(api_requests_total{endpoint!="ready"}[$__rate_interval]))',
                "5xx",
            ),
            limit=limit_of("APIErrorRatioHigh"),
        )
    )
    board.with_panel(
        time_series(
            "Throughput",
            "Requests answered and rows predicted, a second.",
            Display(unit="reqps", minimum=0),
            Query("sum(rate(api_requests_total[$__rate_interval]))", "requests"),
            Query("sum(rate(api_predictions_total[$__rate_interval]))", "rows"),
        )
    )


def _log(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Is everything written down?"))
    board.with_panel(
        time_series(
            "Rows logged",
            "Predictions and labels, a second.",
            Display(unit="cps", minimum=0),
            Query("sum(rate(prediction_log_rows_total[$__rate_interval]))", "predictions"),
            Query("sum(rate(labels_log_rows_total[$__rate_interval]))", "labels"),
        )
    )
    board.with_panel(
        time_series(
            "Labels received",
            "From /feedback, a second, by what became of each: new, known already, a correction of another one, of no "
            "prediction, or not to be read.",
            Display(unit="cps", minimum=0),
            Query("sum by (outcome) (rate(api_labels_total[$__rate_interval]))", "{{outcome}}"),
        )
    )
    board.with_panel(
        time_series(
            "Parts",
            "Files in the folders of the log and of the labels.",
            Display(minimum=0),
            Query("max(prediction_log_parts)", "predictions"),
            Query("max(labels_log_parts)", "labels"),
        )
    )
    board.with_panel(
        time_series(
            "Seal lag",
            "Age of the oldest row that is in a journal and in no Parquet part yet.",
            Display(unit="s", minimum=0),
            Query("max(prediction_log_seal_lag_seconds)", "predictions"),
            Query("max(labels_log_seal_lag_seconds)", "labels"),
        )
    )


def _models(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("MLflow Tracking: which model serves, and what was measured?"))
    board.with_panel(
        number("Champion", "Its version in MLflow.", Display(4, unit="none"), Query("max(mlflow_champion_version)"))
    )
    board.with_panel(
        time_series(
            "Versions",
            "The champion's version, the version that the API serves, and how many there are.",
            Display(6, minimum=0),
            Query("mlflow_champion_version", "champion"),
            Query("max(api_model_version)", "served"),
            Query("mlflow_model_versions", "versions"),
        )
    )
    board.with_panel(
        rows(
            "Experiments",
            "What the runs that made the newest versions have measured, on held-out rows.",
            Display(14, unit="none", decimals=4),
            Query("sum by (version, metric) (mlflow_version_metric)", "value"),
            names={},
            by="version",
        )
    )


def _flows(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Prefect Flows: does the loop turn?"))
    board.with_panel(
        bars(
            "Flow runs by state",
            "The newest 200 runs of each flow.",
            Display(6, minimum=0),
            Query('sum by (state) (flow_runs{flow="retrain"})', "retrain"),
            Query('sum by (state) (flow_runs{flow="bootstrap"})', "bootstrap"),
            Query('sum by (state) (flow_runs{flow="rollback"})', "rollback"),
            by="state",
        )
    )
    board.with_panel(
        time_series(
            "Queue",
            "Runs that were asked for and have not begun, those at work, and those that a wrong clock has dated ahead.",
            Display(6, minimum=0),
            Query("flow_runs_waiting", "{{flow}} waits"),
            Query('flow_runs{state="RUNNING"}', "{{flow}} runs"),
            Query("sum(flow_runs_ahead_of_clock)", "ahead of the clock"),
        )
    )
    board.with_panel(
        number(
            "Last run took",
            "The newest run that has ended.",
            Display(6, unit="s"),
            _by_flow("last_run_duration_seconds"),
        )
    )
    board.with_panel(
        number(
            "Since the last success",
            "Since a run last completed.",
            Display(6, unit="s"),
            Query("time() - flow_last_success_timestamp_seconds", "{{flow}}"),
        )
    )
    board.with_panel(
        time_series(
            "Notifications to the trigger",
            "What came of them, a minute.",
            Display(12, 6, minimum=0),
            Query("60 * sum by (outcome) (rate(trigger_notifications_total[$__rate_interval]))", "{{outcome}}"),
        )
    )
    board.with_panel(
        number(
            "Runs without a conclusion",
            "For the newest run's alert: too few labels, or no better candidate. After each the wait is longer.",
            Display(6, 6),
            Query("flow_inconclusive_runs", "{{flow}}"),
        )
    )
    board.with_panel(
        number(
            "May ask again in",
            "How long the newest run's alert has to wait before it may start another; below 0: it may.",
            Display(6, 6, unit="s"),
            Query("flow_held_until_timestamp_seconds - time()", "{{flow}}"),
        )
    )


def _by_flow(name: str) -> Query:
    return Query(f"flow_{name}", "{{flow}}")


def _alerting(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Do alerts get through?"))
    board.with_panel(
        time_series(
            "Rule evaluation",
            "How long the rule groups took last.",
            Display(unit="s", minimum=0),
            Query(EVALUATION, "{{group}}"),
        )
    )
    board.with_panel(
        time_series(
            "Notifications",
            "Sent by Alertmanager and failed, a minute; anything failed fires AlertmanagerNotificationsFailing.",
            Display(minimum=0),
            Query("60 * sum(rate(alertmanager_notifications_total[$__rate_interval]))", "sent"),
            Query("60 * sum(rate(alertmanager_notifications_failed_total[$__rate_interval]))", "failed"),
        )
    )
    board.with_panel(
        time_series(
            "Prometheus",
            "Series in memory and samples taken in, a second.",
            Display(minimum=0),
            Query("prometheus_tsdb_head_series", "series"),
            Query("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples a second"),
        )
    )


def _machine(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Container Metrics: what does it cost?"))
    board.with_panel(
        time_series(
            "CPU",
            "Cores in use per container; without containers, per process that tells.",
            Display(minimum=0),
            Query(
                _cost("rate({}[$__rate_interval])", "container_cpu_usage_seconds_total", "process_cpu_seconds_total"),
                "{{service}}",
            ),
            stacked=True,
        )
    )
    board.with_panel(
        time_series(
            "Memory",
            "Working set per container; without containers, resident memory per process that tells.",
            Display(unit="bytes", minimum=0),
            Query(_cost("{}", "container_memory_working_set_bytes", "process_resident_memory_bytes"), "{{service}}"),
            stacked=True,
        )
    )
    board.with_panel(
        time_series(
            "Disk",
            "Written layers per container; without containers, Prometheus's blocks, the first after two hours.",
            Display(unit="bytes", minimum=0),
            Query(_cost("{}", "container_fs_usage_bytes", DISK), "{{service}}"),
            stacked=True,
        )
    )


def _cost(expr: str, containers: str, processes: str) -> str:
    """Return cAdvisor's series by Compose service, or where there are none the processes' by job."""
    ours = f'label_replace({expr.format(containers + CONTAINERS)}, "service", "$1", "{SERVICE}", "(.+)")'
    local = f'label_replace({expr.format(processes)}, "service", "$1", "job", "(.+)")'
    return f"sum by (service) ({ours}) or on () sum by (service) ({local})"
