"""Sampling in a few evaluations: plans calibrated for one trained network."""
