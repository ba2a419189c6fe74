"""Scales: complete base configurations. A variant sets some fields on top of a scale.

`paper256` and `paper512` have the settings of the paper (MacTok Sec. 4 and App. B). Settings that the paper does not
state are those of SoftVQ-VAE, which shares the settings that it does state, and else of the generators' publications:

    SoftVQ-VAE: size of the teacher, end of the cosine at a tenth, EMA, clipping, warm-up of LPIPS, start of the
    adversarial term. SiT: random labels of samples. LightningDiT: clipping of the generators' gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.experiments.experiment import (
    Data,
    Evaluation,
    Experiment,
    Finetuning,
    Generator,
    Guidance,
    Repa,
    Sampling,
    Training,
)
from harness.experiments.fields import with_fields
from harness.system import plugins
from harness.system.errors import unknown
from models.config import (
    SIZES,
    Adversarial,
    Alignment,
    Annealing,
    Auxiliary,
    Codes,
    Convolution,
    Gaussian,
    Lagging,
    LatentMasking,
    Masking,
    Perceptual,
    SoftCodes,
    Tokenizer,
    Transformer,
)
from models.variants import VARIANTS, fields_of, rungs_of

Rungs = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Scale:
    """A named base experiment: the plain autoencoder, with the values of every part that a variant may switch on.

    `ladders` hold settings that differ between scales: a row names a rung of a ladder, and the rung sets its fields.
    `small`: a step cannot use all cores or a whole GPU, so several stages run side by side. `meaningless`: it trains
    too little for its numbers to mean anything.
    """

    about: str
    experiment: Experiment
    ladders: dict[str, Rungs] = field(default_factory=dict)
    small: bool = False
    meaningless: bool = False

    def rungs(self, chosen: dict[str, str]) -> dict[str, object]:
        """The fields of the chosen rungs, at most one of each ladder, in one dictionary; raises `Mistake`."""
        fields: dict[str, object] = {}
        for ladder, rung in chosen.items():
            known = self.ladders.get(ladder, {})
            if rung not in known:
                raise unknown(f"{ladder} of scale {self.experiment.scale}:", rung, known)
            fields |= known[rung]
        return fields

    def variant(self, name: str) -> dict[str, object]:
        """The fields of an experiment that the variant `name` sets, by dotted path; raises `Mistake`."""
        if name not in VARIANTS:
            raise plugins.no_such("variant", name, VARIANTS)
        return self.rungs(rungs_of(name)) | {f"tokenizer.{path}": value for path, value in fields_of(name).items()}


def _size(path: str, size: Transformer) -> dict[str, object]:
    return {f"{path}.width": size.width, f"{path}.depth": size.depth, f"{path}.heads": size.heads}


def _sizes(s: Transformer, b: Transformer, large: Transformer) -> Rungs:
    """The sizes of encoder and decoder: S and B of both, and BL, a B encoder with a large decoder."""
    pairs = {"S": (s, s), "B": (b, b), "BL": (b, large)}
    return {name: _size("tokenizer.encoder", e) | _size("tokenizer.decoder", d) for name, (e, d) in pairs.items()}


def _forms(coarse: tuple[int, ...], fine: tuple[int, ...], fields: dict[str, object] | None = None) -> Rungs:
    """Latents on a grid, of as many numbers as those in a line: the levels of convolutions, and other `fields`."""
    return {
        "grid": {"tokenizer.convolution.multipliers": coarse, **(fields or {})},
        "fine grid": {"tokenizer.convolution.multipliers": fine, **(fields or {})},
    }


LIGHTNINGDIT: dict[str, object] = {
    "generator.name": "lightningdit",
    "generator.logit_normal": True,
    "generator.direction_weight": 1.0,
}


def _systems(fewer: int) -> Rungs:
    """Both generators of the scale, on its number of tokens, which stands for 128, and on `fewer`, for 64."""
    tokens: dict[str, object] = {"tokenizer.tokens": fewer}
    return {
        "sit_128": {},
        "sit_64": tokens,
        "lightningdit_128": LIGHTNINGDIT,
        "lightningdit_64": LIGHTNINGDIT | tokens,
    }


PAPER256 = Experiment(
    scale="paper256",
    data=Data(name="imagenet", image_size=256, train_images=1_281_167, val_images=50_000),
    teacher="dinov2_vitl14",
    tokenizer=Tokenizer(
        patch_size=16,
        tokens=128,
        channels=32,
        encoder=SIZES["B"],
        decoder=SIZES["B"],
        gaussian=Gaussian(kl_weight=1e-6),
        masking=Masking(max_ratio=0.7),
        latent_masking=LatentMasking(max_ratio=0.7),
        alignment=Alignment(weight=0.1, hidden=1024),
        perceptual=Perceptual(on=True, lpips=True, weight=1.0, warmup_steps=10_000),
        adversarial=Adversarial(on=True),
        annealing=Annealing(steps=125_000),
        lagging=Lagging(steps=62_500),
        dinov2_encoder=True,
    ),
    training=Training(
        steps=250_000, batch_images=256, learning_rate=1e-4, warmup_steps=5_000, final_ratio=0.1, ema_decay=0.9999
    ),
    finetuning=Finetuning(share=0.2, learning_rate=1e-4),  # 10 epochs
    evaluation=Evaluation(measure="inception", kid_subset_images=1000, probe_images=20_000),
    generator=Generator(
        size=SIZES["B"],
        training=Training(
            steps=500_000,
            batch_images=256,
            learning_rate=1e-4,
            warmup_steps=0,
            final_ratio=1.0,
            beta2=0.999,
            weight_decay=0.0,
            ema_decay=0.9999,
        ),
    ),
    guidance=Guidance(scales=(2.3,), intervals=((0.0, 0.7),), search_images=10_000),
    sampling=Sampling(
        images=50_000,
        curve_images=10_000,
        sampler="euler_maruyama",
        steps=250,
        labels="random",
        diffusion="twice_sigma",  # what the published numbers were drawn with, not what the papers print
        last_step=0.04,
    ),
)
PAPER512 = with_fields(
    PAPER256,
    {
        "scale": "paper512",
        "data.image_size": 512,
        "training.steps": 500_000,
        "training.batch_images": 128,
        "training.warmup_steps": 10_000,
        "tokenizer.annealing.steps": 250_000,
        "tokenizer.lagging.steps": 125_000,
    },
)
SIT_XL = {**_size("generator.size", SIZES["XL"]), "generator.training.steps": 4_000_000}
LIGHTNINGDIT_XL = {
    **LIGHTNINGDIT,
    **_size("generator.size", SIZES["XL"]),
    "generator.training.steps": 400_000,
    "generator.training.batch_images": 1024,
    "generator.training.learning_rate": 2e-4,
    "generator.training.beta2": 0.95,
    "sampling.sampler": "euler",  # as published: its shift of 0.3 is in its time, 1 - t, and 1 / 0.3 in ours
    "sampling.time_shift": 1 / 0.3,
    "sampling.diffusion": None,
    "sampling.last_step": None,
    "guidance.intervals": ((0.0, 0.875),),  # of its times, from 0.125 on
}


def _weights(alive: float) -> Rungs:
    """Two KL weights: the largest at which the plain KL-VAE is sure to keep its information, and one that takes all.

    Both are measured at `tiny`, see `reports/scales/tiny.md`. The other scales take the same ratio.
    """
    path = "tokenizer.gaussian.kl_weight"
    collapsing = float(f"{300 * alive:.6g}")  # as points of a sweep are: 300 * 1e-4 is not 0.03
    return {"alive": {path: alive}, "collapsing": {path: collapsing}}


FIXED: Rungs = {"each row's": {}}  # a search would take longer than the table: one scale for all rows
SEARCHED: Rungs = {"each row's": {"guidance.scales": (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)}}
PAPER_LADDERS: dict[str, Rungs] = {
    "guidance": SEARCHED,
    "kl": _weights(1e-6),
    "form": _forms((1, 1, 2, 2, 4), (1, 2, 4, 4)),
    "size": _sizes(SIZES["S"], SIZES["B"], SIZES["L"]),
    "system": {
        "sit_128": {**SIT_XL, "guidance.scales": (2.3,)},
        "sit_64": {**SIT_XL, "tokenizer.tokens": 64, "guidance.scales": (2.4,)},
        "lightningdit_128": {**LIGHTNINGDIT_XL, "guidance.scales": (2.5,)},
        "lightningdit_64": {**LIGHTNINGDIT_XL, "tokenizer.tokens": 64, "guidance.scales": (2.7,)},
    },
}
SMALL = with_fields(
    PAPER256,
    {
        "scale": "small",
        "data.image_size": 128,
        "data.val_images": 10_000,
        "teacher": "dinov2_vits14",
        "tokenizer.patch_size": 8,
        "tokenizer.tokens": 64,
        **_size("tokenizer.encoder", SIZES["S"]),
        **_size("tokenizer.decoder", SIZES["S"]),
        "tokenizer.dinov2_encoder": True,
        "tokenizer.perceptual.warmup_steps": 4_000,
        "tokenizer.adversarial.start_step": 8_000,
        "tokenizer.annealing.steps": 50_000,
        "tokenizer.lagging.steps": 25_000,
        "tokenizer.convolution.width": 64,
        "tokenizer.convolution.groups": 16,
        "training.steps": 100_000,
        "training.batch_images": 128,
        "training.warmup_steps": 2_000,
        "training.ema_decay": 0.999,
        **_size("generator.size", SIZES["S"]),
        "generator.training.steps": 100_000,
        "sampling.images": 10_000,
        "sampling.curve_images": 2_000,
        "sampling.steps": 100,
        "guidance.search_images": 2_000,
    },
)

TINY = Experiment(
    scale="tiny",
    data=Data(name="embedded", image_size=32, train_images=8192, val_images=1024),
    teacher="efficientnet_lite0",
    tokenizer=Tokenizer(
        patch_size=8,
        tokens=4,
        channels=8,
        encoder=Transformer(width=128, depth=2, heads=4),
        decoder=Transformer(width=128, depth=2, heads=4),
        gaussian=Gaussian(kl_weight=1e-4),
        masking=Masking(max_ratio=0.7),
        latent_masking=LatentMasking(max_ratio=0.7),
        alignment=Alignment(weight=0.1, hidden=256),
        perceptual=Perceptual(on=True, weight=0.005, batch_share=0.125, warmup_steps=100),
        adversarial=Adversarial(features="efficientnet_lite0", start_step=2500, learning_rate=1e-3, lecam_decay=0.99),
        annealing=Annealing(steps=2000),
        lagging=Lagging(steps=1000),
        soft_codes=SoftCodes(codes=256),
        codes=Codes(codes=256),
        auxiliary=Auxiliary(size=Transformer(width=64, depth=1, heads=2)),
        convolution=Convolution(width=8, blocks=1, groups=2),
    ),
    training=Training(steps=4000, batch_images=64, learning_rate=3e-3, warmup_steps=100, ema_decay=0.99),
    finetuning=Finetuning(learning_rate=1e-3),
    evaluation=Evaluation(metrics_px=64, probe_images=4096),
    generator=Generator(
        size=Transformer(width=128, depth=4, heads=4),
        training=Training(
            steps=1500, batch_images=256, learning_rate=3e-3, warmup_steps=50, final_ratio=1.0, ema_decay=0.99
        ),
        repa=Repa(depth=2, hidden=256),
    ),
    guidance=Guidance(scales=(2.3,), search_images=1024),
    sampling=Sampling(images=2048, curve_images=256, sampler="euler", steps=25),
)


SCALES: dict[str, Scale] = {
    "smoke": Scale(
        "seconds: checks that everything works; its numbers mean nothing",
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
                adversarial=Adversarial(
                    features="efficientnet_lite0", start_step=20, learning_rate=1e-3, lecam_decay=0.9
                ),
                annealing=Annealing(steps=20),
                lagging=Lagging(steps=10),
                soft_codes=SoftCodes(codes=32),
                codes=Codes(codes=32),
                auxiliary=Auxiliary(size=Transformer(width=32, depth=1, heads=2)),
                convolution=Convolution(width=8, blocks=1, groups=2),
            ),
            training=Training(steps=40, batch_images=16, learning_rate=2e-3, warmup_steps=4, ema_decay=0.9),
            finetuning=Finetuning(learning_rate=1e-3),
            evaluation=Evaluation(metrics_px=64, kid_subset_images=50, kid_subsets=20, probe_images=256),
            generator=Generator(
                size=Transformer(width=32, depth=2, heads=2),
                training=Training(
                    steps=40, batch_images=32, learning_rate=2e-3, warmup_steps=4, final_ratio=1.0, ema_decay=0.9
                ),
                repa=Repa(depth=1, hidden=64),
            ),
            guidance=Guidance(scales=(2.3,), search_images=130),
            sampling=Sampling(images=160, curve_images=64, steps=4),
        ),
        {
            "size": _sizes(Transformer(16, 1, 1), Transformer(32, 1, 2), Transformer(48, 2, 2)),
            "system": _systems(4),
            "guidance": FIXED,
            "kl": _weights(1e-3),
            "form": _forms((1, 2, 2, 2), (1, 2, 2, 2), {"tokenizer.patch_size": 8}),  # 32 numbers: no finer grid
        },
        meaningless=True,
    ),
    "tiny": Scale(
        "minutes on two CPU cores, on the embedded images",
        TINY,
        {
            "size": _sizes(Transformer(64, 2, 2), Transformer(128, 2, 4), Transformer(192, 4, 4)),
            "system": _systems(2),
            "guidance": FIXED,
            "kl": _weights(1e-4),
            "form": _forms((1, 2, 4, 8), (1, 2, 4, 8)),  # 32 numbers: no finer grid
        },
        small=True,
    ),
    "gpu": Scale(
        "minutes on one GPU, on the embedded images at 64 px: no download",
        with_fields(
            TINY,
            {
                "scale": "gpu",
                "data.image_size": 64,
                "data.train_images": 131_072,
                "data.val_images": 4096,
                "tokenizer.tokens": 16,
                "tokenizer.gaussian.kl_weight": 2.5e-5,  # the water level of `tiny`
                **_size("tokenizer.encoder", Transformer(256, 6, 8)),
                **_size("tokenizer.decoder", Transformer(256, 6, 8)),
                "tokenizer.perceptual.batch_share": 0.25,
                "tokenizer.perceptual.warmup_steps": 500,
                "tokenizer.adversarial.start_step": 5_000,
                "tokenizer.annealing.steps": 3_500,
                "tokenizer.lagging.steps": 1_750,
                "tokenizer.soft_codes.codes": 1024,
                "tokenizer.codes.codes": 1024,
                **_size("tokenizer.auxiliary.size", Transformer(96, 2, 3)),
                "tokenizer.convolution.width": 32,
                "tokenizer.convolution.groups": 8,
                "training.steps": 7_000,
                "training.batch_images": 128,
                "training.learning_rate": 1e-3,
                "training.warmup_steps": 500,
                "training.ema_decay": 0.999,
                "evaluation.metrics_px": 128,
                "evaluation.probe_images": 8192,
                **_size("generator.size", Transformer(256, 8, 8)),
                "generator.training.steps": 17_000,
                "generator.training.batch_images": 256,
                "generator.training.learning_rate": 1e-3,
                "generator.training.warmup_steps": 500,
                "generator.training.ema_decay": 0.999,
                "generator.repa.depth": 4,
                "sampling.images": 10_000,
                "sampling.curve_images": 2048,
                "sampling.steps": 50,
                "guidance.search_images": 2048,
            },
        ),
        {
            "size": _sizes(Transformer(128, 6, 4), Transformer(256, 6, 8), Transformer(384, 12, 6)),
            "system": _systems(8),
            "guidance": SEARCHED,
            "kl": _weights(2.5e-5),
            "form": _forms((1, 2, 2, 4), (1, 2, 2, 4)),  # 128 numbers: no finer grid
        },
        small=True,
    ),
    "small": Scale(
        "days on one GPU: ImageNet at 128 px, DINOv2-S as the teacher",
        SMALL,
        {
            "size": {  # all from scratch: no DINOv2 is as small as S here
                name: {**fields, "tokenizer.dinov2_encoder": False}
                for name, fields in _sizes(Transformer(192, 12, 3), SIZES["S"], SIZES["B"]).items()
            },
            "system": _systems(32),
            "guidance": SEARCHED,
            "kl": _weights(1e-6),
            "form": _forms((1, 2, 2, 4), (1, 2, 4)),
        },
    ),
    "paper256": Scale("the paper's settings, ImageNet at 256 px", PAPER256, PAPER_LADDERS),
    "paper512": Scale("the paper's settings, ImageNet at 512 px", PAPER512, PAPER_LADDERS),
}


def scale(name: str) -> Scale:
    """The scale called `name`; raises `Mistake`."""
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]


def first_meaningful() -> Scale:
    """The first scale whose numbers mean something."""
    return next(known for known in SCALES.values() if not known.meaningless)


def with_variant(experiment: Experiment, name: str) -> Experiment:
    """`experiment`, of a scale, with the fields of the variant `name` set; raises `Mistake`."""
    return with_fields(experiment, scale(experiment.scale).variant(name))
