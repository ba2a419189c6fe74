"""A variant: MacTok with at most 30 % of an image masked, where the paper masks up to 70 %."""

from models.variants import Variant

# By name: what it is, the variant that it starts from, and fields of models.config.Tokenizer that it sets.
variants = {"gentle_masking": Variant("MacTok, at most 30 % of an image masked", "mactok", {"masking.max_ratio": 0.3})}
