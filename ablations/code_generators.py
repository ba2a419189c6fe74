"""Generators for codes and for continuous tokens, each on the latents that it is made for."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Generators of codes and of continuous tokens",
    question="How do autoregressive and masked generators compare with a flow, on codes and on continuous tokens?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("TiTok + SiT", "titok"),
        Row("TiTok + AR", "titok", base="TiTok + SiT", fields={"generator.name": "ar"}),
        Row("TiTok + masked", "titok", base="TiTok + SiT", fields={"generator.name": "masked"}),
        Row("MacTok + SiT", "mactok"),
        Row("MacTok + MAR", "mactok", base="MacTok + SiT", fields={"generator.name": "mar"}),
    ),
    notes=(
        "All generators have the size, the steps and the optimiser of the scale; MAR has two such transformers and a "
        "head. The head is a flow of three blocks as wide as they are, and draws in 64 rounds at most; the published "
        "MAR-B has a diffusion of six wider blocks (208M weights in all), dropout, and 128 or 256 rounds.",
    ),
)
