"""Write grafana/dashboards/*.json: `python -m scripts.dashboards`."""

from scripts.dashboards.export import FOLDER, write

if __name__ == "__main__":
    for path in write(FOLDER):
        print(path.relative_to(FOLDER.parents[1]))
