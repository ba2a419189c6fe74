"""Figure 7 of MacTok: latent masking against image masking."""

from ablations.fig1 import LATENT, figure
from harness.experiments.study import Row

study = figure(
    "Figure 7: latent masking against image masking",
    "Does latent masking only delay the collapse that image masking prevents?",
    "Fig. 7",
    (LATENT, Row("image masking", "image_masking")),
    "image masking prevents collapse",
)
