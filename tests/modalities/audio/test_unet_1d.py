"""The U-Net of sound learns to tell noise levels apart."""

import pytest
import torch
from sonolux.core.testing.conformance import check_network
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.networks.unet import UNet

SIGNAL = MediaSpec("audio", 1, ("time",), (400,), (8000,), latent=(4, 50))


def test_refuses_a_picture():
    with pytest.raises(BadInput, match=r"\(C, frames\)"):
        UNet(MediaSpec("image", 1, ("height", "width"), (8, 8), latent=(1, 8, 8)))


def test_conforms():
    check_network(UNet(SIGNAL, 8, [1, 1], 1, [1], 8, positions=2), (4, 16), wrap=(0,), step=2)


@pytest.mark.slow
def test_learns_a_filter_that_depends_on_the_level():
    """Target: the input at level 1, its reverse sign at level -1; odd length."""
    model = UNet(SIGNAL, width=16, stages=[1, 1], blocks=1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    level = torch.tensor([1.0, -1.0]).repeat(4)
    for _ in range(120):
        x = torch.randn(8, 4, 49, generator=generator)
        loss = (model(x, level) - x * level[:, None, None]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.15
