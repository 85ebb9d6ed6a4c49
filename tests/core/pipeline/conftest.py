"""Opened runs of a few steps that the pipeline's tests share."""

import pytest
import sonolux
from sonolux.core.nn.layers.init import normal_
from sonolux.core.util.rng import keyed_generator


@pytest.fixture(scope="session")
def opened():
    """opened(run): its pipeline, with random weights also where training starts at zero."""

    def pipeline(run):
        loaded = sonolux.load(run, device="cpu", allow_code=True)  # the video example is a file
        for name, p in loaded.model.named_parameters():
            if p.ndim > 1:
                normal_(p.data, keyed_generator(0, 0, "wake", name), 0.1)
        return loaded

    return pipeline


@pytest.fixture(scope="module")
def masked_run(tiny_run):
    """The folder of a run on sounds whose padding is masked."""
    return tiny_run("audio", "data.padding=masked")


@pytest.fixture(scope="module")
def masked(masked_run, opened):
    """The same run, opened."""
    return opened(masked_run)
