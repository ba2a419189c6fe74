"""From images to latents and back, and the latents that generators are trained on."""
