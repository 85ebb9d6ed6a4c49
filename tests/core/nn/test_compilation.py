"""Compiled blocks: the same loss and gradients, the same names of weights, one function for equal blocks."""

import copy
import shutil

import pytest
import torch
from sonolux.core.nn import compilation
from sonolux.core.nn.activation_checkpointing import checkpoint_blocks
from sonolux.core.nn.compilation import compile_blocks, find_compiler_error
from sonolux.core.nn.dit import DiTND
from sonolux.core.nn.layers.dropout import keyed_dropout
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import Conditioning

SIZE = 8


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch):
    """No compiled functions of other tests, and a backend that runs the graph as it is."""
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    before = torch._dynamo.config.recompile_limit
    torch.compiler.reset()
    yield
    torch._dynamo.config.recompile_limit = before
    torch.compiler.reset()


def unet(dropout: float = 0.3) -> UNetND:
    return UNetND(2, 1, 8, (1,), blocks=1, attention=[0], head_dim=8, dropout=dropout)


def dit(dropout: float = 0.3) -> DiTND:
    return DiTND(2, 1, (2, 16, 2), patch=2, dropout=dropout)


def make(build) -> torch.nn.Module:
    """A network in float64 whose last layers are not zero, so that all weights have a gradient."""
    network = build().double().train()
    reset_parameters(network, 0)
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return network


def loss_of(network: torch.nn.Module, step: int = 0) -> torch.Tensor:
    x = torch.randn(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    with keyed_dropout(3, range(2), step):
        return network(x, torch.tensor([0.2, 0.7]), Conditioning()).square().mean()


def check_same_gradients(build, checkpointed: bool = False) -> None:
    """Losses of two steps and their gradients equal those that are not compiled, to 1e-12 of the largest element."""
    network = make(build)
    other = copy.deepcopy(network)
    assert compile_blocks(other) > 0
    if checkpointed:
        checkpoint_blocks(other)
    assert list(network.state_dict()) == list(other.state_dict())
    for step in range(2):
        losses = [loss_of(network, step), loss_of(other, step)]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-12)
        for loss in losses:
            loss.backward()
    for (name, p), q in zip(network.named_parameters(), other.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None and float(p.grad.abs().max()) > 0, name
        assert float((p.grad - q.grad).abs().max()) <= 1e-12 * float(p.grad.abs().max()), name


@pytest.mark.parametrize("build", [unet, dit])
def test_same_gradients(build):
    check_same_gradients(build)


def test_same_gradients_with_activation_checkpointing():
    check_same_gradients(dit, checkpointed=True)


def test_planted_errors_are_caught(monkeypatch):
    def inexact(graph, inputs):
        return lambda *given: [one * (1 + 1e-9) for one in graph(*given)]

    monkeypatch.setattr(compilation, "BACKEND", inexact)
    assert_caught(check_same_gradients, dit)


def test_equal_blocks_are_compiled_once(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(compilation, "BACKEND", backend)
    network = make(lambda: DiTND(2, 1, (4, 16, 2), patch=2))
    assert compile_blocks(network) == 4
    for step in range(3):
        loss_of(network, step).backward()
    # One graph without breaks for all blocks, or two: the memory layout of what enters the first block may differ.
    assert 1 <= len(graphs) <= 2


def test_steps_with_dropout_compile_nothing_again(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(compilation, "BACKEND", backend)
    network = make(dit)
    compile_blocks(network)
    loss_of(network)
    first = len(graphs)
    for step in range(1, 12):
        loss_of(network, step)
    assert len(graphs) == first


def test_network_with_many_different_blocks_is_compiled_in_full(monkeypatch):
    """More shapes than torch compiles by default for one function, after which it would silently compile no more."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(compilation, "BACKEND", backend)
    network = make(lambda: UNetND(1, 1, 8, (1, 2, 3, 4, 5), blocks=1, dropout=0.0))
    count = compile_blocks(network)
    network(torch.randn(1, 1, 32).double(), torch.tensor([0.5]), Conditioning())
    assert len(graphs) > 8 and count >= len(graphs)


def test_compiler_that_fails_is_named(monkeypatch):
    def broken(graph, inputs):
        raise OSError("no compiler. At all")

    assert find_compiler_error(torch.device("cpu")) is None
    monkeypatch.setattr(compilation, "BACKEND", broken)
    torch.compiler.reset()
    assert "no compiler" in (find_compiler_error(torch.device("cpu")) or "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_for_the_cpu(monkeypatch):
    """With the real compiler, in float32: rounding only."""
    monkeypatch.setattr(compilation, "BACKEND", "inductor")
    network = make(lambda: UNetND(1, 1, 8, (1,), blocks=1)).float()
    other = copy.deepcopy(network)
    compile_blocks(other)
    x = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    losses = [one(x, torch.tensor([0.2, 0.7]), Conditioning()).square().mean() for one in (network, other)]
    for loss in losses:
        loss.backward()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for p, q in zip(network.parameters(), other.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        assert float((p.grad - q.grad).abs().max()) <= 1e-4 * float(p.grad.abs().max())
