"""The generators of the paper on the same latents, and the parts in which they differ."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Generators on the same latents: SiT and LightningDiT",
    question="How much do the network, the times and the loss of LightningDiT improve on SiT, and how much does REPA?",
    published_table="",
    rows=(
        Row("SiT", "autoencoder"),
        Row("SiT + REPA", "autoencoder", base="SiT", fields={"generator.repa.on": True}),
        Row("LightningDiT network", "autoencoder", base="SiT", fields={"generator.name": "lightningdit"}),
        Row(
            "+ logit-normal times",
            "autoencoder",
            base="LightningDiT network",
            fields={"generator.name": "lightningdit", "generator.logit_normal": True},
        ),
        Row(
            "+ direction loss",
            "autoencoder",
            base="+ logit-normal times",
            fields={
                "generator.name": "lightningdit",
                "generator.logit_normal": True,
                "generator.direction_weight": 1.0,
            },
        ),
    ),
    notes=(
        "All rows share one tokenizer per seed, the plain autoencoder: at `tiny` the latents of Gaussian tokenizers "
        "partly collapse, and a generator can add little to them.",
        "All rows have the same optimiser, steps and guidance. `table7` has LightningDiT with its published settings.",
    ),
)
