"""The contract of an objective: denoising's loss in any space, keyed draws, and objectives that hold a teacher."""

import copy
from dataclasses import replace

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.config.load import load_recipe
from sonolux.core.config.spec import ComponentSpec
from sonolux.core.nn.process import DiffusionProcess
from sonolux.core.noise_conditioning.c_noise import CNoise
from sonolux.core.objectives.base import LossResult, Objective, StepRandomNumbers, valid_mean
from sonolux.core.objectives.denoising import Denoising
from sonolux.core.objectives.timestep_sampling.lognormal import LogNormal
from sonolux.core.objectives.weightings.none import Unweighted
from sonolux.core.parameterizations.edm import EDM as EDMSpace
from sonolux.core.schedulers.edm import EDM
from sonolux.core.training import run as run_module
from sonolux.core.training.build import build_model_components
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import Conditioning, NoiseLevel

PREDICTIONS = {
    name: registry.find_class("parameterization", name)() for name in registry.builtin_files("parameterization")
}
PROCESS = DiffusionProcess(EDM(), EDMSpace(), CNoise())


class Zero(torch.nn.Module):
    """A network that puts out zeros."""

    def forward(self, x, level, conditions):
        return torch.zeros_like(x)


def batch(rows: int = 6, shape: tuple[int, ...] = (2, 5)) -> torch.Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def test_the_registry_knows_denoising_and_injects_the_process():
    described = registry.describe_component("objective", "denoising")
    assert {p.name for p in described.parameters if p.hidden} == {"process"}
    assert {p.name for p in described.parameters if not p.hidden} == {
        "loss_space", "timestep_sampling", "weighting", "per_element",
    }  # fmt: skip
    assert list(registry.builtin_files("objective")) == ["denoising"]
    made = ComponentSpec(
        "objective", "denoising", {"per_element": 0.25, "weighting": ComponentSpec("weighting", "edm")}
    ).build(process=PROCESS)
    assert made.process is PROCESS and made.per_element == 0.25 and type(made.weighting).__name__ == "EDM"
    plain = Denoising(PROCESS)
    assert isinstance(plain.timestep_sampling, LogNormal) and isinstance(plain.weighting, Unweighted)
    assert plain.loss_space is PROCESS.parameterization


@pytest.mark.parametrize("space", PREDICTIONS)
@pytest.mark.parametrize("output", ["eps", "v", "edm"])
def test_an_error_is_the_same_in_its_space_whatever_the_network_puts_out(space, output, objective=Denoising):
    """A network whose x0 is known has the loss of that x0 in the loss space: output space and loss space are apart."""
    process = replace(PROCESS, parameterization=PREDICTIONS[output])
    x0, eps = batch(), batch() * 0.5 + 0.1
    level = EDM().level(torch.linspace(0.2, 5, 6, dtype=torch.float64))
    guess = x0 + 0.1
    at = level.on(x0)
    x = at.alpha * x0 + at.sigma * eps
    guessed_eps = (x - at.alpha * guess) / at.sigma

    def network(x, told, conditions):
        return PREDICTIONS[output].target(guess, guessed_eps, at).float()

    found = objective(process, PREDICTIONS[space]).error(network, x0, eps, level, Conditioning())
    own = PREDICTIONS[space]
    expected = (own.target(guess, guessed_eps, at) - own.target(x0, eps, at)).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=2e-3, atol=1e-6, msg="loss of another space")


class LossInOutputSpace(Denoising):
    """The planted error: the loss space is forgotten."""

    def __init__(self, process, loss_space=None):
        super().__init__(process)


def test_planted_loss_in_the_output_space_is_caught():
    with pytest.raises(AssertionError, match="of another space"):
        test_an_error_is_the_same_in_its_space_whatever_the_network_puts_out("v", "eps", LossInOutputSpace)


@pytest.mark.parametrize("per_element", [0.0, 0.7])
def test_a_row_has_the_same_loss_in_any_part_of_the_batch(per_element):
    objective, x0 = Denoising(PROCESS, per_element=per_element), batch()
    whole = objective.loss(Zero(), x0, Conditioning(), StepRandomNumbers(3, 7, 6, range(6)))
    for rows in ([0, 1, 2, 3], [5, 2]):
        part = objective.loss(Zero(), x0[rows], Conditioning(), StepRandomNumbers(3, 7, 6, rows))
        torch.testing.assert_close(part.per_sample, whole.per_sample[rows])
        assert torch.equal(part.logged["tau"], whole.logged["tau"][rows])
    other = objective.loss(Zero(), x0, Conditioning(), StepRandomNumbers(3, 8, 6, range(6)))
    assert not torch.equal(other.per_sample, whole.per_sample)


def test_random_numbers_of_a_step_have_their_shapes():
    rng = StepRandomNumbers(3, 7, 6, [4, 1])
    assert rng.normal("x", (2, 3)).shape == (2, 2, 3) and rng.uniform("x").shape == (2,)
    u = torch.cat([StepRandomNumbers(3, 7, 6, [row]).stratified() for row in range(6)])
    assert torch.equal(u[[4, 1]], rng.stratified()) and sorted((u * 6).long().tolist()) == list(range(6))
    assert not torch.equal(rng.normal("x", (4,)), rng.normal("y", (4,)))
    assert rng.generator(0, "x").random() == StepRandomNumbers(3, 7, 6, [4]).generator(0, "x").random()


class ToyConsistency(Objective):
    """Consistency training in small (Song et al. 2023, arXiv:2303.01469, eq. 10): the teacher follows the student.

    process: schedule, parameterization and noise conditioning
    decay: of the teacher's moving average
    """

    def __init__(self, process: DiffusionProcess, decay: float = 0.5):
        self.process, self.decay = process, decay
        self.teacher: torch.nn.Module | None = None
        self.devices: list[torch.device] = []

    def hold(self, model: torch.nn.Module) -> "ToyConsistency":
        """Start the teacher from a model's weights."""
        self.teacher = copy.deepcopy(model).requires_grad_(False).eval()
        return self

    def loss(self, model, x0, conditioning, rng):
        eps, u = rng.normal("train", x0.shape[1:]), rng.stratified()
        high = self.process.schedule.level(0.1 + 5 * u)
        low = self.process.schedule.level((0.1 + 5 * u) * 0.8)

        def denoised(network: torch.nn.Module, level: NoiseLevel) -> torch.Tensor:
            at = level.on(x0)
            return self.process.denoiser(network).denoise(at.alpha * x0 + at.sigma * eps, level, conditioning).x0

        with torch.no_grad():
            target = denoised(self.teacher, low)
        error = (denoised(model, high) - target).square()
        return LossResult(valid_mean(error, conditioning.valid), {"tau": high.tau, "gap": high.tau - low.tau})

    def to(self, device):
        self.devices.append(device)
        self.teacher.to(device)

    def after_step(self, model, step):
        for mine, theirs in zip(self.teacher.parameters(), model.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - self.decay)

    def state(self):
        return {"teacher": self.teacher}


def trained(tiny_recipe, folder, monkeypatch, kind=ToyConsistency, **prepare):
    """A run of four steps with an objective that has a teacher; returns the run."""

    def parts(recipe, spec):
        made = build_model_components(recipe, spec)
        made.objective = kind(made.process).hold(made.model)
        return made

    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(tiny_recipe["image"])
    monkeypatch.setattr(run_module, "build_model_components", parts)
    recipe = load_recipe(folder / "tiny.yaml", ["train.save_every=2", "train.optimizer.lr=1e-2"])
    run = TrainingRun(recipe, folder / "run", say=lambda _: None, bar=False)
    run.prepare(**prepare)
    run.run()
    return run


def check_teacher(tiny_recipe, tmp_path, monkeypatch, kind=ToyConsistency):
    run = trained(tiny_recipe, tmp_path / "whole", monkeypatch, kind)
    teacher, student = run.parts.objective.teacher, run.trainer.model
    assert len(run.parts.objective.devices) == 1, "the teacher was moved to the device"
    moved = [not torch.equal(p, q) for p, q in zip(teacher.parameters(), student.parameters(), strict=True)]
    assert any(moved) and all(p.grad is None for p in teacher.parameters())
    middle = tmp_path / "whole/run/checkpoints/step-00000002.safetensors"
    again = trained(tiny_recipe, tmp_path / "whole", monkeypatch, kind, resume=middle)
    for p, q in zip(teacher.parameters(), again.parts.objective.teacher.parameters(), strict=True):
        assert torch.equal(p, q), "a resumed teacher is another"
    assert newest_checkpoint(tmp_path / "whole/run").name == "step-00000004.safetensors"


@pytest.mark.slow
def test_an_objective_with_a_teacher_trains_and_resumes(tiny_recipe, tmp_path, monkeypatch):
    check_teacher(tiny_recipe, tmp_path, monkeypatch)


class Forgetful(ToyConsistency):
    """The planted error: the teacher is in no checkpoint."""

    def state(self):
        return {}


@pytest.mark.slow
def test_planted_teacher_that_is_not_saved_is_caught(tiny_recipe, tmp_path, monkeypatch):
    with pytest.raises(AssertionError, match="a resumed teacher is another"):
        check_teacher(tiny_recipe, tmp_path, monkeypatch, Forgetful)
