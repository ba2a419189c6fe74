"""Figure 1 of MacTok: collapse, and what prevents it. Figures 5a and 7 are declared by the same function."""

from harness.evaluation.collapse import COLLAPSED_SHARE
from harness.experiments.claims import Claim, Difference, Level
from harness.experiments.study import Ablation, Row

COLLAPSES = "the plain KL-VAE collapses"
LATENT = Row("latent masking", "latent_masking")


def figure(title: str, question: str, source: str, rows: tuple[Row, ...], prevents: str) -> Ablation:
    """Curves over the training of the plain KL-VAE and of `rows`, the last of which is said to prevent collapse."""
    claims: list[Claim] = [
        Level(COLLAPSES, source, "information_kept", "KL-VAE", COLLAPSED_SHARE, side=-1),
        Difference(prevents, source, "information_kept", rows[-1].name, "KL-VAE", side=+1, premise=COLLAPSES),
    ]
    if LATENT in rows:
        says, of = "latent masking delays collapse", "information_lost_at"
        claims.append(Difference(says, source, of, LATENT.name, "KL-VAE", side=+1, premise=COLLAPSES))
    return Ablation(
        title=title,
        question=question,
        published_table="",
        figure="curves",
        rungs={"kl": "collapsing"},
        rows=(Row("KL-VAE", "kl_vae"), *rows),
        fields={"finetuning.on": False, "generator.on": False},
        claims=tuple(claims),
        notes=(
            "At the KL weight that the scale declares as `collapsing`; the tokenizers are those of the study "
            "`collapse`.",
        ),
    )


study = figure(
    "Figure 1: collapse, and what prevents it",
    "Does a plain KL-VAE collapse, with and without latent masking, and does MacTok not?",
    "Fig. 1",
    (LATENT, Row("MacTok", "mactok")),
    "masking and alignment prevent collapse",
)
