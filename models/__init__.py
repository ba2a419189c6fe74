"""Networks, losses (the KL divergence: `autoencoders.posterior`) and masking: pure torch, no files, no command line.

Symbols, as in the paper MacTok (arXiv 2603.29634):

    B batch · H, W image side · P patch side · N = HW / P² image tokens · L latent tokens · Z latent channels
    D width of a transformer · x image in [-1, 1] · z latent tokens (B, L, Z)
    m mask ratio of one draw · M its upper bound · c class token and p_i patch tokens of the frozen teacher
    s_i semantic score of patch i
    t time of the flow, 0 at the data and 1 at the noise · x_t = (1 - t) x_0 + t eps, where x is latents · v velocity
    y classes · w guidance scale

`models.config`, `models.costs`, `models.forms`, `models.tokenizers`, `models.generators` (the package itself) and
`models.variants` are importable without torch.
"""
