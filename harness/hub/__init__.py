"""Finished tokenizers as pretrained models."""

from harness.hub.tokenizer import PretrainedTokenizer as PretrainedTokenizer
