"""Training data: files, splits, manifests, batches."""
