"""The modality-agnostic core: schedulers, samplers, training, guidance, evaluation. It knows no pixels and no sound."""

if __name__ != "sonolux.core":
    raise ImportError(
        f"imported as {__name__!r}: import sonolux.core instead (a second name would make a second copy of every class)"
    )
