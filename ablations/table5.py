"""Table 5 of MacTok: what each part adds, over the foils of its Figures 1, 5a, 7 and 11."""

from harness.study import Ablation, Row

study = Ablation(
    title="Table 5: what each part of MacTok adds",
    question="Which part keeps a KL-VAE tokenizer from collapse, and what does each part add to its latents?",
    published_table="5",
    rows=(
        Row("autoencoder", "autoencoder"),
        Row("KL-VAE", "kl_vae"),
        Row("latent masking", "latent_masking"),
        Row("+ random mask", "image_masking", base="KL-VAE", published="+ random mask"),
        Row("+ local alignment", "local_alignment", base="+ random mask", published="+ local alignment"),
        Row("+ semantic mask", "mactok_no_global", base="+ local alignment", published="+ semantic mask"),
        Row("+ global alignment", "mactok", base="+ semantic mask", published="+ global alignment"),
    ),
    notes=(
        "The paper prints no row for the autoencoder, the plain KL-VAE or latent masking; its Figures 1, 5a, 7 and 11 "
        "show the latter two as collapsed.",
        "The published rows: ImageNet at 256 px, L = 128, ViT-B for 250,000 steps, decoder fine-tuning, SiT-B for "
        "500,000 steps. Published rFID and gFID are on Inception features over 50,000 images: they stand beside ours "
        "for order, not size.",
    ),
)
