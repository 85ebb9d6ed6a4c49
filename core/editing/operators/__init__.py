"""Linear operators A with their pseudo-inverses A^+, on tensors (B, C, *spatial)."""
