"""What 20 models in one API cost: memory beside one model, and `/predict` of one model while 19 others are idle.

Each is the built-in model under another name. Both servers run at the same time, and take turns under load.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from api.model import read_copy, save_copy
from benchmarks.servers import MODEL, ROOT, Server, features, keep_champion, load, serving

BODY = {"features": features()}


def lay_down(folder: Path, models: int) -> None:
    """Write so many configs into `models`, and a champion for each under `data`; one is trained."""
    (folder / "models").mkdir(parents=True)
    text = (ROOT / "monitoring/config.yml").read_text()
    names = [f"model-{number:02}" for number in range(models)]
    for name in names:
        (folder / "models" / f"{name}.yml").write_text(text.replace(f"name: {MODEL.name}", f"name: {name}", 1))
    keep_champions(folder / "data", names)


def keep_champions(data: Path, names: Sequence[str]) -> None:
    """Lay down a champion for each model; one is trained."""
    first, *others = names
    keep_champion(data / first, MODEL.model_copy(update={"name": first}))
    copy = read_copy(data / first / f"_model/{first}.champion")
    assert copy is not None
    for name in others:
        save_copy(data / name / "_model", name, copy.release, copy.content)


def megabytes(server: Server) -> float:
    """Return the memory of all processes of a server, what they share counted once (PSS)."""
    workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (server.pid, *workers)]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) / 1024


def path(number: int) -> str:
    return f"/models/model-{number:02}/predict"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6, help="turns of each server under load")
    parser.add_argument("--seconds", type=int, default=4, help="of a turn")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        places = {count: Path(folder) / str(count) for count in (1, given.models)}
        for count, place in places.items():
            lay_down(place, count)
        one, many = (
            serving("with_log", place / "data", DRIFTLOOP_CONFIG=str(place / "models")) for place in places.values()
        )
        with one as alone, many as beside:
            servers = {1: alone, given.models: beside}
            for count, server in servers.items():
                for number in range(count):
                    load(server, BODY, 1, 2, path=path(number))
            memory = {count: megabytes(server) for count, server in servers.items()}
            rates: dict[int, list[float]] = {count: [] for count in servers}
            cpu: dict[int, list[float]] = {count: [] for count in servers}
            for turn in range(given.rounds):
                for count in list(servers)[:: 1 if turn % 2 else -1]:
                    rate, seconds = load(servers[count], BODY, given.seconds, path=path(0))
                    rates[count].append(rate)
                    cpu[count].append(1e6 * seconds)
    print("| models | memory | of one model's | `/predict` of one of them | of one alone | CPU a request |")
    print("|---|---|---|---|---|---|")
    for count in servers:
        ratio = statistics.median(a / b for a, b in zip(rates[count], rates[1], strict=True))
        print(
            f"| {count} | {memory[count]:.0f} MB | {memory[count] / memory[1]:.2f} | "
            f"{statistics.median(rates[count]):,.0f} a second | {ratio:.2f} | {statistics.median(cpu[count]):.0f} µs |"
        )
    further = (memory[given.models] - memory[1]) / (given.models - 1)
    print(f"\nEach further model takes {further:.1f} MB, in two workers together.")


if __name__ == "__main__":
    main()
