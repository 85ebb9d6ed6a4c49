"""Settings of the tests with generated input: the same cases in every run, their number from SONOLUX_FUZZ."""

import os

from hypothesis import HealthCheck, settings

fuzzed = settings(
    max_examples=int(os.environ.get("SONOLUX_FUZZ", "60")),
    deadline=None,
    derandomize="SONOLUX_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
