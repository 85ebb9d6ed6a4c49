"""Plans are remembered; a test that plants an error in a sampler must not meet a plan made before."""

import pytest
from sonolux.core.samplers._cache import clear_plan_cache


@pytest.fixture(autouse=True)
def no_plan_is_remembered():
    clear_plan_cache()
    yield
    clear_plan_cache()
