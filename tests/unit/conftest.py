"""What the tests of many modules begin with."""

from pathlib import Path

import pytest

from monitoring.contract.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Lay out an empty DATA_DIR."""
    layout = Layout(tmp_path / "data")
    layout.root.mkdir()
    return layout
