"""Muon: orthogonalised matrices, one step beside torch's own optimisers, and which weights it takes."""

import ast
import copy

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, call_target, planted_error, scale_expression, swap_operator
from sonolux.core.training.optimizers import muon
from sonolux.core.training.optimizers.muon import Muon, orthogonalise
from sonolux.core.types import BadInput
from torch import nn


def matrices(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def check_orthogonalised(shape):
    """U S V^T becomes U S' V^T with S' close to 1."""
    given = matrices(*shape)
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    values = u.mT @ muon.orthogonalise(given) @ v.mT
    diagonal = values.diagonal(dim1=1, dim2=2)
    assert torch.allclose(values, torch.diag_embed(diagonal), atol=1e-9), "the singular vectors changed"
    assert diagonal.min() > 0.6 and diagonal.max() < 1.25, "the singular values are not close to 1"


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 8, 8), (2, 1, 9)])
def test_orthogonalised(shape):
    check_orthogonalised(shape)


def test_planted_errors_in_the_iterations_are_caught():
    with planted_error(muon, "orthogonalise", swap_operator(ast.Add, ast.Sub)):
        assert_caught(check_orthogonalised, (3, 16, 40))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.linear = nn.Linear(8, 12)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm(12)

    def loss(self, power=2):
        hidden = self.norm(self.linear(self.table(torch.arange(5))))
        return hidden.abs().pow(power).sum() + self.conv(torch.ones(1, 3, 4, 4)).pow(power).sum()


def check_steps_of_torch(patch):
    """Three steps beside torch.optim.Muon, whose iterations are in bfloat16 and replaced, and torch.optim.AdamW."""
    patch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", lambda g, *_: orthogonalise(g[None])[0])
    torch.manual_seed(0)
    ours = Net()
    theirs = copy.deepcopy(ours)
    optimizer = Muon(lr=0.02, weight_decay=0.1).make(ours)
    conv = nn.Parameter(theirs.conv.weight.detach().flatten(1))  # torch's takes matrices only
    matrices = [theirs.linear.weight, conv]
    rest = [theirs.table.weight], [theirs.linear.bias, theirs.conv.bias, *theirs.norm.parameters()]
    peers = [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([{"params": rest[0]}], lr=0.02, betas=(0.9, 0.99), weight_decay=0.1),
        torch.optim.AdamW([{"params": rest[1]}], lr=0.02, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    before = copy.deepcopy(ours)
    for power in (2, 3, 2):
        optimizer.zero_grad()
        ours.loss(power).backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.grad = p.grad.clone()
        conv.grad = theirs.conv.weight.grad.flatten(1)
        for one in (optimizer, *peers):
            one.step()
    with torch.no_grad():
        theirs.conv.weight.copy_(conv.view_as(theirs.conv.weight))
    for (name, p), q, start in zip(ours.named_parameters(), theirs.parameters(), before.parameters(), strict=True):
        moved, other = (p - start).detach(), (q - start).detach()
        assert (moved - other).norm() <= 1e-4 * other.norm(), f"{name} moves elsewhere"


def test_steps_of_torch(monkeypatch):
    check_steps_of_torch(monkeypatch)


@pytest.mark.parametrize("wrong", [swap_operator(ast.Pow, ast.Mult), scale_expression(call_target("max"), 0.8)])
def test_planted_errors_in_a_step_are_caught(wrong, monkeypatch):
    with planted_error(muon._MuonAdamW, "_muon", wrong):
        assert_caught(check_steps_of_torch, monkeypatch)


def test_weights_without_a_gradient_stay():
    net = Net()
    optimizer = Muon().make(net)
    net.linear.weight.sum().backward()
    before = copy.deepcopy(net.state_dict())
    optimizer.step()
    assert [k for k, v in net.state_dict().items() if not torch.equal(v, before[k])] == ["linear.weight"]


def test_a_zero_gradient_changes_nothing():
    assert not orthogonalise(torch.zeros(1, 3, 4)).any()


def test_options_out_of_range():
    for options in ({"momentum": 1.0}, {"momentum": -0.1}, {"lr": 0.0}):
        with pytest.raises(BadInput):
            Muon(**options)
