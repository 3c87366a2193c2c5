"""Measure one peer, in its own environment: `peers.py` starts this."""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.alarms.harness import measure

# The module that a peer is in, and its name there: a module imports what only its peers' environment has.
PEERS = {
    "driftloop": ("driftloop", "PEER"),
    "ks_cusum_max": ("candidates", "LARGEST"),
    "ks_cusum_sum": ("candidates", "TOTAL"),
    "e_detector": ("candidates", "BETTING"),
    "mission": ("windows", "MISSION"),
    "evidently": ("windows", "EVIDENTLY"),
    "benjamini_hochberg": ("windows", "ADJUSTED"),
    "cvm_online": ("cvm_online", "PEER"),
    "adwin": ("adwin", "PEER"),
    "page_hinkley": ("page_hinkley", "PEER"),
    "kswin": ("kswin", "PEER"),
    "nannyml": ("nannyml_chunks", "PEER"),
}


def main() -> None:
    name, folder, out = sys.argv[1:]
    module, attribute = PEERS[name]
    peer = getattr(importlib.import_module(f"benchmarks.alarms.{module}"), attribute)
    Path(out).write_text(json.dumps(measure(Path(folder), peer), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
