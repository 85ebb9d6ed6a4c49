"""Training-free edits for any modality: variation, inpainting, loops, long media, inversion and interpolation."""
