"""Activation checkpointing: the same gradients in float64 with dropout, tokens and padding, with less memory."""

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.nn import activation_checkpointing
from sonolux.core.nn.activation_checkpointing import checkpoint_blocks, find_blocks
from sonolux.core.nn.dit import DiTND
from sonolux.core.nn.layers.dropout import keyed_dropout
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.testing.peak_memory import PeakMemory
from sonolux.core.types import Conditioning, Tokens

SIZE = 16


def unet() -> UNetND:
    return UNetND(
        2, 3, 16, (1, 2), blocks=2, attention=[1], head_dim=8, dropout=0.3, cross_attention=[1], transformer=1
    )


def dit() -> DiTND:
    return DiTND(2, 3, (4, 32, 4), patch=2, dropout=0.3, skips=True, cross_attention=True)


NETWORKS = {"unet": (unet, 9), "dit": (dit, 4)}


def make(build) -> torch.nn.Module:
    """A network in float64 whose last layers are not zero, so that all weights have a gradient."""
    network = build().double().train()
    reset_parameters(network, 0)
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return network


def loss_of(network: torch.nn.Module, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    e = network.embedding_width
    valid = torch.ones(batch, 1, SIZE, SIZE)
    valid[0, :, SIZE // 2 :] = 0
    tokens = {"text": Tokens(draw(batch, 3, e), torch.ones(batch, 3, dtype=torch.bool))}
    conditions = Conditioning(vector={"label": draw(batch, e)}, tokens=tokens, valid=valid)
    with keyed_dropout(3, range(batch), 4):
        return network(draw(batch, 3, SIZE, SIZE), torch.tensor([0.5] * batch), conditions).square().mean()


def check_same_gradients(build) -> None:
    """Loss and gradients of all weights equal those without checkpointing to 1e-12 of the largest element."""
    network = make(build)
    other = copy.deepcopy(network)
    checkpoint_blocks(other)
    losses = [loss_of(network), loss_of(other)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    for (name, p), q in zip(network.named_parameters(), other.parameters(), strict=True):
        assert p.grad is not None and float(p.grad.abs().max()) > 0, name
        assert float((p.grad - q.grad).abs().max()) <= 1e-12 * float(p.grad.abs().max()), name


@pytest.mark.parametrize("name", NETWORKS)
def test_same_gradients(name):
    check_same_gradients(NETWORKS[name][0])


@pytest.mark.parametrize("name", NETWORKS)
def test_planted_other_dropout_in_the_second_pass_is_caught(name):
    with planted_error(activation_checkpointing, "remember_dropout", nullcontext):
        assert_caught(check_same_gradients, NETWORKS[name][0], also=torch.utils.checkpoint.CheckpointError)


def check_less_memory(build, checkpointed=checkpoint_blocks) -> None:
    """The peak of a step on top of weights and gradients is below 60 % of that without checkpointing."""
    peaks = []
    for prepare in (lambda network: None, checkpointed):
        network = make(build)
        prepare(network)
        loss_of(network).backward()  # makes the gradients
        with PeakMemory() as memory:
            loss_of(network, 8).backward()
        peaks.append(memory.peak)
    assert peaks[1] < 0.6 * peaks[0], peaks


@pytest.mark.parametrize("name", NETWORKS)
def test_less_memory(name):
    check_less_memory(NETWORKS[name][0])


def test_planted_blocks_that_keep_everything_are_caught():
    assert_caught(check_less_memory, dit, lambda network: None)


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_found(name):
    build, count = NETWORKS[name]
    network = build()
    assert len(find_blocks(network)) == checkpoint_blocks(network) == count


def test_nothing_is_kept_without_gradients():
    network = make(dit)
    checkpoint_blocks(network)
    with torch.no_grad():
        assert not loss_of(network).requires_grad
    assert checkpoint_blocks(SimpleNamespace(modules=list)) == 0
