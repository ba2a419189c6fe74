"""What the checkout's `harness/objectives.py` ends with: the toy in place of the real objectives."""

OBJECTIVES |= {  # noqa: F821
    "rfd": Objective("rfd", "lower", "toy_bowl", "toy"),  # noqa: F821
    "kl": Objective("kl", "lower", "toy_bowl", "toy"),  # noqa: F821
}
PROXY_STAGE = "toy_bowl"


def stages(chosen: object) -> tuple[str, ...]:
    return ("toy_bowl",)
