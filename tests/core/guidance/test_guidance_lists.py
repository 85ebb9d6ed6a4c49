"""Lists of guidances: what they cost, in which order they act, what is refused, and how recipes and runs take them."""

import itertools

import pytest
import sonolux
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.autoguidance import Autoguidance
from sonolux.core.guidance.base import AuxiliaryDenoiser, GuidanceChain, SamplingRun
from sonolux.core.guidance.cfg import CFG
from sonolux.core.guidance.cfg_zero import CFGZero
from sonolux.core.guidance.cfgpp import CFGpp
from sonolux.core.guidance.composed import Composed
from sonolux.core.guidance.dynamic_threshold import DynamicThreshold
from sonolux.core.guidance.rescale import Rescale
from sonolux.core.testing.guided import SHAPE, CountingDenoiser, example_conditions, flow_level, noisy_batches
from sonolux.core.types import BadInput, Conditioning, Estimate
from sonolux.core.util.rng import KeyedNoise

RUN = SamplingRun(KeyedNoise(0, range(3), SHAPE[1:]))
X = noisy_batches(1)[0]


def called(guidances, level, conditions=None):
    """The estimate, and the rows a sample of each call of the run's own network."""
    probe = CountingDenoiser()
    made = GuidanceChain(guidances).wrap(probe, RUN).denoise(X, level, conditions or example_conditions())
    return made, [n // len(X) for n in probe.calls]


@pytest.mark.parametrize(
    ("guidances", "rows"),
    [
        ([], 1),
        ([CFG(2.0)], 2),
        ([CFG(2.0), CFGZero(3.0), APG(2.0)], 2),  # all want the null estimate: one row
        ([CFG(2.0), Rescale(), DynamicThreshold(), CFGpp(1.0)], 2),
        ([CFGpp(0.6)], 2),
        ([Composed({"a": 2.0, "b": 3.0})], 3),  # N conditions, N + 1 rows
        ([Composed({"a": 2.0, "b": 3.0}, "nested")], 3),
        ([Composed({"a": 2.0, "b": 1.0}, "nested")], 3),
        ([Composed({"a": 1.0, "b": 1.0}, "nested")], 1),
        ([Composed({"a": 1.0, "b": 0.0})], 1),
        ([Composed({"a": 2.0, "b": 3.0}), CFGpp(1.0)], 3),  # the null of both
        ([Composed({"a": 2.0, "b": 3.0}), DynamicThreshold(limit=1.0)], 3),
        ([Composed({"a": 2.0, "b": 3.0}), Rescale()], 4),  # and the estimate whose contrast is kept
        ([CFG(2.0, conditions=["a"]), CFG(3.0, conditions=["b"])], 3),
        ([CFG(2.0, conditions=["a", "b"]), CFG(3.0)], 2),  # two names for the same estimate
        ([CFG(1.0), APG(1.0), Composed({"a": 2.0}, window=(0.0, 0.1))][:2], 1),
        ([CFG(2.0, window=(0.0, 0.4)), Rescale(window=(0.0, 0.4))], 1),
        ([Composed({"a": 2.0, "b": 3.0}, window=(0.0, 0.4)), CFG(2.0)], 2),
        ([Autoguidance(2.0, denoiser=CountingDenoiser(0.3)), CFG(2.0)], 2),
    ],
)
def test_cost(guidances, rows):
    _, calls = called(guidances, flow_level(0.5))
    assert calls == [rows]


def test_a_second_network_is_called_once_for_all_that_want_it():
    weak = CountingDenoiser(0.3)
    called([Autoguidance(2.0, denoiser=weak), Autoguidance(1.5, denoiser=weak), CFG(2.0)], flow_level(0.5))
    assert weak.calls == [len(X)]


def test_the_run_s_own_network_as_the_weaker_one_shares_its_row():
    probe = CountingDenoiser()
    guided = GuidanceChain([Autoguidance(3.0, denoiser=probe), CFG(2.0)]).wrap(probe, RUN)
    made = guided.denoise(X, flow_level(0.5), example_conditions()).x0
    assert probe.calls == [2 * len(X)] and torch.equal(made, called([CFG(2.0)], flow_level(0.5))[0].x0)


def test_a_condition_that_is_not_given_costs_no_row():
    row = torch.zeros(3, 1, dtype=torch.float64)
    nothing = Conditioning({"a": row}, {"a": row})  # as sampling makes it for `label: null`
    assert called([CFG(3.0)], flow_level(0.5), nothing)[1] == [1]


def test_pushes_add_up_in_any_order():
    parts = [
        CFG(3.0),
        APG(2.0, momentum=0.0),
        Autoguidance(1.5, denoiser=CountingDenoiser(0.3)),
        CFG(2.0, conditions=["b"]),
    ]
    plain = called([], flow_level(0.5))[0].x0
    summed = plain + sum(called([part], flow_level(0.5))[0].x0 - plain for part in parts)
    for order in itertools.permutations(parts):
        assert torch.allclose(called(order, flow_level(0.5))[0].x0, summed, atol=1e-12)


def test_shapes_act_on_what_stands_before_them():
    level = flow_level(0.5)
    pushed, plain = called([CFG(5.0)], level)[0].x0, called([], level)[0].x0
    found = called([CFG(5.0), Rescale(1.0)], level)[0].x0
    assert torch.allclose(found.flatten(1).std(1), plain.flatten(1).std(1), atol=1e-12)
    assert not torch.allclose(called([Rescale(1.0), CFG(5.0)], level)[0].x0, found, atol=1e-3)
    assert torch.allclose(called([Rescale(1.0), CFG(5.0)], level)[0].x0, pushed, atol=1e-12)


def test_cfgpp_renoises_what_the_list_has_made():
    level = flow_level(0.5)
    found, before = called([CFG(5.0), Rescale(), CFGpp(1.0)], level)[0], called([CFG(5.0), Rescale()], level)[0].x0
    null = CountingDenoiser().denoise(X, level, example_conditions().without()).x0
    assert torch.equal(found.x0, before)
    assert torch.allclose(found.x - 0.5 * found.x0, X - 0.5 * null, atol=1e-12), "the noise is the null estimate's"


def test_windows_of_a_list_are_each_s_own():
    both = [CFG(3.0, window=(0.5, 1.0), conditions=["a"]), CFG(2.0, window=(0.0, 0.6), conditions=["b"])]
    for tau, alone in ((0.8, both[:1]), (0.3, both[1:])):
        assert torch.equal(called(both, flow_level(tau))[0].x0, called(alone, flow_level(tau))[0].x0)
    mapped = torch.full((3, 1, 4, 3), 0.55, dtype=torch.float64)
    mapped[..., 1], mapped[..., 2] = 0.8, 0.3
    found = called(both, flow_level(mapped))[0].x0
    for column, alone in ((0, both), (1, both[:1]), (2, both[1:])):
        assert torch.allclose(found[..., column], called(alone, flow_level(mapped))[0].x0[..., column], atol=1e-12)


def test_a_network_that_moves_the_state_is_heard():
    class Moving(CountingDenoiser):
        def denoise(self, x, level, conditions):
            return Estimate(super().denoise(x, level, conditions).x0, x + 1)

    for part, shift in ((CFG(2.0), 0.0), (CFGpp(0.6), None)):
        found = GuidanceChain([part]).wrap(Moving(), RUN).denoise(X, flow_level(0.5), example_conditions())
        null = CountingDenoiser().denoise(X, flow_level(0.5), example_conditions().without()).x0
        expected = X + 1 + (0.5 * (found.x0 - null) if shift is None else shift)
        assert torch.allclose(found.x, expected, atol=1e-12)


def test_a_second_network_sees_conditions_as_it_embeds_them():
    seen = []

    class Narrow(CountingDenoiser):
        def denoise(self, x, level, conditions):
            seen.append(conditions)
            return super().denoise(x, level, Conditioning())

    own = Conditioning({"a": torch.ones(3, 7)}, {"a": torch.zeros(3, 7)})
    valid = torch.ones(3, 1, 4, 3)
    called(
        [Autoguidance(2.0, denoiser=AuxiliaryDenoiser(Narrow(), own))], flow_level(0.5), example_conditions(valid=valid)
    )
    assert seen[0].vector["a"].shape == (3, 7) and seen[0].valid is valid


@pytest.mark.parametrize(
    ("guidances", "said"),
    [
        ([CFG(), Composed({"a": 2.0})], "first"),
        ([CFGpp(), Rescale()], "last"),
        ([CFG(conditions=["c"])], "no condition 'c'.* a, b"),
        ([Composed({"bb": 2.0})], "did you mean 'b'.* a, b"),
    ],
)
def test_lists_that_cannot_be_are_refused(guidances, said):
    with pytest.raises(BadInput, match=said):
        called(guidances, flow_level(0.5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rescale(phi=1.5), "phi"),
        (lambda: APG(threshold=0.0), "threshold"),
        (lambda: APG(momentum=-1.0), "momentum"),
        (lambda: CFGZero(rest=0.0), "rest"),
        (lambda: CFGpp(window=(0.5, 0.1)), "window"),
        (lambda: Composed({}), "scale"),
        (lambda: Composed({"a": 1.0}, "beside"), "composed"),  # type: ignore[arg-type]
        (lambda: DynamicThreshold(percentile=99.5), "percentile"),
        (lambda: DynamicThreshold(limit=-1.0), "limit"),
        (lambda: Autoguidance(), "weak"),
        (lambda: Autoguidance(weak="a", denoiser=CountingDenoiser()), "one weaker"),  # type: ignore[arg-type]
        (lambda: Autoguidance(weak="a").begin(RUN), "denoiser"),  # type: ignore[arg-type]
        (lambda: called([CFG()], flow_level(0.5), Conditioning({"a": X}, {})), "unconditional embedding"),
    ],
)
def test_bad_settings_are_refused(make, said):
    with pytest.raises(BadInput, match=said):
        make()


def test_guidance_without_conditions_is_refused_where_it_needs_them():
    for parts in ([CFG()], [APG()], [CFGpp()]):
        with pytest.raises(BadInput, match="there is none"):
            GuidanceChain(parts).wrap(CountingDenoiser(), RUN).denoise(X, flow_level(0.5), Conditioning())
    weak = GuidanceChain([Autoguidance(denoiser=CountingDenoiser(0.3)), DynamicThreshold()])
    weak.wrap(CountingDenoiser(), RUN).denoise(X, flow_level(0.5), Conditioning())


def test_sample_takes_a_list():
    made = [
        sonolux.sample(CountingDenoiser(), SHAPE, guidance=guidance, conditions=example_conditions(), steps=3)
        for guidance in (None, [], "cfg", ["cfg"], [CFG(), "rescale"])
    ]
    assert torch.equal(made[0], made[1]) and torch.equal(made[2], made[3])
    assert not torch.equal(made[0], made[2]) and not torch.equal(made[2], made[4])


# --- recipes ---------------------------------------------------------------------------------------------------------

PAIR = "sample.guidance=[{use: cfg, scale: 3}, {use: rescale, phi: 0.5}]"


def guidances(recipe):
    return [(spec.use, spec.params) for spec in recipe.sample.guidance]


def test_a_recipe_holds_a_list():
    recipe = load_recipe("shapes", [PAIR])
    (cfg, of_cfg), (rescale, of_rescale) = guidances(recipe)
    assert (cfg, of_cfg["scale"], rescale, of_rescale["phi"]) == ("cfg", 3.0, "rescale", 0.5)
    assert recipe.with_overrides([]).resolved()["sample"]["guidance"][1]["use"] == "rescale"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "item", "key", "value"),
    [
        ("guidance.0.scale=5", 0, "scale", 5.0),
        ("guidance.rescale.phi=0.1", 1, "phi", 0.1),
        ("guidance.phi=0.2", 1, "phi", 0.2),
        ("guidance.0.window=[0.2, 0.8]", 0, "window", (0.2, 0.8)),
        ("guidance.1=dynamic_threshold", 1, "percentile", 0.995),
    ],
)
def test_an_override_reaches_into_the_list(change, item, key, value):
    recipe = load_recipe("shapes", [PAIR]).with_overrides([change], bare_section="sample")
    assert len(guidances(recipe)) == 2 and guidances(recipe)[item][1][key] == value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["sample.guidance=[{use: cfg, scael: 3}]"], r"sample.guidance\[0\].scale"),
        (["sample.guidance=[rescale, {use: composed, scales: {label: 2}}]"], "first in the list"),
        (["sample.guidance=[cfgpp, rescale]"], "last in the list"),
        (["sample.guidance={use: composed, scales: {lable: 2}}"], "did you mean 'label'.* label"),
        (["sample.guidance={use: cfg, conditions: [pitch]}"], "'pitch'.* label"),
        (["sample.guidance=autoguidance"], "weak"),
        (["sample.guidance=[rescale, apg]", "condition={label: null}"], "this recipe has none"),
    ],
)
def test_what_a_recipe_cannot_mean_is_reported(changes, said):
    with pytest.raises(BadInput, match=said):
        load_recipe("shapes", changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["guidance.2.scale=2", "guidance.scal=2", "guidance.window=[0, 1]", "guidance.apg.eta=0"]
)
def test_an_override_that_names_no_item_is_refused(change):
    with pytest.raises(BadInput, match=r"a list here \(cfg, rescale\).* write sample.guidance.0"):
        load_recipe("shapes", [PAIR]).with_overrides([change], bare_section="sample")


def test_an_override_may_replace_the_list():
    recipe = load_recipe("shapes", [PAIR])
    assert recipe.with_overrides(["guidance=apg"], bare_section="sample").sample.guidance.use == "apg"
    assert (
        recipe.with_overrides(["guidance={use: cfg, scale: 2}"], bare_section="sample").sample.guidance.params["scale"]
        == 2.0
    )
    assert recipe.with_overrides(["guidance=null"], bare_section="sample").sample.guidance is None


def test_guidance_that_needs_no_condition_is_welcome_without():
    recipe = load_recipe("shapes", ["condition={label: null}", "sample.guidance={use: autoguidance, weak: runs/x}"])
    assert recipe.sample.guidance.use == "autoguidance" and not recipe.conditioning
