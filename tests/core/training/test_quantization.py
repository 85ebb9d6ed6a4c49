"""int8 weights: the error of rounding, what is rounded, the way through a file, and files that do not fit together."""

import ast

import pytest
import torch
from safetensors.torch import load_file, save_file
from sonolux.core.testing.mutation import (
    assert_caught,
    planted_error,
    swap_attribute,
    swap_constant,
    swap_operator,
)
from sonolux.core.training import quantization
from sonolux.core.training.checkpoint import (
    CheckpointHeader,
    check_fits,
    is_whole_checkpoint,
    load_codec,
    load_weights,
    read_header,
    replace_header,
    save_checkpoint,
)
from sonolux.core.training.quantization import SCALE, stored_weights
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.image.codecs.autoencoder import Autoencoder
from torch import nn

HEADER = CheckpointHeader("recipe: 1\n", MediaSpec("image", 3, ("height", "width"), (16, 16)), 1, 0.0)


class Small(nn.Module):
    """A module with every kind of tensor: kernel, matrices, an embedding, biases, shared weights, buffers."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.conv = nn.Conv2d(8, 24, 3)
        self.linear = nn.Linear(40, 30)
        self.rows = nn.Embedding(50, 16)
        self.head = nn.Linear(12, 2)
        self.same = self.head  # shared weights
        self.register_buffer("frequencies", torch.randn(9, 5, generator=generator))
        self.register_buffer("steps", torch.arange(3, dtype=torch.int8))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)


# --- rounding ---


def check_error(shape=(40, 6, 3)):
    """In float64: rows of sizes from 1e-6 to 1e6 have errors of at most half of max / 127."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(-6, 6, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    weights = torch.randn(shape, generator=generator) * sizes
    integers, scale = quantization.quantize_weights(weights)
    exact = weights.double().flatten(1).abs().amax(1) / 127
    assert integers.dtype == torch.int8 and integers.shape == weights.shape and scale.dtype == torch.float32
    assert torch.allclose(scale.double(), exact, rtol=1e-6, atol=0)
    assert bool((integers.flatten(1).abs().amax(1) == 127).all()), "the largest weight has the largest integer"
    error = (quantization.dequantize_weights(integers, scale).double() - weights.double()).abs()
    share = error.flatten(1) / exact[:, None]
    assert share.max() <= 0.5 + 1e-4
    assert share.mean() > 0.2, "errors are uniform, of mean 1/4"


def check_multiples():
    """Multiples of a power of two are exact."""
    generator = torch.Generator().manual_seed(0)
    integers = torch.randint(-127, 128, (6, 20), generator=generator)
    integers[:, 3] = torch.tensor([127, -127, 127, -127, 127, -127])
    scale = 2.0 ** torch.tensor([-20, -7, -1, 0, 3, 10])
    weights = integers * scale[:, None]
    found, found_scale = quantization.quantize_weights(weights)
    assert torch.equal(found, integers.to(torch.int8)) and torch.equal(found_scale, scale)
    assert torch.equal(quantization.dequantize_weights(found, found_scale), weights)


@pytest.mark.parametrize("check", [check_error, check_multiples])
def test_rounding(check):
    check()


def test_the_largest_error_is_that_of_a_weight_between_two_integers():
    """127, 2.5 and -2.5 scales: the last two lie in the middle, and their error is half a scale."""
    scale = 0.25
    integers, found = quantization.quantize_weights(scale * torch.tensor([[127.0, 2.5, -2.5]]))
    error = quantization.dequantize_weights(integers, found) - scale * torch.tensor([[127.0, 2.5, -2.5]])
    assert error.abs().tolist() == [[0.0, scale / 2, scale / 2]]


def test_rows_of_zeros_and_of_tiny_numbers():
    weights = torch.tensor([[0.0, 0.0], [1e-44, -3e-45], [3e38, -1e38]])
    integers, scale = quantization.quantize_weights(weights)
    assert scale[0] == 0 and integers[0].tolist() == [0, 0] and integers[2, 0] == 127
    found = quantization.dequantize_weights(integers, scale)
    assert bool(found.isfinite().all()) and bool((found[1] - weights[1]).abs().max() <= 127 * 1.5e-45)


@pytest.mark.parametrize(
    ("name", "error", "check"),
    [
        ("quantize_weights", swap_attribute("round", "floor"), check_error),
        ("quantize_weights", swap_attribute("amax", "amin"), check_error),
        ("quantize_weights", swap_operator(ast.Div, ast.Mult, at=1), check_multiples),
        ("LEVELS", 120, check_error),
        ("LEVELS", 128, check_multiples),
        ("dequantize_weights", swap_operator(ast.Mult, ast.Add), check_multiples),
    ],
)
def test_planted_errors_of_rounding_are_caught(name, error, check):
    with planted_error(quantization, name, error):
        assert_caught(check)


# --- what is rounded ---


def check_stored(stored_type="int8"):
    """Matrices and kernels are int8, the smallest ones and vectors float16, buffers unchanged."""
    module = Small()
    found = stored_weights(module, stored_type)
    kinds = {name: value.dtype for name, value in found.items()}
    large = {"conv.weight", "linear.weight", "rows.weight"} if stored_type == "int8" else set()
    scales = {name + SCALE for name in large}
    halves = {name for name, _ in module.named_parameters(remove_duplicate=False)} - large
    assert kinds == {
        **dict.fromkeys(large, torch.int8),
        **dict.fromkeys(scales, torch.float32),
        **dict.fromkeys(halves, torch.float16),
        "frequencies": torch.float32,
        "steps": torch.int8,
    }
    assert torch.equal(found["frequencies"], module.frequencies) and torch.equal(found["steps"], module.steps)


@pytest.mark.parametrize("stored_type", quantization.STORED_TYPES)
def test_what_is_rounded(stored_type):
    check_stored(stored_type)


def test_matrices_that_remain_float16_are_few():
    """Of matrices of 1, 2, 3, 3, 91 hundredths a sixteenth remains float16: 1 + 2; both of 3 would be 9 of 100."""
    sizes = [100, 200, 300, 300, 9100]
    parameters = [torch.zeros(n // 10, 10) for n in sizes]
    assert quantization._largest_kept([*parameters, torch.zeros(5000)]) == 200
    assert quantization._largest_kept([parameters[4]]) == quantization._largest_kept([]) == 0


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("KEPT_SHARE", 1.0),
        ("KEPT_SHARE", 0.0),
        ("stored_weights", swap_operator(ast.LtE, ast.Lt)),
        ("stored_weights", swap_constant("int8", "float16")),
    ],
)
def test_planted_errors_of_the_choice_are_caught(name, error):
    with planted_error(quantization, name, error):
        assert_caught(check_stored)


# --- through a file ---


def write(path, module, stored_type="int8", part="ema"):
    save_checkpoint(path, HEADER, {part: stored_weights(module, stored_type)})
    return path


def check_round_trip(path):
    """What is loaded is float32, and differs from the module by at most half a scale, or by the rounding of float16."""
    module, loaded = Small(), Small()
    write(path, module)
    check_fits(path, loaded, "ema")
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    load_weights(path, loaded, "ema")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32} and loaded.steps.dtype == torch.int8
    for name, value in loaded.state_dict().items():
        real = module.state_dict()[name]
        most = real.abs().flatten(1).amax(1) / 254 if name in ("conv.weight", "linear.weight", "rows.weight") else None
        if most is not None:
            assert bool(((value - real).abs().flatten(1) <= 1.0001 * most[:, None]).all()) and not torch.equal(
                value, real
            )
        else:
            assert torch.equal(value, real if name in ("frequencies", "steps") else real.half().float())


def test_a_round_trip(tmp_path):
    check_round_trip(tmp_path / "c.safetensors")


def test_a_planted_error_of_a_file_is_caught(tmp_path):
    with planted_error(quantization, "dequantize_weights", swap_constant(1, 2)):  # scales along another axis
        assert_caught(check_round_trip, tmp_path / "c.safetensors", also=(RuntimeError,))


def test_another_header_leaves_the_integers(tmp_path):
    path = write(tmp_path / "c.safetensors", Small())
    before = load_file(path)
    replace_header(path, read_header(path))
    after = load_file(path)
    assert after.keys() == before.keys() and is_whole_checkpoint(path)
    assert all(after[k].dtype == before[k].dtype and torch.equal(after[k], before[k]) for k in before)


def test_the_network_of_a_codec(tmp_path):
    """A trained codec is rounded as a network is, and what it decodes differs by a few percent at most."""
    spec = HEADER.spec
    codec, loaded = (Autoencoder(spec, width=8) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for weights in codec.parameters():
        weights.data = torch.randn(weights.shape, generator=generator) / weights[0].numel() ** 0.5
    codec.latents.parts.report.copy_(torch.tensor([0.123456789, 7.0, 9.0]))
    path = write(tmp_path / "c.safetensors", codec, part="codec")
    assert sum(value.dtype == torch.int8 for value in load_file(path).values()) > 4
    load_codec(path, loaded)
    z = torch.randn(2, codec.latent, 4, 4, generator=generator)
    with torch.no_grad():
        first, second = codec.latents.decode(z), loaded.latents.decode(z)
    assert 0 < (second - first).norm() / first.norm() < 0.05
    assert torch.equal(loaded.latents.parts.report, codec.latents.parts.report), "buffers are exact"


# --- files that do not fit together ---

NAME = "ema.conv.weight"
SCALES = NAME + SCALE
DAMAGES = {
    "no scale": (lambda s: {k: v for k, v in s.items() if k != SCALES}, r"1 of int8 without scales .*conv\.weight"),
    "too few scales": (lambda s: s | {SCALES: s[SCALES][:-1]}, r"the scales of ema\.conv\.weight are F32 of"),
    "a scale for each weight": (lambda s: s | {SCALES: s[NAME].float()}, r"damaged: the scales of ema\.conv\.weight"),
    "one scale": (lambda s: s | {SCALES: torch.tensor(1.0)}, r"of shape \[\], and its weights .*\[24, 8, 3, 3\]"),
    "integers as scales": (lambda s: s | {SCALES: s[SCALES].to(torch.int8)}, r"are I8 of shape \[24\]"),
    "a scale that is NaN": (
        lambda s: s | {SCALES: s[SCALES] * torch.nan},
        r"the tensor ema\.conv\.weight\.scale contains values that are not finite",
    ),
    "an infinite scale": (
        lambda s: s | {SCALES: torch.full((24,), torch.inf)},
        r"ema\.conv\.weight\.scale contains values that are not finite",
    ),
    "scales that overflow": (
        lambda s: s | {SCALES: torch.full((24,), 3e38)},
        r"the tensor ema\.conv\.weight contains values that are not finite",
    ),
    "a scale of real weights": (
        lambda s: s | {"ema.head.bias" + SCALE: torch.ones(2)},
        r"too many \(first: head\.bias\.scale",
    ),
    "a scale of nothing": (lambda s: s | {"ema.x" + SCALE: torch.ones(2)}, r"1 tensors too many \(first: x\.scale\)"),
    "only the scale": (lambda s: {k: v for k, v in s.items() if k != NAME}, r"1 tensors missing .*1 tensors too many"),
    "another shape": (
        lambda s: s | {NAME: s[NAME][:, :-1].contiguous()},
        r"1 of other shapes \(first: conv\.weight\)",
    ),
    "a buffer of integers with scales": (
        lambda s: s | {"ema.steps" + SCALE: torch.ones(3)},
        "1 of other types .*steps",
    ),
    "a single number with a scale": (
        lambda s: s | {"ema.a": torch.tensor(1, dtype=torch.int8), "ema.a" + SCALE: torch.tensor(1.0)},
        r"the scales of ema\.a are F32 of shape \[\]",
    ),
}


def check_refused(path, name):
    damage, said = DAMAGES[name]
    save_file(damage(load_file(write(path, Small()))), path, {"sonolux": "{}"})
    module = Small()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    try:
        load_weights(path, module, "ema")
    except BadInput as error:
        message = error
    else:
        raise AssertionError("refused")
    assert len(message.lines()) == 1 and str(path) in str(message)
    with pytest.raises(BadInput, match=said):
        raise message
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items()), "nothing is half-loaded"


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_gives_one_message(tmp_path, name):
    check_refused(tmp_path / "c.safetensors", name)
