"""The transformer of images, and how networks of images learn to follow tokens."""

import pytest
import torch
from sonolux.core.conditioning.base import Condition
from sonolux.core.config.load import load_recipe, load_recipe_text
from sonolux.core.nn import spatial
from sonolux.core.nn.dit import DiTND, TransformerSize
from sonolux.core.nn.layers.attention import CrossAttention
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.build import build_model_components
from sonolux.core.types import BadInput, Conditioning, MediaSpec, Tokens
from sonolux.modalities.image.networks.dit import DiT

PICTURES = MediaSpec("image", 1, ("height", "width"), (12, 12), latent=(1, 12, 12))


def test_refuses_a_sequence():
    with pytest.raises(BadInput, match=r"image/dit takes tensors of shape \(C, height, width\)"):
        DiT(MediaSpec("audio", 1, ("time",), (99,), latent=(8, 50)))


@pytest.mark.slow
def test_conforms():
    check_network(DiT(PICTURES, "nano", patch=4, cross_attention=True), (1, 12, 16), wrap=(0, 1), step=4)


def test_conforms_with_references():
    check_network(DiT(PICTURES, "nano", patch=4, concat=(2,)), (1, 12, 16), wrap=(0, 1), step=4, concat=(2,))


class Caption(Condition):
    """A condition that yields tokens."""

    kind = "tokens"

    def __init__(self, width: int, drop: float = 0.1):
        super().__init__(width, drop)

    def parse(self, value):
        return value

    def from_item(self, item):
        return item.caption

    def embed(self, values):
        mask = torch.ones(len(values), 1, dtype=torch.bool, device=self.null.device)
        return Tokens(self.null.expand(len(values), 1, -1), mask)


RECIPE = """
recipe: 1
name: pictures
modality: {use: image, size: 16, channels: 1}
data: {use: image/shapes, count: 40}
codec: {use: image/pixels}
network: {use: NETWORK}
conditioning: {caption: {use: "FILE:Caption"}}
process: {schedule: rectified_flow, parameterization: x0}
objective: {loss_space: flow}
train: {steps: 3, batch: 4, device: cpu, precision: float32}
"""


def recipe(network: str):
    return load_recipe_text(RECIPE.replace("NETWORK", network).replace("FILE", __file__), allow_code=True)


@pytest.mark.parametrize(
    ("network", "value"),
    [("image/unet, width: 8, head_dim: 8", "[1]"), ("image/dit, size: nano", "true")],
    ids=["unet", "dit"],
)
def test_tokens_need_an_option_which_the_message_names(network, value):
    key = f"network.cross_attention={value}"
    with pytest.raises(BadInput) as raised:
        recipe(network)
    assert f"set {key}, or remove the condition (conditioning.caption=null)" in str(raised.value)
    made = recipe(f"{network}, cross_attention: {value}")
    parts = build_model_components(made, made.modality.build().spec())
    assert "tokens" in parts.model.network.accepts


@pytest.mark.parametrize(
    ("network", "value"), [("image/unet, width: 8, head_dim: 8", "[1]"), ("image/dit, size: nano", "true")]
)
def test_attention_to_no_tokens_is_refused(network, value, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.replace("NETWORK", f"{network}, cross_attention: {value}").replace("FILE", __file__))
    stored = load_recipe(file).dump()
    changes = ["conditioning.caption=null"]
    without = f"network.cross_attention={'false' if value == 'true' else '[]'}"
    for more in ([], ["conditioning.label=class"]):
        with pytest.raises(BadInput, match="is for conditions that yield tokens, and this recipe has none") as error:
            load_recipe(file, [*changes, *more])
        assert f"or leave it out ({without})" in str(error.value)
    assert not load_recipe(file, [*changes, without]).conditioning
    made = load_recipe_text(stored, overrides=changes, bare_section=None, allow_code=True)
    assert not made.conditioning, "a run that exists stays usable"


def train(model: torch.nn.Module, steps: int, lr: float) -> float:
    """The loss after training: two tokens give the two channels of a constant picture; the input is noise."""
    table = torch.randn(4, model.embedding_width, generator=torch.Generator().manual_seed(1))
    colours = torch.tensor([-1.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(steps):
        x = torch.randn(8, 2, 4, 4, generator=generator)
        chosen = torch.randint(0, 2, (8, 2), generator=generator)
        target = colours[chosen][:, :, None, None].expand(8, 2, 4, 4)
        tokens = Tokens(torch.stack([table[chosen[:, 0]], table[2 + chosen[:, 1]]], 1), torch.ones(8, 2).bool())
        loss = (model(x, torch.zeros(8), Conditioning(tokens={"caption": tokens})) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


MODELS = {
    "unet": lambda: UNetND(2, 2, width=16, stages=[1], blocks=1, head_dim=8, cross_attention=[0]),
    "dit": lambda: DiTND(2, 2, TransformerSize(2, 32, 2), cross_attention=True),
}


def check_learning(name: str) -> None:
    assert train(MODELS[name](), 60, 1e-2) < 0.1


@pytest.fixture
def attention_alone(monkeypatch):
    """The mean of the tokens, which says as much, is hidden from the networks."""
    monkeypatch.setattr(spatial, "mean_token", lambda tokens: torch.zeros_like(tokens.values[:, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_learns_to_follow_tokens_by_attention(name, attention_alone):
    check_learning(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_planted_attention_that_reads_no_values_is_caught(name, attention_alone, monkeypatch):
    forward = CrossAttention.forward
    blind = lambda self, x, tokens: forward(self, x, Tokens(torch.zeros_like(tokens.values), tokens.mask))  # noqa: E731
    monkeypatch.setattr(CrossAttention, "forward", blind)
    assert_caught(check_learning, name)
