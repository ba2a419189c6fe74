"""Prints the numbers of every finished evaluation in a store: python read_store.py STORE."""

import sys
from pathlib import Path

from harness.store.runs import Store

store = Store(Path(sys.argv[1]))
for run in store.runs():
    if run.stage == "evaluation" and run.state == "done":
        fields = run.experiment()  # by dotted path
        print(f"{run.key}: seed {fields['seed']}, KL weight {fields['tokenizer.gaussian.kl_weight']}")
        for record in run.records():
            print(f"  {record.metric} on {record.split}: {record.value:.4g} (N = {record.n}, {record.protocol_id})")
