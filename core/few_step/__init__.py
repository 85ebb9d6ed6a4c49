"""Few-step sampling: sampler plans of few evaluations, calibrated for one trained network."""
