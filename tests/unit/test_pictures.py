"""README's pictures are as large as what they are to show; without a browser nothing is begun."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from scripts.pictures import ROOT, picture

CHROMIUM = shutil.which("chromium")
SECTION = '<details open style="height: 300px"><summary>What is there?</summary></details>'


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
@pytest.mark.parametrize(
    ("name", "sections", "height"),
    [
        pytest.param("dashboard-system-health", 5, 1500, id="a dashboard as a whole"),
        pytest.param("dashboard-feature-monitoring", 9, 1200, id="the first features"),
        pytest.param("monitor", 0, 1000, id="the top of a page without sections"),
    ],
)
def test_a_picture_shows_what_it_is_meant_to_show(tmp_path: Path, name: str, sections: int, height: int) -> None:
    """1600 pixels wide."""
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><body style='margin: 0'>{SECTION * sections}</body>")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        target = picture(browser, page.as_uri(), tmp_path / f"{name}.png")
        browser.close()
    assert struct.unpack(">II", target.read_bytes()[16:24]) == (1600, height)  # a PNG's header


def test_without_a_browser_the_demo_is_not_begun(tmp_path: Path) -> None:
    """One line says what is missing."""
    command = [sys.executable, "-m", "scripts.pictures", "--to", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "driftloop: there is no chromium on PATH; on Debian: apt install chromium\n"
