"""Draw Grafana's dashboards without Grafana: `python -m scripts.preview`.

The same JSON that Grafana gets is read, its queries are asked of a live Prometheus, and each dashboard becomes one
HTML page that needs nothing else. It draws what these dashboards hold, and names on the panel whatever else
one has: nothing is drawn in some other way than Grafana's.
"""
