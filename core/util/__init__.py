"""Helpers that are independent of diffusion and that every other folder may import."""
