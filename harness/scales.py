"""Scales: complete base configurations. A variant is laid over a scale; the scale says all that it does not."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import unknown
from harness.experiment import Data, Evaluation, Experiment, Finetuning, Generator, Guidance, Sampling, Training
from models.config import Alignment, Gaussian, LatentMasking, Masking, Perceptual, Tokenizer, Transformer


@dataclass(frozen=True)
class Scale:
    """A named base experiment: the plain autoencoder, with the values of every part that a variant may switch on."""

    about: str
    experiment: Experiment


SCALES: dict[str, Scale] = {
    "smoke": Scale(
        "seconds: to see that everything works; its numbers mean nothing",
        Experiment(
            scale="smoke",
            data=Data(name="embedded", image_size=32, train_images=256, val_images=128),
            teacher="efficientnet_lite0",
            tokenizer=Tokenizer(
                patch_size=4,
                tokens=8,
                channels=4,
                encoder=Transformer(width=32, depth=1, heads=2),
                decoder=Transformer(width=32, depth=1, heads=2),
                gaussian=Gaussian(kl_weight=1e-3),
                masking=Masking(max_ratio=0.7),
                latent_masking=LatentMasking(max_ratio=0.7),
                alignment=Alignment(weight=0.1, hidden=64),
                perceptual=Perceptual(on=True, batch_share=0.25, warmup_steps=5),
            ),
            training=Training(steps=40, batch_images=16, learning_rate=2e-3, warmup_steps=4, ema_decay=0.9),
            finetuning=Finetuning(learning_rate=1e-3),
            evaluation=Evaluation(metrics_px=64, kid_subset_images=50, kid_subsets=20, probe_images=256),
            generator=Generator(
                size=Transformer(width=32, depth=2, heads=2),
                training=Training(
                    steps=40, batch_images=32, learning_rate=2e-3, warmup_steps=4, final_ratio=1.0, ema_decay=0.9
                ),
            ),
            guidance=Guidance(scales=(2.3,), search_images=130),
            sampling=Sampling(images=160, curve_images=130, steps=4),
        ),
    ),
    "tiny": Scale(
        "minutes on two CPU cores, on the embedded images",
        Experiment(
            scale="tiny",
            data=Data(name="embedded", image_size=32, train_images=8192, val_images=1024),
            teacher="efficientnet_lite0",
            tokenizer=Tokenizer(
                patch_size=4,
                tokens=16,
                channels=16,
                encoder=Transformer(width=128, depth=2, heads=4),
                decoder=Transformer(width=128, depth=2, heads=4),
                gaussian=Gaussian(kl_weight=3e-4),
                masking=Masking(max_ratio=0.7),
                latent_masking=LatentMasking(max_ratio=0.7),
                alignment=Alignment(weight=0.1, hidden=256),
                perceptual=Perceptual(on=True, weight=0.01, batch_share=0.25, warmup_steps=100),
            ),
            training=Training(steps=1500, batch_images=32, learning_rate=3e-3, warmup_steps=100, ema_decay=0.99),
            finetuning=Finetuning(learning_rate=1e-3),
            evaluation=Evaluation(metrics_px=64, probe_images=4096),
            generator=Generator(
                size=Transformer(width=128, depth=4, heads=4),
                training=Training(
                    steps=800, batch_images=128, learning_rate=3e-3, warmup_steps=50, final_ratio=1.0, ema_decay=0.99
                ),
            ),
            guidance=Guidance(scales=(2.3,), search_images=1024),
            sampling=Sampling(images=2048, curve_images=512, sampler="euler", steps=25),
        ),
    ),
}


def scale(name: str) -> Scale:
    """The scale called `name`; raises `Mistake`."""
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]
