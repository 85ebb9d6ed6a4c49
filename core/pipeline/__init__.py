"""Use of a trained model: load a checkpoint, request samples or edits of files, save the results."""
