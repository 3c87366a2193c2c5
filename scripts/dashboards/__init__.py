"""Make Grafana's dashboards: `python -m scripts.dashboards` writes the JSON that is committed."""
