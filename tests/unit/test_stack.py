"""How the committed configurations become those of local processes."""

from pathlib import Path

import yaml

from scripts.stack import PORTS, Stack


def test_what_runs_in_containers_alone_is_left_out(tmp_path: Path) -> None:
    """Local Prometheus scrapes local addresses: no DNS, no password, none of the exporters."""
    stack = Stack(tmp_path / "data", tmp_path / "state")
    stack.prepare()
    jobs = yaml.safe_load((stack.state / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == PORTS.keys() - {"mlflow"}
    for job in jobs:
        assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORTS[job['job_name']]}"]}]
        assert not job.keys() & {"dns_sd_configs", "basic_auth"}
