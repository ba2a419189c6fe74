"""Layers and transformers of which tokenizers and generators are made."""
