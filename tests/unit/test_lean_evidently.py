"""The service loads of Evidently what it needs; whoever asks for more gets it."""

import subprocess
import sys

BEGIN = "from monitoring.suite.lean_evidently import leave_out_the_rest; leave_out_the_rest(); import sys\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_monitor_is_imported_without_the_web_service():
    loaded = run("import monitoring.monitor; print(*sys.modules)").split()
    assert "evidently.legacy.tests" in loaded
    assert "litestar" not in loaded
    assert "evidently.ui" not in loaded


def test_the_newer_interface_is_there_when_it_is_asked_for():
    assert "evidently.core.report" in run(
        "import monitoring.suite.suite, evidently; from evidently import Report;"
        " print(Report.__module__, evidently.__file__)"
    )
