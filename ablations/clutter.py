"""One to four objects in an image: what few tokens, and a teacher with one class token, make of clutter."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Clutter",
    question="Do masking and alignment help as much where an image has several objects?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    fields={"data.name": "embedded", "data.argument": ""},
    rows=tuple(
        Row(f"{name}, {objects}", variant, fields={} if objects == 1 else {"data.argument": f"objects={objects}"})
        for objects in (1, 2, 4)
        for name, variant in (("KL-VAE", "kl_vae"), ("MacTok", "mactok"))
    ),
    notes=(
        "The rows of one number of objects have one data set; numbers of different data sets cannot be compared. The "
        "paper names images of many objects as a limitation.",
    ),
)
