"""Examples: files, splits, manifests, batches."""
