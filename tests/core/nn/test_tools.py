"""Tools that know torch's own modules find them in the networks: LoRA, quantisation, compilation, meta devices."""

import copy

import pytest
import torch
from sonolux.core.nn.layers.conv import Conv1d, Conv2d
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.layers.norm import GroupNorm
from sonolux.core.nn.unet import UNetND
from sonolux.core.types import Conditioning
from sonolux.core.util.rng import keyed_generator

LEVEL = torch.tensor([-1.0, 0.7])
OWN = (torch.nn.ModuleList, torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.GroupNorm)


def net(dims):
    made = UNetND(dims, 3, width=8, blocks=1, attention=[1], head_dim=8, patch=2, dropout=0.1)
    for name, p in made.named_parameters():
        if p.ndim > 1 and p.abs().max() == 0:
            normal_(p.data, keyed_generator(0, 0, "wake", name), 0.1)
    return made.eval()


def drawn(*shape):
    return torch.from_numpy(keyed_generator(1, 0, "x", shape).standard_normal(shape)).float()


def inputs(dims):
    return drawn(2, 3, *[8] * dims), LEVEL, Conditioning({"label": drawn(2, 16)}, wrap=(0,))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_weight_belongs_to_a_module_of_torch(dims):
    """Each parameter's module is a linear layer, a convolution or a group norm of torch, or a subclass."""
    convolution = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims]
    kinds = (torch.nn.Linear, convolution, torch.nn.GroupNorm)
    owners = [m for m in net(dims).modules() if list(m.parameters(recurse=False))]
    assert all(isinstance(m, kinds) for m in owners)
    for kind in kinds:
        assert any(isinstance(m, kind) for m in owners), kind


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2])
def test_lora_wraps_linear_layers_and_convolutions(dims):
    """At the start nothing changes; with weights in the second matrix the output moves; only the adapter learns."""
    peft = pytest.importorskip("peft")
    plain, arguments = net(dims), inputs(dims)
    targets = ["qkv", "film", "conv1"]
    config = peft.LoraConfig(r=2, target_modules=targets)
    wrapped = peft.get_peft_model(copy.deepcopy(plain), config)
    learning = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert learning and all("lora_" in name for name in learning)
    assert all(any(t in name for name in learning) for t in targets)
    torch.testing.assert_close(wrapped(*arguments), plain(*arguments), atol=1e-6, rtol=1e-6)
    for name, p in wrapped.named_parameters():
        if "lora_B" in name:
            normal_(p.data, keyed_generator(0, 0, "lora", name), 0.1)
    changed = wrapped(*arguments)
    assert not torch.allclose(changed, plain(*arguments), atol=1e-3)
    changed.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in wrapped.named_parameters() if "lora_" in n)
    x, level, _ = arguments
    merged = copy.deepcopy(wrapped).merge_and_unload()
    torch.testing.assert_close(merged(x, level), wrapped(x, level), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_dynamic_quantisation_finds_every_linear_layer():
    plain, arguments = net(1), inputs(1)
    if "qnnpack" not in torch.backends.quantized.supported_engines and "fbgemm" not in str(
        torch.backends.quantized.supported_engines
    ):
        pytest.skip("this build of torch has no quantised kernels")
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {torch.nn.Linear}, torch.qint8)
    assert not any(type(m) is torch.nn.Linear for m in small.modules())
    assert sum("quantized" in type(m).__module__ for m in small.modules()) >= sum(
        isinstance(m, torch.nn.Linear) for m in plain.modules()
    )
    expected = plain(*arguments)
    assert (small(*arguments) - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_network_is_built_on_the_meta_device_and_filled_later():
    """As sharding does: no memory first, then `reset_parameters`, which draws nothing, or loaded weights."""
    plain = net(2)
    empty = copy.deepcopy(plain).to("meta").to_empty(device="cpu")
    before = torch.get_rng_state()
    for module in empty.modules():
        if isinstance(module, (Conv1d, Conv2d, GroupNorm)):
            module.reset_parameters()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(not m.weight.any() for m in empty.modules() if isinstance(m, Conv2d))
    empty.load_state_dict(plain.state_dict(), assign=True)
    empty.level.fourier.frequencies = plain.level.fourier.frequencies
    assert torch.equal(empty(*inputs(2)), plain(*inputs(2)))


@pytest.mark.slow
def test_a_graph_holds_the_whole_network():
    """torch.export traces it without a break; the graph computes what the network does."""
    plain, arguments = net(1), inputs(1)[:2]
    with torch.no_grad():
        exported = torch.export.export(plain, arguments, strict=False)
        torch.testing.assert_close(exported.module()(*arguments), plain(*arguments))
