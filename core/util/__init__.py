"""Helpers that know nothing of diffusion, and that every other folder may import."""
