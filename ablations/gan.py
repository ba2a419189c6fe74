"""The adversarial term of MacTok's objective, on and off."""

from harness.experiments.study import Ablation, Row

ON: dict[str, object] = {"tokenizer.adversarial.on": True}
OFF: dict[str, object] = {"tokenizer.adversarial.on": False}

study = Ablation(
    title="The adversarial term, on and off",
    question="Does a discriminator make reconstructions and samples more like images, and what does it cost in pixels?",
    published_table="",
    rows=(
        Row("Autoencoder", "autoencoder", fields=OFF),
        Row("Autoencoder + GAN", "autoencoder", base="Autoencoder", fields=ON),
        Row("MacTok", "mactok", fields=OFF),
        Row("MacTok + GAN", "mactok", base="MacTok", fields=ON),
    ),
    notes=(
        "The paper always trains with a discriminator and prints no row without it. At `tiny`, EfficientNet-Lite0 "
        "replaces the frozen DINO-S; the networks that measure are other members of the same family.",
    ),
)
