"""The modality-independent core: schedulers, samplers, guidance, training, evaluation; `modalities/` adds the media."""

if __name__ != "sonolux.core":
    raise ImportError(
        f"imported as {__name__!r}: import sonolux.core instead (a second name would make a second copy of every class)"
    )
