"""Metrics, one file each, found by name. A metric module offers

    title: str                         how tables head it, without unit
    about: str                         one line
    unit: str                          "" where it has none
    better: str                        "higher", "lower" or "" where neither is
    digits: int | str                  decimals that tables print; of a distance which attribute of the measure has
                                       them, `frechet_digits` or `kernel_digits`
    splits: tuple                      what it is measured on: validation splits, or sets of generated images
    names: tuple                       optional: the metric looks through the network of the experiment's measure. How
                                       it is called before the name of another network than Lite2, and by the protocol
                                       of the literature that a number meets, None where it is defined by none
    measure(m) -> Value | None         None where it is not defined
    protocol(m) -> str                 what it takes to measure the same again

where m is a `Reconstructed`, a tokenizer on a validation split, or a `Generated`, a set of images beside the training
set. The sets are `samples` without and `guided` with guidance, `prior` decoded from noise, and to compare them with
`real`, the images of val, the `mean image` and pixel `noise`. Both compute everything once for all metrics, and hold
images in memory chunk by chunk.
"""
