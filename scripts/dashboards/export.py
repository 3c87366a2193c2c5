"""The dashboards as the JSON that Grafana reads."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Panel
from grafana_foundation_sdk.models.table import Options as Table

from scripts.dashboards.feature_monitoring import feature_monitoring
from scripts.dashboards.model_performance import model_performance
from scripts.dashboards.system_health import system_health

FOLDER = Path(__file__).parents[2] / "grafana/dashboards"


def documents() -> dict[str, str]:
    """Return the three documents by file name; each dashboard's uid is its file's name."""
    boards = [board().build() for board in (model_performance, feature_monitoring, system_health)]
    for board in boards:
        for number, panel in enumerate(board.panels or [], start=1):
            panel.id_val = number
            if isinstance(panel, Panel) and isinstance(panel.options, Table):
                panel.options.footer = None  # the builder's default, which Grafana 12.4 knows no more
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    return {f"{board.uid}.json": encoder.encode(board) + "\n" for board in boards}


def write(folder: Path) -> list[Path]:
    """Write the documents into a folder."""
    for name, text in documents().items():
        (folder / name).write_text(text)
    return [folder / name for name in documents()]
