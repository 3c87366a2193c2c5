"""What the three dashboards have in common: name, links, the data source, the marks of promotions.

There are no variables for job and instance: a stack has one of each service, and another stack is another data source.
Of many models one is chosen.
"""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard

from scripts.dashboards.chosen_model import model_variable, of_model
from scripts.dashboards.panels import DATASOURCE

TITLES = {
    "model-performance": "Model Performance",
    "feature-monitoring": "Feature Monitoring",
    "system-health": "System Health",
}
PROMOTIONS = "sum(changes(mlflow_champion_version[$__rate_interval])) > 0"


def frame(uid: str, description: str, refresh: str = "10s", start: str = "now-1h") -> builders.Dashboard:
    """Return an empty dashboard; it cannot be edited in place, as its source is code."""
    board = builders.Dashboard(TITLES[uid]).uid(uid).description(description).tags(["driftloop"]).readonly()
    board.time(start, "now").refresh(refresh).timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    for other, title in TITLES.items():
        if other != uid:
            link = builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(f"/d/{other}")
            board.link(link.keep_time(True).include_vars(True))
    board.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    board.with_variable(model_variable(DATASOURCE))
    mark = builders.AnnotationQuery().name("Promotions").enable(True).icon_color("blue").datasource(DATASOURCE)
    return board.annotation(mark.expr(of_model(PROMOTIONS)))
