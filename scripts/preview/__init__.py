"""Draw Grafana's dashboards without Grafana: `python -m scripts.preview`.

The same JSON that Grafana gets is read, its queries are asked of a live Prometheus, and each dashboard becomes one
HTML page that needs nothing else. It is a preview: what it cannot draw it names on the panel.
"""
