"""Generators on the latents, one file each, found by name. A generator module offers

    Network(size, tokens, channels, classes)
        forward(x_t, t, y) -> v        latents (B, L, Z) at times t (B,) and classes y (B,) -> velocity (B, L, Z);
                                       y = classes stands for no class

Path, target, guidance and samplers are the same for all: `models.flow`, `models.samplers`.
"""
