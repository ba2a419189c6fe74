"""Networks that judge images, one file each, found by name: each looks once, for all metrics. A measure module offers

    title: str                         the network and the layer of its features, for records and tables
    short: str                         the network in a word, for the heads of tables
    about: str                         one line
    default_px: int | None             side in pixels that images are resized to; None where the caller has to say
    resizing: str                      how, for protocols
    features: int                      width D of the pooled features
    spatial: int | None                width of the features that keep their places (sFID's); None where it has none
    frechet_digits, kernel_digits: int
                                       decimals that tables print of Fréchet and kernel distances on its features
    classes: int | None                width C of the logits; None where it has none
    weights_file(given) -> Path        where its weights are: `given`, else where they are looked for; raises `Mistake`
    load(machine, side, weights, logits=True) -> (Tensor -> Seen)
                                       the network, which takes uint8 images (n, 3, H, W) of any size and sees all of
                                       them in one pass: callers split what does not fit in memory. Raises `Mistake` for
                                       weights that are missing or are not its own, and for a side it cannot look at.
                                       Without `logits` it may spare the work that only they take

Weights that come with no package are files: `harness.networks.weight_files` says where they are looked for.
"""
