"""A noise level per element, through the whole chain: clock, prediction, network, sampler; training; padding."""

import functools
import itertools
import math

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.nn.layers.block import ResidualBlock
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.layers.inputs import BlockInputs, stage_inputs
from sonolux.core.nn.model import NetworkDenoiser
from sonolux.core.nn.process import DiffusionProcess
from sonolux.core.objectives._per_element import per_element_times
from sonolux.core.objectives.base import StepRandomNumbers, valid_mean
from sonolux.core.objectives.denoising import Denoising
from sonolux.core.pipeline.functional import sample
from sonolux.core.samplers.base import run_plan
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Conditioning, MediaSpec, NoiseLevel
from sonolux.core.util.rng import KeyedNoise, keyed_generator
from sonolux.modalities.audio.networks.unet import UNet as SoundNet
from sonolux.modalities.image.networks.unet import UNet as PictureNet

SAMPLERS = {name: registry.find_class("sampler", name)() for name in registry.builtin_files("sampler")}
PREDICTIONS = {
    name: registry.find_class("parameterization", name)() for name in registry.builtin_files("parameterization")
}
CLOCKS = {
    name: registry.find_class("noise_conditioning", name)() for name in registry.builtin_files("noise_conditioning")
}
NETS = {  # odd sizes, a patch, attention: padding, folding and pooling all carry the map
    "audio": lambda: SoundNet(
        MediaSpec("audio", 1, ("time",), (99,), (8000.0,), latent=(3, 11)), 8, [1, 2], 1, [1], 8, patch=2
    ),
    "image": lambda: PictureNet(
        MediaSpec("image", 1, ("height", "width"), (9, 9), latent=(2, 7, 5)), 8, [1, 1], 1, [1], 8, patch=2
    ),
}
SHAPES = {"audio": (3, 11), "image": (2, 7, 5)}


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The network with the layers that start at zero woken, so that every path counts."""
    for name, p in net.named_parameters():
        if p.ndim > 1 and p.abs().max() == 0:
            normal_(p, keyed_generator(0, 0, "wake", name), 0.1)
    return net.requires_grad_(False)


@functools.cache
def net_of(name: str) -> torch.nn.Module:
    return awake(NETS[name]())


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def maps(
    levels: list[NoiseLevel], shape: tuple[int, ...], known=None, clean: NoiseLevel | None = None
) -> list[NoiseLevel]:
    """Every level as a map (B, 1, *spatial); clean where `known` holds."""

    def spread(v, c):
        full = torch.as_tensor(v).expand(shape[0], 1, *shape[2:])
        return full if known is None else torch.where(known, torch.as_tensor(c), full)

    clean = clean or levels[-1]
    fields = ("t", "alpha", "sigma")
    return [NoiseLevel(*(spread(getattr(a, f), getattr(clean, f)) for f in fields)) for a in levels]


def levels_for(prediction: str, steps: int = 3) -> tuple:
    """A schedule that suits the prediction, alpha = 0 included where it may be, and levels down to clean."""
    schedule = VPLinear() if prediction == "eps" else registry.find_class("schedule", SCHEDULE_OF[prediction])()
    return schedule, even_tau_levels(schedule, steps)


SCHEDULE_OF = {"edm": "edm", "v": "cosine", "flow": "rectified_flow", "x0": "rectified_flow"}
CLOCK_OF = {"edm": "c_noise", "v": "logsnr", "flow": "tau", "x0": "index", "eps": "c_noise"}


def check_constant(sampler: str, net: str, prediction: str) -> None:
    """A map of one level gives bit for bit what the number gives, in float32."""
    schedule, levels = levels_for(prediction)
    seen = NetworkDenoiser(net_of(net), PREDICTIONS[prediction], CLOCKS[CLOCK_OF[prediction]])
    shape = (2, *SHAPES[net])
    plan = SAMPLERS[sampler].plan(schedule, levels)
    mapped = SAMPLERS[sampler].plan(schedule, maps(levels, shape))
    x = drawn(*shape) * float(levels[0].sigma)
    noise = {key: drawn(*shape, seed=1 + i) for i, key in enumerate(plan.noises)}
    told = Conditioning({"label": drawn(2, net_of(net).embedding_width, seed=9)})
    one, two = run_plan(plan, seen, x, told, noise), run_plan(mapped, seen, x, told, noise)
    assert one.isfinite().all() and torch.equal(one, two), f"{(one - two).abs().max():.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_constant_map_is_the_number(sampler):
    """Each sampler with every prediction and both networks, in turn: what a network does with a map is its own."""
    for i, prediction in enumerate(PREDICTIONS, list(SAMPLERS).index(sampler)):
        check_constant(sampler, list(NETS)[i % 2], prediction)


def check_clock(clock: str) -> None:
    """Thousands of levels: a logarithm that rounds otherwise in a map would show."""
    for name in registry.builtin_files("schedule"):
        schedule = registry.find_class("schedule", name)()
        t = torch.linspace(schedule.t_min, schedule.t_max, 3001, dtype=torch.float64)
        level = schedule.level(t)
        read = torch.as_tensor(CLOCKS[clock].embedding_value(level)).tolist()
        fields = zip(level.t.tolist(), level.alpha.tolist(), level.sigma.tolist(), strict=True)
        assert read == [CLOCKS[clock].embedding_value(NoiseLevel(*one)) for one in fields], name


@pytest.mark.slow
@pytest.mark.parametrize("clock", CLOCKS)
def test_every_clock_reads_a_map_as_it_reads_numbers(clock):
    check_clock(clock)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_scales_a_map_as_it_scales_numbers(prediction):
    made = PREDICTIONS[prediction]
    level = EDM().level(torch.logspace(-3, 2, 2001, dtype=torch.float64))
    own = [NoiseLevel(*one) for one in zip(level.t.tolist(), level.alpha.tolist(), level.sigma.tolist(), strict=True)]
    assert torch.as_tensor(made.input_scale(level)).tolist() == [made.input_scale(one) for one in own]
    if prediction != "x0":
        columns = [[float(v) for v in made.coefficients(one)] for one in own]
        assert torch.stack(made.coefficients(level)).T.tolist() == columns


# --- part clean, part noisy ---


def check_half_clean(sampler: str, net: str, prediction: str) -> None:
    """The clean half is kept exactly, the other half is finite and depends on it."""
    schedule, levels = levels_for(prediction)
    seen = NetworkDenoiser(net_of(net), PREDICTIONS[prediction], CLOCKS[CLOCK_OF[prediction]])
    shape = (2, *SHAPES[net])
    known = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool)
    known[..., : shape[-1] // 2] = True
    plan = SAMPLERS[sampler].plan(schedule, maps(levels, shape, known, schedule.clean()))
    # Two samples that differ in what is known alone.
    noise = {key: drawn(1, *shape[1:], seed=1 + i).expand(shape) for i, key in enumerate(plan.noises)}
    start, given = drawn(1, *shape[1:]) * float(levels[0].sigma), drawn(*shape, seed=5)
    out = run_plan(plan, seen, torch.where(known, given, start), noise=noise)
    assert torch.equal(torch.where(known, out, 0), torch.where(known, given, 0)) and out.isfinite().all()
    left = torch.where(known, 0, out)
    assert not torch.allclose(left[0], left[1], atol=1e-5), "what is known tells of what is not"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_clean_half_is_kept_exactly(sampler):
    for i, prediction in enumerate(PREDICTIONS):
        check_half_clean(sampler, ("audio", "image")[i % 2], prediction)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_both_ends_inside_a_map_are_finite(prediction):
    """Clean data and, except for eps, pure noise side by side; a clean element is its own estimate, bit for bit."""
    made, x, output = PREDICTIONS[prediction], drawn(1, 2, 3), drawn(1, 2, 3, seed=1)
    alpha = torch.tensor([[[1.0, 0.6, 0.6 if prediction == "eps" else 0.0]]], dtype=torch.float64)
    level = NoiseLevel(alpha * 0, alpha, (1 - alpha**2).sqrt())
    x0 = made.x0(x, output, level)
    assert x0.isfinite().all() and torch.as_tensor(made.gain(level)).isfinite().all()
    assert torch.as_tensor(made.input_scale(level)).isfinite().all() and made.target(x, output, level).isfinite().all()
    assert torch.equal(x0[..., 0], (output if prediction == "x0" else x)[..., 0])


def test_eps_at_alpha_zero_inside_a_map_is_refused():
    schedule = registry.find_class("schedule", "rectified_flow")()
    seen = NetworkDenoiser(net_of("audio"), PREDICTIONS["eps"], CLOCKS["tau"])
    known = torch.arange(11) < 5
    levels = maps(even_tau_levels(schedule, 3), (1, 3, 11), known, schedule.clean())
    with pytest.raises(BadInput, match="parameterization: v"):
        sample(seen, (1, 3, 11), schedule, timesteps=levels)
    with pytest.raises(BadInput, match="parameterization: v"):
        seen.denoise(drawn(1, 3, 11), NoiseLevel(1.0, 0.0, 1.0), Conditioning())


# --- the noise level at each position ---


def check_stages(dims: int) -> None:
    """Each stage's embedding from its definition, position by position; padding left out of the means."""
    net, size, patch = net_of("image" if dims == 2 else "audio"), (12, 8)[:dims], 2
    level = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(2))
    level[0, 0, :4] = level[0].flatten()[0]
    valid = (torch.arange(size[0]) < 9).float().reshape(-1, *[1] * (dims - 1)).expand(2, 1, *size).clone()
    added = drawn(2, net.embedding_width, seed=3)
    for i, told in enumerate(stage_inputs(net.level, level, added, valid, (), dims, patch, 2)):
        step = patch * 2**i
        for at in itertools.product(range(2), *(range(n // step) for n in size)):
            block = (at[0], 0, *(slice(step * k, step * (k + 1)) for k in at[1:]))
            there = valid[block] > 0
            assert bool(told.padding[at[0], 0][at[1:]]) == (not there.any())
            if there.any():
                features = net.level.fourier(level[block][there]).mean(0)
                wanted = torch.nn.functional.silu(net.level.features(features) + added[at[0]])
                assert torch.allclose(told.embedding_map[at], wanted, atol=1e-5)
                alike = bool((level[block][there] == level[at[0]].flatten()[0]).all())
                assert bool(told.same[at[0], 0][at[1:]]) == alike


@pytest.mark.parametrize("dims", [1, 2])
def test_a_position_receives_the_mean_of_what_it_covers(dims):
    check_stages(dims)


def check_film() -> None:
    """Scale and shift at every position are those that its own embedding gives, on either side of `alike`."""
    block = awake(ResidualBlock(1, 4, 4, 6)).double()
    h, row, spread = drawn(1, 4, 5).double(), drawn(1, 1, 6, seed=1).double(), drawn(1, 5, 6, seed=2).double()
    alike = torch.tensor([[[True, False, False, True, False]]])
    out = block._modulated(h, BlockInputs(row, spread, alike))
    for p in range(5):
        scale, shift = block.film(row[0, 0] if alike[0, 0, p] else spread[0, p]).chunk(2)
        normed = torch.nn.functional.group_norm(h, block.norm2.num_groups)[0, :, p]
        assert torch.allclose(out[0, :, p], normed * (1 + scale) + shift, atol=1e-9)


def test_film_is_per_position():
    check_film()


def check_mixed_net(net: str) -> None:
    """A map of a few levels acts where it differs, and a level a sample is a map of that level in each."""
    made, shape = net_of(net), (2, *SHAPES[net])
    x, level = drawn(*shape), torch.tensor([0.3, -1.0])
    spread = level.reshape(2, *[1] * (len(shape) - 1)).expand(2, 1, *shape[2:]).clone()
    assert torch.equal(made(x, level), made(x, spread))
    spread[1, ..., -1] = 2.0
    assert torch.equal(made(x, level)[0], made(x, spread)[0])
    assert (made(x, level) - made(x, spread))[1].abs().max() > 1e-3


@pytest.mark.parametrize("net", NETS)
def test_a_map_acts_where_it_differs(net):
    check_mixed_net(net)


# --- padding ---


def padded_run(size: int, filling: float, length: int = 7, net=None, level=None) -> torch.Tensor:
    """The valid part of three steps from the same noise, padded to `size` with `filling` times other noise."""
    net = net or net_of("audio")
    x = filling * drawn(1, 3, size, seed=8)
    x[..., :length] = drawn(1, 3, length) * 80
    schedule, levels = levels_for("edm")
    if level is not None:
        levels = maps(levels, (1, 3, size), torch.arange(size) < level, schedule.clean())
    valid = (torch.arange(size) < length).float().reshape(1, 1, -1)
    seen = NetworkDenoiser(net, PREDICTIONS["edm"], CLOCKS["c_noise"])
    return run_plan(SAMPLERS["heun"].plan(schedule, levels), seen, x, Conditioning(valid=valid))[..., :length]


def check_padding(**options) -> None:
    """What a valid element gets does not depend on what stands in the padding, nor on how much of it there is."""
    plain = padded_run(7, 0.0, **options)
    for size, filling in ((8, 80.0), (11, 1e4), (29, 80.0)):
        gap = (padded_run(size, filling, **options) - plain).abs().max() / plain.abs().max()
        assert gap < 1e-6, f"{gap:.1e} at {size} places"


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, 3])
def test_padding_does_not_matter(level):
    check_padding(level=level)


@pytest.mark.slow
def test_padding_does_not_matter_with_positions():
    spec = MediaSpec("audio", 1, ("time",), (99,), (8000.0,), latent=(3, 11))
    check_padding(net=awake(SoundNet(spec, 8, [1, 1], 2, [0], 8, positions=2)))


def test_a_sample_of_padding_alone_is_finite():
    x, valid = drawn(2, 3, 11), torch.zeros(2, 1, 11)
    valid[1] = 1
    out = net_of("audio")(x, torch.zeros(2), Conditioning(valid=valid))
    assert out.isfinite().all()
    lone = torch.full((2, 3, 11), math.nan)
    lone[1] = x[1]
    assert net_of("audio")(lone, torch.zeros(2), Conditioning(valid=valid)).isfinite().all(), "padding is not read"


def check_ones() -> None:
    """A mask of ones is no mask."""
    for net, made in ((name, net_of(name)) for name in NETS):
        x = drawn(2, *(n + n % 2 for n in SHAPES[net]))
        x = x[:, : SHAPES[net][0]]
        size = [n // made.factor * made.factor for n in x.shape[2:]]
        x = x[(..., *(slice(n) for n in size))]
        valid = Conditioning(valid=torch.ones(2, 1, *size))
        assert torch.allclose(made(x, torch.zeros(2), valid), made(x, torch.zeros(2)), atol=1e-5)


def test_a_mask_of_ones_is_no_mask():
    check_ones()


# --- planted errors ---


def swapped(x):
    return x.transpose(-1, -2) if x.shape[-1] == x.shape[-2] else x.flip(-1)


PLANTED = {
    "the map transposed": (lambda m: wrap(m, "_stage_means", lambda f, x, *a: f(swapped(x), *a)), check_stages, (2,)),
    "a stage's levels one place off": (
        lambda m: wrap(m, "_stage_means", lambda f, x, *a: [v.roll(1, -1) for v in f(x, *a)]),
        check_stages,
        (1,),
    ),
    "every second element instead of the mean": (
        lambda m: wrap(m, "mean_pool", lambda f, x, n: x[(..., *[slice(None, None, n)] * (x.ndim - 2))]),
        check_stages,
        (2,),
    ),
    "mask of alike positions inverted": (
        lambda m: m.setattr(torch, "where", lambda c, a, b, _w=torch.where: _w(~c, a, b)),
        check_film,
        (),
    ),
    "FiLM from the row alone": (
        lambda m: m.setattr(ResidualBlock, "_film", lambda self, e, h, _f=ResidualBlock._film: _f(self, e[:, :1], h)),
        check_film,
        (),
    ),
    "alike where a part is alike": (
        lambda m: m.setattr(BlockInputs, "__new__", _always_same()),
        check_mixed_net,
        ("audio",),
    ),
    "padding not hidden from convolutions": (
        lambda m: m.setattr(BlockInputs, "mask_padding", lambda self, x: x),
        check_padding,
        (),
    ),
    "mask inverted": (
        lambda m: m.setattr(BlockInputs, "mask_padding", _hide_what_is_valid),
        check_ones,
        (),
    ),
    "norms that count padding": (
        lambda m: m.setattr(
            "sonolux.core.nn.layers.norm.group_normalise", lambda x, g, padding=None: _group_norm(x, g)
        ),
        check_padding,
        (),
    ),
    "attention that reads padding": (
        lambda m: wrap_in(m, "sonolux.core.nn.layers.attention.attend", lambda f, q, k, v, hidden=None: f(q, k, v)),
        check_padding,
        (),
    ),
    "a map through another formula": (
        lambda m: m.setattr("sonolux.core.noise_conditioning.c_noise.clamped_log_rho", _library_log),
        check_clock,
        ("c_noise",),
    ),
    "levels rounded before they are used": (
        lambda m: m.setattr(NoiseLevel, "exact", NoiseLevel.on),
        check_constant,
        ("euler", "audio", "v"),
    ),
}


def wrap(monkeypatch, name, new):
    wrap_in(monkeypatch, f"sonolux.core.nn.layers.inputs.{name}", new)


def wrap_in(monkeypatch, path, new):
    import importlib

    module, name = path.rsplit(".", 1)
    old = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(path, lambda *a, **k: new(old, *a, **k))


def _hide_what_is_valid(self, x):
    return x if self.padding is None else x.masked_fill(~self.padding, 0)


def _always_same():
    make = BlockInputs.__new__

    def made(cls, embedding, embedding_map=None, same=None, padding=None, wrap=()):
        return make(cls, embedding, embedding_map, None if same is None else torch.ones_like(same), padding, wrap)

    return made


def _group_norm(x, groups):
    return torch.nn.functional.group_norm(x, groups, eps=1e-5)


def _library_log(level, limit):
    rho = level.rho
    if isinstance(rho, torch.Tensor):
        return torch.log(rho).clamp(-limit, limit)
    return min(max(math.log(rho), -limit), limit) if rho else -limit


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, monkeypatch):
    plant, check, arguments = PLANTED[name]
    check(*arguments)
    plant(monkeypatch)
    assert_caught(check, *arguments)


# --- training ---


def denoising(prediction: str = "edm", per_element: float = 1.0, weighting: str = "none") -> Denoising:
    process = DiffusionProcess(EDM(), PREDICTIONS[prediction], CLOCKS["c_noise"])
    times, weight = registry.find_class("times", "lognormal")(), registry.find_class("weighting", weighting)()
    return Denoising(process, None, times, weight, per_element)


def check_losses(prediction: str, weighting: str) -> None:
    """The mean, over noisy elements alone, of the weighted error at each element's own level."""
    own, shape = denoising(prediction, weighting=weighting), (3, *SHAPES["audio"])
    x0, eps = drawn(*shape), drawn(*shape, seed=1)
    t = torch.full((3, 1, 11), 0.5, dtype=torch.float64)
    t[0, 0, :4], t[1, 0, 6:] = 0.0, 2.0
    valid = torch.ones(3, 1, 11)
    valid[2, 0, 8:] = 0
    level = own.process.schedule.level(t)
    found = own.error(net_of("audio"), x0, eps, level, Conditioning(valid=valid))
    x = x0 + t.float() * eps
    output = own.process.denoiser(net_of("audio")).output(x, level, Conditioning(valid=valid))
    for b in range(3):
        kept = []
        for p in range(11):
            one = NoiseLevel(*(v[b, 0, p] for v in (level.t, level.alpha, level.sigma)))
            if one.sigma > 0 and valid[b, 0, p]:
                space = own.process.parameterization
                target = space.target(x0[b, :, p], eps[b, :, p], one)
                kept.append((output[b, :, p] - target).square() * own.weighting.weight(one, space))
        assert found[b].item() == pytest.approx(torch.stack(kept).mean().item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", registry.builtin_files("weighting"))
def test_the_loss_weighs_each_element_by_its_own_level(prediction, weighting):
    check_losses(prediction, weighting)


def test_a_loss_that_counts_clean_elements_is_caught(monkeypatch):
    monkeypatch.setattr("sonolux.core.objectives.denoising.valid_mean", lambda error, counted: valid_mean(error, None))
    assert_caught(check_losses, "v", "none")


def test_gradients_are_finite_next_to_clean_elements():
    net = NETS["audio"]()
    for prediction, weighting in itertools.product(("x0", "v", "edm"), registry.builtin_files("weighting")):
        own = denoising(prediction, weighting=weighting)
        t = torch.zeros(1, 1, 11, dtype=torch.float64)
        t[..., 5:] = 1.0
        level = own.process.schedule.level(t)
        own.error(net, drawn(1, 3, 11), drawn(1, 3, 11, seed=1), level, Conditioning()).sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.slow
def test_mixed_times_are_keyed_and_rare_where_they_should_be():
    own = denoising(per_element=0.5)
    t = torch.linspace(0.1, 3, 200, dtype=torch.float64)
    times, schedule = own.timestep_sampling, own.process.schedule
    rng = StepRandomNumbers(3, 7, 200, range(200))
    made = per_element_times(t, (16,), times, schedule, 0.5, rng)
    again = per_element_times(t[50:60], (16,), times, schedule, 0.5, StepRandomNumbers(3, 7, 200, range(50, 60)))
    assert made is not None and again is not None and torch.equal(made[50:60], again), "whatever the batch"
    differ = (made != t.reshape(-1, 1, 1)).flatten(1).any(1)
    assert 0.4 < differ.double().mean() < 0.6
    mixed = made[differ].flatten(1)
    assert (mixed == 0).any(1).double().mean() > 0.6, "clean parts are common"
    noisy = (mixed > 0) & (mixed != t[differ, None])
    assert noisy.any(1).double().mean() > 0.2, "so are parts at another level"
    assert (mixed > 0).any(1).double().mean() > 0.97, "and hardly any sample is clean throughout"
    started = (mixed[:, 0] == 0) & (mixed[:, -1] > 0)
    assert started.double().mean() > 0.1, "a known beginning is among them"
    assert per_element_times(t, (16,), times, schedule, 0.0, rng) is None
    pictures = per_element_times(t, (6, 9), times, schedule, 1.0, rng)
    assert pictures is not None and pictures.shape == (200, 1, 6, 9)


@pytest.mark.slow
def test_training_with_maps_teaches_to_look_at_what_is_clean():
    """The second half of each sample repeats the first: with the first half known, the second is no guess."""
    known = torch.arange(8) < 4
    halves = {}
    for share in (0.0, 1.0):
        own = denoising(per_element=share)
        net = SoundNet(MediaSpec("audio", 1, ("time",), (8,), (8000.0,), latent=(1, 8)), 16, [1, 1], 1, [1], 16)
        optimizer = torch.optim.AdamW(net.parameters(), lr=8e-3)
        for step in range(140):
            part = KeyedNoise(0, range(32), (1, 4)).normal("data", step)
            x0, eps = torch.cat([part, part], -1), KeyedNoise(0, range(32), (1, 8)).normal("eps", step)
            level = own.level((torch.arange(32).double() + 0.5) / 32)
            level = own.per_element_levels(level, (8,), StepRandomNumbers(0, step, 32, range(32)))
            own.error(net, x0, eps, level, Conditioning()).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        part = drawn(64, 1, 4, seed=77)
        x0, eps = torch.cat([part, part], -1), drawn(64, 1, 8, seed=78)
        level = own.process.schedule.level(torch.where(known, 0.0, 5.0).double().expand(64, 1, 8))
        x = x0 + level.sigma.float() * eps
        with torch.no_grad():
            found = own.process.denoiser(net).denoise(x, level, Conditioning()).x0
        halves[share] = valid_mean((found - x0).square(), (~known).float().expand(64, 1, 8)).mean().item()
    assert halves[1.0] < 0.4 and halves[1.0] < 0.7 * halves[0.0], halves
