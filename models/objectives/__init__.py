"""What tokenizers learn: masks, terms, discriminator."""
