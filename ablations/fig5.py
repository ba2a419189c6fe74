"""Figure 5a of MacTok: the KL over the training."""

from ablations.fig1 import figure
from harness.experiments.study import Row

study = figure(
    "Figure 5a: KL over the training",
    "Does the KL of a plain KL-VAE fall to nothing, and that of masked and aligned ones not?",
    "Fig. 5a",
    (Row("image masking", "image_masking"), Row("MacTok", "mactok")),
    "masking and alignment prevent collapse",
)
