"""The U-Net of images learns to follow its conditions."""

import pytest
import torch
from sonolux.core.conditioning.base import build_conditioning
from sonolux.core.conditioning.class_ import Class
from sonolux.core.testing.conformance import check_network
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.image.networks.unet import UNet

SIGNAL = MediaSpec("image", 1, ("height", "width"), (12, 12), classes=("bar", "stripe"), latent=(1, 12, 12))


def test_refuses_a_sequence():
    with pytest.raises(BadInput, match=r"\(C, height, width\)"):
        UNet(MediaSpec("audio", 1, ("time",), (99,), latent=(8, 50)))


def test_conforms():
    check_network(UNet(SIGNAL, 8, [1, 2], 1, [1], 8, patch=2), (1, 12, 16), wrap=(0, 1), step=4)


def test_conforms_with_references():
    model = UNet(SIGNAL, 8, [1, 2], 1, [1], 8, patch=2, concat=(2, 2))
    check_network(model, (1, 12, 16), wrap=(0, 1), step=4, concat=(2, 2))


@pytest.mark.slow
def test_overfits_two_classes():
    """Two pictures told apart by their label alone: the input is noise at every step."""
    model = UNet(SIGNAL, width=16, stages=[1, 2], blocks=1, attention=[1], head_dim=16)
    label = Class(SIGNAL, model.embedding_width)
    target = torch.zeros(2, 1, 12, 12)
    target[0, 0, :, 4:7] = 1
    target[1, 0, ::3] = 1
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([*model.parameters(), *label.parameters()], lr=3e-3)
    for _ in range(80):
        x = torch.randn(4, 1, 12, 12, generator=generator)
        out = model(x, torch.zeros(4), build_conditioning({"label": label}, {"label": [0, 1, 0, 1]}))
        loss = (out - target.repeat(2, 1, 1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.03
    unknown = model(x, torch.zeros(4), build_conditioning({"label": label}, {"label": [None] * 4}))
    assert (unknown - target.repeat(2, 1, 1, 1)).square().mean() > 0.04
