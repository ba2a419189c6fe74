"""A variant: MacTok with at most 30 % of the image hidden, where the paper hides up to 70 %."""

from models.variants import VARIANTS, Variant

# On top of `mactok`, one field of models.config.Tokenizer is set.
VARIANTS["gentle_masking"] = Variant("MacTok, at most 30 % of an image masked", "mactok", {"masking.max_ratio": 0.3})
