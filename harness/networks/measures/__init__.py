"""Measures: networks that judge images, one file each, found by name. One pass serves all metrics.

A measure module offers

    title: str                         the network and the layer of its features, for records and tables
    short: str                         the network in one word, for the heads of tables
    about: str                         one line
    default_px: int | None             side in pixels to which images are resized; None if the caller must give it
    resizing: str                      how they are resized, for protocols
    features: int                      width D of the pooled features
    spatial: int | None                width of the spatial features (sFID's); None if it has none
    frechet_digits, kernel_digits: int
                                       decimals of Fréchet and kernel distances on its features in tables
    classes: int | None                width C of the logits; None if it has none
    WEIGHTS: WeightsFile               describes the file of its weights, knows which one is published
    weights_file(given) -> Path        the path of its weights: `given`, or the file that is found; raises `Mistake`
    load(machine, side, weights, logits=True) -> (Tensor -> Outputs)
                                       the network, a function of uint8 images (n, 3, H, W) of any size. It takes all
                                       of them in one pass, so callers split batches that do not fit in memory. Raises
                                       `Mistake` for weights that are missing or do not fit, and for an unsupported
                                       side. Without `logits` it may skip the work that only logits need

Weights that come with no package are files: see `harness.networks.weight_files`.
"""
