"""The loop under torch.compile and, where there is a GPU, without a sync and in a CUDA graph."""

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.samplers.base import run_plan
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.types import Estimate

NAMES = [n for n in registry.builtin_files("sampler") if not registry.find_class("sampler", n)().adaptive]
FLOW = RectifiedFlow()


class Network:
    """Differentiable, elementwise, and on any device."""

    def denoise(self, x, level, conditions):
        return Estimate(torch.tanh(x * 0.7) + 0.1 * level.alpha)


def case(name, device="cpu"):
    plan = registry.find_class("sampler", name)().plan(FLOW, even_tau_levels(FLOW, 5))
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).to(device)
    drawn = [torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1 + i)) for i in range(len(plan.noises))]
    return plan, x, dict(zip(plan.noises, (z.to(device) for z in drawn), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc", "heun", "euler_ancestral", "restart"])
def test_the_loop_is_one_graph(name):
    """fullgraph: no break, hence nothing that Python must look at on the way."""
    plan, x, noise = case(name)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: run_plan(plan, Network(), x, noise=noise), backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), run_plan(plan, Network(), x, noise=noise), atol=1e-6)


@pytest.mark.slow
def test_a_loop_that_looks_at_a_number_would_break_the_graph():
    plan, x, noise = case("dpmpp_2m")

    class Looking(Network):
        def denoise(self, x, level, conditions):
            return super().denoise(x if float(x.mean()) < 100 else -x, level, conditions)

    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        torch.compile(lambda x: run_plan(plan, Looking(), x, noise=noise), backend="eager", fullgraph=True)(x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_no_sync_on_a_gpu(name):
    plan, x, noise = case(name, "cuda")
    expected = run_plan(plan, Network(), x, noise=noise)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert run_plan(plan, Network(), x, noise=noise).shape == expected.shape
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_cuda_graph_replays_the_loop(name):
    plan, x, noise = case(name, "cuda")
    run_plan(plan, Network(), x, noise=noise)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = run_plan(plan, Network(), x, noise=noise)
    x.copy_(-x)
    graph.replay()
    assert torch.allclose(made, run_plan(plan, Network(), x, noise=noise), atol=1e-5)
