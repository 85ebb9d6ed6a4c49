"""Edits: variation, inpainting, loops, long media, interpolation; without training, on any modality."""
