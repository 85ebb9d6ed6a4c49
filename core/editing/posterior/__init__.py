"""Samples of p(x0 | y) for a measurement y = A x0 + noise, with a denoiser that was not trained for it."""
