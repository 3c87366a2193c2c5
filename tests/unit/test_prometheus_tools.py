"""Prometheus' tools are linked from PATH where they are recent enough; else the message says what to do."""

from pathlib import Path

import pytest

from scripts.prometheus_tools import ToolsError, find_tools, version_of

RECENT = {"prometheus": "2.42.0+ds", "promtool": "3.5.3", "prometheus-alertmanager": "0.25.0", "amtool": "0.33.1"}


def put_on_path(folder: Path, versions: dict[str, str]) -> None:
    folder.mkdir()
    for name, version in versions.items():
        tool = name.removeprefix("prometheus-")
        (folder / name).write_text(f"#!/bin/sh\necho '{tool}, version {version} (branch: x)'\n")
        (folder / name).chmod(0o755)


def test_recent_tools_on_path_are_linked_under_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's name for Alertmanager too; a second look finds them in place, whatever PATH is then."""
    put_on_path(tmp_path / "path", RECENT)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    tools = find_tools(tmp_path / "tools")
    assert tools.versions == {"prometheus": "2.42.0", "promtool": "3.5.3", "alertmanager": "0.25.0", "amtool": "0.33.1"}
    assert tools.alertmanager == tmp_path / "tools/bin/alertmanager"
    monkeypatch.setenv("PATH", "")
    assert find_tools(tmp_path / "tools") == tools


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        pytest.param({}, "promtool 2.42 or newer (not found)", id="absent"),
        pytest.param({"prometheus": "2.41.9"}, "prometheus is 2.41.9)", id="old"),
        pytest.param({"alertmanager": "0.24.0", "prometheus": "3.5.3"}, "alertmanager is 0.24.0)", id="old-beside-new"),
        pytest.param({"amtool": "unknown"}, "amtool is something else)", id="something-else"),
    ],
)
def test_without_apt_the_message_says_what_is_missing_and_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], told: str
) -> None:
    """Each tool with what was found in its place, and the page to download from."""
    put_on_path(tmp_path / "path", versions)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    with pytest.raises(ToolsError) as raised:
        find_tools(tmp_path / "tools")
    assert told in str(raised.value)
    assert "has no apt-get, apt-cache, apt-config, dpkg" in str(raised.value)
    assert "https://prometheus.io/download/" in str(raised.value)


def test_version_of_a_file_that_does_not_run_is_none(tmp_path: Path) -> None:
    """A broken link or a directory is no tool."""
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert [version_of(tmp_path / name) for name in ("link", "absent", ".")] == [None, None, None]
