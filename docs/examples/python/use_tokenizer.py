"""Encodes and decodes two images of noise with a published tokenizer: python use_tokenizer.py DIR_OR_HUB_ID."""

import sys

import torch

from harness.hub.tokenizer import PretrainedTokenizer

tokenizer = PretrainedTokenizer.from_pretrained(sys.argv[1])
side = tokenizer.config.image_size
images = torch.rand(2, 3, side, side) * 2 - 1  # (B, 3, S, S) in [-1, 1]
latents = tokenizer.encode(images)  # (B, L, Z)
print(tuple(latents.shape), tuple(tokenizer.decode(latents).shape))
