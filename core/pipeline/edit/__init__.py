"""Edits of files as sample requests: variations, inpainting, continuation, interpolation."""
