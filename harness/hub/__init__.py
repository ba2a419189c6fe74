"""Finished tokenizers as pretrained models."""
