"""Layouts of released checkpoints, one file each, found by name. A layout offers

    IGNORED = (...)
        prefixes of tensors that only training reads, or nobody
    tokenizer(released, image_size) -> harness.hub.checkpoint.Converted
        of a layout of tokenizers; `image_size` is None unless the user says it, and only counts if no tensor tells it
    generator(released) -> harness.hub.generator.GeneratorConfig, tensors
        of a layout of generators: velocities in our direction, x_t = (1 - t) x_0 + t eps

`released` is a `harness.hub.checkpoint.Checkpoint`, which notes what is missing. A conversion is exact: in float32 the
outputs differ by rounding alone.
"""
