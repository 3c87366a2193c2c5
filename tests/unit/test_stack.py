"""How the committed configurations become those of local processes."""

from pathlib import Path

import pytest
import yaml

from monitoring.contract.errors import ConfigError
from monitoring.contract.layout import Layout
from monitoring.contract.reference import InvalidReferenceError
from scripts.stack import PORTS, Stack, require_usable


def test_what_runs_in_containers_alone_is_left_out(tmp_path: Path) -> None:
    """Local Prometheus scrapes local addresses: no DNS, no password, none of the exporters."""
    stack = Stack(tmp_path / "data", tmp_path / "state")
    stack.prepare()
    jobs = yaml.safe_load((stack.state / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == PORTS.keys() - {"mlflow"}
    for job in jobs:
        assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORTS[job['job_name']]}"]}]
        assert not job.keys() & {"dns_sd_configs", "basic_auth"}


def test_what_no_service_could_use_is_refused_before_any_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference that is not one, and a config with a typo, stop the start with their reason."""
    require_usable(tmp_path)
    Layout(tmp_path).reference.write_bytes(b"not Parquet")
    with pytest.raises(InvalidReferenceError, match="not a readable Parquet file"):
        require_usable(tmp_path)
    (tmp_path / "config.yml").write_text("minimum_rowz: 3")
    monkeypatch.setenv("DRIFTLOOP_CONFIG", str(tmp_path / "config.yml"))
    with pytest.raises(ConfigError, match="minimum_rowz = 3: no such key"):
        require_usable(tmp_path)
