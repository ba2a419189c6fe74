"""Networks that are not trained: teachers, perceptual distances, measures."""
