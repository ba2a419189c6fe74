"""Metrics, one file each, loaded by name. A metric module has

    title: str                         its head in tables, without unit
    about: str                         one line
    unit: str                          "" if it has none
    better: str                        "higher", "lower", or "" if neither is better
    digits: int | str                  decimals in tables; for a distance, the attribute of the measure that holds
                                       them: `frechet_digits` or `kernel_digits`
    bounds: tuple                      optional, the least and the largest value that is possible: intervals end there
    splits: tuple                      the validation splits, or the sets of generated images, that it measures
    names: tuple                       optional, for a metric on the network of the experiment's measure. Two names:
                                       one to precede the name of a network other than Lite2, and one for numbers that
                                       meet a protocol of the literature (None if no protocol defines the metric)
    tables: tuple                      optional, for a metric that a user adds: the tables of a page that it stands in,
                                       of `harness.experiments.plugin_metrics.TABLES`
    measure(m) -> Value | None         None if it is not defined
    protocol(m) -> str                 everything needed to repeat the measurement

where m is a `Reconstructed` (a tokenizer on a validation split) or a `Generated` (a set of images with the training set
as reference). The sets are `samples` (without guidance), `guided` (with guidance), `prior` (decoded from noise) and
`reconstructions` (of training images: what the decoder makes of perfect latents); for comparison there are `real` (the
images of val), `fresh` (further images of the training law), `mean image` and `noise` (pixel noise). Both classes
compute everything once for all metrics, and hold images in memory chunk by chunk.
"""
