"""Note in a folder of `fico bench` with which GPU, driver and commit its last runs were made.

    python benchmarks/stamp.py FOLDER

A suite may be measured in several goes. Each adds an object to FOLDER/measured.json: the header of
all result files, and how many runs there are by then.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import common


def main() -> int:
    folder = Path(sys.argv[1])
    path = folder / "measured.json"
    goes = json.loads(path.read_text()) if path.exists() else []
    runs = len(list((folder / "runs").glob("*.parquet")))
    seed = json.loads((folder / "run.json").read_text())["seed"]
    goes.append({**common.header([seed]), "runs": runs})
    path.write_text(json.dumps(goes, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
