"""Small tensors are faster on one thread, and parallel test processes do not fight for cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
