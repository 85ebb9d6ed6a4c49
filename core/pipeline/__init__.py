"""A trained model in use: load a checkpoint, ask for samples or edits of files, save what was made."""
