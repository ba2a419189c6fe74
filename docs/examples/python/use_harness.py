"""Runs a row of Table 5, reads its numbers and uses its tokenizer: python use_harness.py STORE."""

import sys

import torch

import harness

store = sys.argv[1]
row = {"scale": "smoke", "rows": ["mactok"], "runs": store}
print(harness.run("table5", **row))  # the path of the page; what is done is not run again

results = harness.results("table5", **row)  # a table of pandas, one number to a line
numbers = results.query("stage == 'evaluation' and split == 'val'")
print(numbers[["row", "seed", "metric", "value", "N", "protocol"]].to_string())

tokenizer = harness.load_tokenizer(numbers.run.iloc[0], runs=store)
side = tokenizer.config.image_size
images = torch.rand(2, 3, side, side) * 2 - 1  # (B, 3, S, S) in [-1, 1]
latents = tokenizer.encode(images)  # (B, L, Z)
print(tuple(latents.shape), tuple(tokenizer.decode(latents).shape))
