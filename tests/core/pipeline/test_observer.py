"""An observer sees every step and every batch of sampling, changes nothing, and can end it."""

import pytest
import sonolux
import torch
from sonolux.core.pipeline.observer import SamplingObserver
from sonolux.core.pipeline.sample import RequestSampler
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_name


class Recorder(SamplingObserver):
    def __init__(self, ends_after=10**6):
        self.steps, self.media, self.conditions, self.ends_after = [], {}, {}, ends_after

    def on_sampling_step(self, progress):
        shapes = [tuple(one.shape) for one in progress.estimates(2)]
        self.steps.append((progress.batch, progress.batches, progress.step, progress.steps, shapes))
        if len(self.steps) == self.ends_after:
            raise InterruptedError("enough")

    def on_sampled_batch(self, media, conditions):
        self.media.update(media)
        self.conditions.update(conditions)


@pytest.fixture
def pipeline(tiny_run):
    return sonolux.load(tiny_run("image"), device="cpu")


def check_observed(pipeline):
    settings = {"count": 5, "batch": 2, "steps": 3, "seed": 1, "use": "euler"}
    pipeline.observer = None
    alone = pipeline.sample(**settings)
    pipeline.observer = recorder = Recorder()
    observed = pipeline.sample(**settings)
    expected = [(n, 3, step, 3, [(3, 16, 16)] * rows) for n, rows in enumerate((2, 2, 1)) for step in (1, 2, 3)]
    assert recorder.steps == expected
    assert sorted(recorder.media) == list(range(5)) and recorder.conditions == dict(enumerate(observed.conditions))
    for i in range(5):
        assert torch.equal(recorder.media[i], observed.media[i]) and torch.equal(observed.media[i], alone.media[i])


def test_steps_and_batches_are_seen_and_results_are_the_same(pipeline):
    check_observed(pipeline)


def test_planted_batch_number_is_caught(pipeline):
    with planted_error(RequestSampler, "_observed", swap_name("batch", "batches")):
        assert_caught(check_observed, pipeline)


def test_an_exception_ends_the_sampling(pipeline):
    pipeline.observer = recorder = Recorder(ends_after=2)
    with pytest.raises(InterruptedError, match="enough"):
        pipeline.sample(count=2, steps=50)
    assert len(recorder.steps) == 2 and recorder.media == {}


def test_the_last_estimate_of_an_exact_last_step_is_the_result(pipeline):
    """With Euler's method the last step ends at the estimate, so that the decoded estimates are the samples."""
    found = []

    class Last(SamplingObserver):
        def on_sampling_step(self, progress):
            found[:] = progress.estimates(8)

    pipeline.observer = Last()
    samples = pipeline.sample(count=3, steps=4, use="euler")
    for estimate, media in zip(found, samples.media, strict=True):
        torch.testing.assert_close(estimate, media, atol=1e-2, rtol=0)


def test_inversions_are_seen_too(pipeline, tmp_path):
    pipeline.sample(count=1, steps=1).save(tmp_path / "out")
    file = next((tmp_path / "out").glob("0000*"))
    pipeline.observer = recorder = Recorder()
    pipeline.reprompt(file, label="circle", steps=4)
    half = len(recorder.steps) // 2
    assert half > 1 and recorder.steps[:half] == recorder.steps[half:], "of the inversion, and of the sampling"
