"""Small linear maps A with their pseudo-inverses, on tensors (B, C, *spatial)."""
