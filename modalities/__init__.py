"""What can be diffused: each folder is one modality with its datasets, codecs, networks, files and features."""

if __name__ != "sonolux.modalities":
    raise ImportError(
        f"imported as {__name__!r}: import sonolux.modalities instead "
        "(a second name would make a second copy of every class)"
    )
