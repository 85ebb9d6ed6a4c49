"""Settings of every run, tiny trained runs, and `--mutants`: planted errors with the test that caught each.

`@pytest.mark.slow` stands at tests whose cases take more than 0.3 s of processor time together; `make
test-fast` leaves them out.
Small tensors are faster on one thread, and parallel test processes do not fight for cores.
"""

import hashlib
import os
import shutil
from collections import Counter

import pytest
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")

MUTANTS: dict[str, list[str]] = {}  # test -> the errors planted in it

TINY = {
    "image": """
recipe: 1
name: tiny
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 40, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 16, stages: [1, 2], blocks: 1, attention: [1], patch: 2}
conditioning: {label: {use: class, drop: 0.3}}
train: {steps: 4, batch: 6, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 6, batch: 6, guidance: {use: cfg, scale: 2.0}}
""",
    "audio": """
recipe: 1
name: tiny
seed: 3
modality: {use: audio, rate: 4000, seconds: 0.5, channels: 1}
data: {use: audio/synth_sfx, count: 30, split: {by: hash, valid: 0.2}}
codec: {use: audio/waveform, patch: 16}
network: {use: audio/unet, width: 16, stages: [1, 1], blocks: 1, attention: [1], head_dim: 16}
conditioning: {label: {use: class, drop: 0.2}}
train: {steps: 3, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: heun, steps: 3, count: 4, batch: 4}
""",
}


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory):
    """The folder of the user's key, one for all test processes: tests never write to the home folder."""
    folder = _shared(tmp_path_factory) / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


def _shared(tmp_path_factory):
    """The folder that parallel test processes share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def tiny_recipe():
    """modality -> text of the recipe that `tiny_run` trains."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """tiny_run(modality, *changes, wake=0): the folder of a run of a few steps, trained once for the whole session.

    Parallel test processes share it: the first to ask trains, the others wait at a lock.

    Args:
        modality: A key of TINY, or a recipe's own text.
        *changes: key=value changes of the recipe.
        wake: Deviation of the weights that layers which start at zero begin with, so that levels and labels matter.
        own: A word that makes this run a test's own, to change; what has none is shared, and only read.
    """
    made, base, shared = {}, tmp_path_factory.getbasetemp(), _shared(tmp_path_factory)

    def run(modality, *changes, wake=0.0, own=""):
        asked = (modality, changes, wake, own)
        if asked not in made:
            key = hashlib.sha256(repr(asked).encode()).hexdigest()[:16]
            folder = (base if own else shared) / f"tiny-{key}"
            with FileLock(f"{folder}.lock"):
                if not (folder / "done").exists():
                    shutil.rmtree(folder, ignore_errors=True)  # of a process that was stopped
                    folder.mkdir()
                    _trained(TINY.get(modality, modality), changes, wake, folder)
                    (folder / "done").touch()
            made[asked] = folder / "run"
        return made[asked]

    return run


def _trained(text, changes, wake, folder):
    from sonolux.core.config.load import load_recipe
    from sonolux.core.nn.layers.init import normal_
    from sonolux.core.training.run import TrainingRun
    from sonolux.core.util.rng import keyed_generator

    (folder / "tiny.yaml").write_text(text)
    job = TrainingRun(load_recipe(folder / "tiny.yaml", list(changes)), folder / "run", say=lambda _: None, bar=False)
    job.prepare()
    for model in (job.trainer.model, job.trainer.ema.model) if wake else ():
        for name, p in model.named_parameters():
            if p.ndim > 1 and not p.data.any():
                normal_(p.data, keyed_generator(0, 0, "wake", name), wake)
    job.run()


def pytest_addoption(parser):
    parser.addoption("--mutants", action="store_true", help="run the planted errors alone and list what caught each")


def pytest_configure(config):
    if config.getoption("--mutants"):
        from sonolux.core.testing import mutation

        mutation.LISTENERS.append(_planted)


def pytest_make_parametrize_id(config, val, argname):
    """The name of a test is the same in every process: a mutation is named by what it does."""
    return repr(val) if type(val).__name__ == "Mutation" else None


def _planted(error):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    MUTANTS.setdefault(test, []).append(error)


def pytest_collection_modifyitems(config, items):
    # Files with many slow tests come first, so that none of them is alone on one processor at the end.
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    if config.getoption("--mutants"):
        items[:] = [item for item in items if any(word in item.name for word in ("planted", "caught", "mutant"))]


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--mutants"):
        return
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", ())]
    for test in passed:
        for error in MUTANTS.get(test, ["an error patched in by the test itself"]):
            terminalreporter.write_line(f"{error}\n    caught by {test}")
    escaped = sum(len(MUTANTS.get(r.nodeid, [r])) for r in terminalreporter.stats.get("failed", ()))
    caught = sum(len(MUTANTS.get(test, [test])) for test in passed)
    terminalreporter.write_line(f"{caught} planted errors caught, {escaped} not")
