"""Three unlike models in one API: genres, flights' delays as a regression, and car loans as a binary classification."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from benchmarks import servers
from data.flights import FEBRUARY, read_flights, reference_flights
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from tests.processes import ROOT
from tests.unit.api_fixtures import keep_champion
from tests.unit.models import GENRES

FLIGHTS = load_config(ROOT / "docs/examples/flights.yml")
LOANS = load_config(ROOT / "docs/examples/car_loans.yml")
FILES = {"1_genres.yml": GENRES, "2_flights.yml": FLIGHTS, "3_loans.yml": LOANS}


def lay_down_fleet(folder: Path) -> Path:
    """Write the three configs into `models`, and their champions' copies under `data`; return `models`."""
    (folder / "models").mkdir(parents=True)
    for file, config in FILES.items():
        write_config(folder / "models" / file, config)
    keep_champion(folder / "data" / GENRES.model.name, GENRES)
    servers.keep_champion(folder / "data" / FLIGHTS.model.name, FLIGHTS.model, reference_flights(read_flights(), 500))
    servers.keep_champion(folder / "data" / LOANS.model.name, LOANS.model, pa.table(loans(300)))
    return folder / "models"


def write_config(path: Path, config: Config, **model: Any) -> None:
    """Write a config, with other keys of its model."""
    content = config.model_dump(mode="json", exclude_unset=True)
    content["model"] |= model
    path.write_text(yaml.safe_dump(content))


def loans(count: int) -> dict[str, Any]:
    """Draw loans of which most are repaid; real ones are not on this machine."""
    random = np.random.default_rng(0)
    debt = random.uniform(size=count)
    drawn: dict[str, Any] = {name: random.uniform(1, 50, count) for name in LOANS.model.of_kind("numeric")}
    drawn |= {name: random.choice(["a", "b"], count) for name in LOANS.model.of_kind("categorical")}
    return drawn | {"debt_to_income_ratio": debt, "repaid": np.where(debt < 0.7, "1", "0")}


def later_flights(count: int) -> list[dict[str, Any]]:
    """Return the first flights of February, in the order in which they left, each with its label."""
    flights = read_flights()
    names = [*FLIGHTS.model.features, FLIGHTS.model.target]
    rows: list[dict[str, Any]] = (
        flights.filter(pa.compute.greater_equal(flights["timestamp"], FEBRUARY))
        .select(names)
        .slice(0, count)
        .to_pylist()
    )
    return rows
