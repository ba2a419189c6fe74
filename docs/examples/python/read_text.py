"""Prints the gFD of every generator in a file of results: python read_text.py FILE."""

import json
import sys
from pathlib import Path

for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    run = json.loads(line)
    if run["stage"] == "generation":
        for record in run["result"]["records"]:
            if record["metric"] == "gfd" and record["split"] == "guided":
                print(f"{run['key']}: seed {run['experiment']['seed']}, gFD {record['value']:.1f}")
