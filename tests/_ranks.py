"""One of two ranks, in a process of its own: `python tests/_ranks.py FOLDER` with the variables of torchrun.

Each scenario writes its results as rank 0 to FOLDER; the tests compare them with one process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from sonolux.core.config.load import load_recipe_text
from sonolux.core.objectives.base import StepRandomNumbers
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec, fit_conditions
from sonolux.core.training.distributed import JoinedRanks, Ranks
from sonolux.core.training.launched import join_ranks
from sonolux.core.training.run import RunFailed, TrainingRun
from sonolux.core.training.step import Trainer
from sonolux.core.types import BadInput
from sonolux.core.util.interrupts import Interrupted

# Captions are dropped nearly always, so that one rank has a gradient of the text encoder in some steps, both or none in
# others. Gradients are clipped, which needs their global norm.
SOUNDS = """
recipe: 1
name: ranks
seed: 5
modality: {use: audio, rate: 4000, seconds: 0.25, channels: 1}
data: {use: audio/synth_sfx, count: 24, padding: masked}
codec: {use: audio/waveform, patch: 16}
network:
  {use: audio/unet, width: 16, stages: [1, 1], blocks: 1, attention: [1], head_dim: 16, dropout: 0.1,
   cross_attention: [1]}
conditioning:
  caption: {use: text, encoder: {use: bytes, hidden: 16}, word_drop: 0.2, drop: 0.8}
  label: {use: class, drop: 0.5}
train:
  {steps: 6, batch: 4, precision: float32, device: cpu, workers: 0, warmup: 0, clip: 0.5, log_every: 1, save_every: 3,
   preview_every: 100, keep: 9, optimizer: {lr: 1.0e-2, weight_decay: 0.1}}
"""
VARIANTS = {"adamw": [], "accumulated": ["train.accumulate=2"], "muon": ["train.optimizer={use: muon, lr: 0.01}"]}
STEPS = 4


class Float64Trainer(Trainer):
    """Computes in float64, in which sums over ranks and over a batch agree to rounding."""

    def _encode(self, batch):
        x0, valid = super()._encode(batch)
        return x0.double(), None if valid is None else valid.double()


def train(ranks: Ranks, *changes: str) -> dict[str, torch.Tensor]:
    """Weights, their average and what every step reports, after a few steps in float64."""
    recipe = load_recipe_text(SOUNDS, overrides=list(changes), bare_section=None)
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec)
    fit_codec(parts.codec, data)
    fit_conditions(parts.model, data)
    parts.model.double()
    trainer = Float64Trainer(parts, data, torch.device("cpu"), ranks)
    trainer.shard()
    found = {}
    for step in range(STEPS):
        result = trainer.train_step(step / STEPS)
        rows = {"loss": result.loss, "per_sample": result.per_sample, "grad_norm": result.grad_norm, **result.logged}
        found |= {f"step {step} {name}": value.detach().clone() for name, value in rows.items()}
    trainer.close()
    saved = trainer.act_on_rank_0(trainer.state_to_save) or {}
    states = {name: part.state_dict() if isinstance(part, torch.nn.Module) else part for name, part in saved.items()}
    return found | {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}


def scenario_same_weights(ranks, folder):
    for name, changes in VARIANTS.items():
        write(ranks, folder / f"{name}.safetensors", train(ranks, *changes))


def scenario_planted(ranks, folder):
    """What ranks do wrong if they average gradients, forget to sum them, or count rows and noise from 0 each."""
    true = JoinedRanks.sum_gradients

    def average(self, modules):
        true(self, modules)
        for module in modules:
            for p in module.parameters():
                if p.grad is not None:
                    p.grad /= self.world

    def keep(self, modules):
        pass

    def zeros(self, modules):
        for p in modules[0].parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        true(self, modules)

    def local_rows(self, purpose, shape, true=StepRandomNumbers.normal):
        return true(
            StepRandomNumbers(self.seed, self.step, self.total, range(len(self.rows)), self.device), purpose, shape
        )

    planted = {
        "averaged": (JoinedRanks, "sum_gradients", average),
        "not summed": (JoinedRanks, "sum_gradients", keep),
        "unused weights decayed": (JoinedRanks, "sum_gradients", zeros),
        "local rows": (StepRandomNumbers, "normal", local_rows),
        "order of the ranks": (
            JoinedRanks,
            "gather_rows",
            lambda self, v: {k: self._gather(x).flatten() for k, x in v.items()},
        ),
    }
    for name, (owner, attribute, wrong) in planted.items():
        right = getattr(owner, attribute)
        setattr(owner, attribute, wrong)
        write(ranks, folder / f"{name}.safetensors", train(ranks))
        setattr(owner, attribute, right)


def scenario_one_rank_writes(ranks, folder):
    """Files that rank 1 changes below the folder of the run."""
    changed = []

    def hook(event, arguments):
        write = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if (write or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")) and "run-2" in str(arguments[0]):
            changed.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    run_training(ranks, folder / "run-2", "train.steps=3", "train.decay=none")
    counts = ranks.gather_json(changed)
    if ranks.writes:
        (folder / "changed.json").write_text(json.dumps(counts))


def scenario_resume(ranks, folder):
    """Three steps with two ranks (see above), three with one, three with two again; and the examples of each step."""
    seen, true = [], Trainer.loss

    def loss(self, batch):
        seen.extend([batch.step, row, item.source] for row, item in zip(batch.rows, batch.items, strict=True))
        return true(self, batch)

    Trainer.loss = loss
    if ranks.writes:
        run_training(Ranks(), folder / "run-2", "train.steps=6", "train.decay=none", resume=3)
    ranks.wait()
    run_training(ranks, folder / "run-2", "train.steps=9", "train.decay=none", resume=6)
    Trainer.loss = true
    both = [row for rows in ranks.gather_json(seen) for row in rows]
    if ranks.writes:
        (folder / "order.json").write_text(json.dumps(sorted(both)))


def scenario_signal_of_another_rank(ranks, folder):
    """Rank 1, which has no callbacks, receives SIGTERM in its third step."""
    true = Trainer.train_step

    def train_step(self, progress):
        if ranks.rank == 1 and self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return true(self, progress)

    Trainer.train_step = train_step
    try:
        run_training(ranks, folder / "stopped", "train.steps=1000")
        said = "not stopped"
    except Interrupted as stop:
        said = str(stop)
    Trainer.train_step = true
    report(ranks, folder / "signal.json", said)


def scenario_unusable_examples(ranks, folder):
    """Rank 1 can read nothing from the third step on."""
    true = Trainer.load

    def load(self):
        if ranks.rank == 1 and self.step == 2:
            raise BadInput("kick.wav: cannot be read")
        true(self)

    Trainer.load = load
    try:
        run_training(ranks, folder / "unusable", "train.steps=1000")
        said = "not stopped"
    except BadInput as error:
        said = str(error)
    Trainer.load = true
    report(ranks, folder / "unusable.json", said)


def scenario_minutes(ranks, folder):
    """The minutes are over after three steps by the clock of rank 0, and never by that of rank 1."""
    true = Trainer.train_step

    def train_step(self, progress):
        result = true(self, progress)
        if ranks.writes and self.step == 3:
            run.budget._before = 1e6
        return result

    Trainer.train_step = train_step
    run = made(ranks, folder / "minutes", "train.steps=null", "train.minutes=1000")
    run.prepare()
    run.run()
    Trainer.train_step = true
    report(ranks, folder / "minutes.json", "ended")


def scenario_lost_rank(ranks, folder):
    """Rank 1 is killed in its fourth step."""
    true = Trainer.train_step

    def train_step(self, progress):
        if ranks.rank == 1 and self.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return true(self, progress)

    Trainer.train_step = train_step
    try:
        run_training(ranks, folder / "lost", "train.steps=1000")
    except RunFailed as error:
        (folder / "lost.json").write_text(json.dumps(str(error)))
        os._exit(0)


def made(ranks, folder, *changes, previews=False):
    recipe = load_recipe_text(SOUNDS, overrides=list(changes), bare_section=None)
    callbacks = [PreviewCallback(recipe)] if previews else []
    made.last = TrainingRun(recipe, folder, lambda _: None, False, callbacks, ranks=ranks)
    return made.last


def run_training(ranks, folder, *changes, resume=0):
    run = made(ranks, folder, *changes)
    run.prepare(folder / f"checkpoints/step-{resume:08d}.safetensors" if resume else None)
    run.run()


def report(ranks, path, said):
    """Write what each rank said and the step at which it ended."""
    ranks.ends_together = False
    both = ranks.gather_json([said, made.last.step])
    if ranks.writes:
        path.write_text(json.dumps(both))


def write(ranks, path, tensors):
    if ranks.writes:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports the package that is tested, without torchrun's variables."""
    root = str(Path(sys.modules["sonolux"].__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def run_pair(script: str, folder: Path, codes: tuple[int, int] = (0, 0), **variables: str) -> Path:
    """Run the scenarios of a script on two ranks, which must end with these codes; the folder of the results."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(folder)],
            env=environment(RANK=rank, LOCAL_RANK=rank, **place, **variables),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        errors = [process.communicate(timeout=500)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert tuple(process.returncode for process in processes) == codes, "\n".join(errors)
    return folder


def check_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-6 of the largest element of each tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = float((found[name] - value).abs().max())
        assert error <= 1e-6 * float(value.abs().max()), f"{name}: {error}"


def run_scenarios(scenarios):
    """Run the functions of a module whose names start with `scenario_`, in their order."""
    warnings.simplefilter("ignore")
    joined = join_ranks(timeout=120)
    for name, scenario in list(scenarios.items()):
        if name.startswith("scenario_"):
            scenario(joined, Path(sys.argv[1]))


if __name__ == "__main__":
    run_scenarios(globals())
