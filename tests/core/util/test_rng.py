"""Keyed random numbers: their laws, and that a sample's numbers depend on its own key alone, on every device."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sonolux.core.util import philox, rng
from sonolux.core.util.brownian import BrownianIncrementKey
from sonolux.core.util.rng import KeyedNoise, keyed_generator, stratified_uniforms, stream_key

CPU = torch.device("cpu")
COUNT = 2**20


def words(purpose="law", counter=0, samples=(0,), count=COUNT, seed=0):
    """Unsigned 32-bit words (R, count) as float64, in the order of the elements."""
    made = rng.keyed_random_words([stream_key(seed, purpose, counter)], samples, count, CPU)
    return made.permute(0, 2, 1).reshape(len(made), -1)[:, :count].double() + 2.0**31


def normal(samples=(0,), shape=(COUNT,), purpose="law", counter=0, seed=0, **options):
    return KeyedNoise(seed, samples, shape, **options).normal(purpose, counter)


# ---------------------------------------------------------------- laws


def check_uniform():
    """Words are uniform: Kolmogorov and Smirnov's test, every bit fair, moments, no correlation of neighbours."""
    u = words()[0] / 2**32
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-4
    bits = (u * 2**32).long()
    fair = torch.stack([(bits >> i & 1).double().mean() for i in range(32)])
    assert float((fair - 0.5).abs().max()) < 4.5 * 0.5 / COUNT**0.5
    centred = (u - 0.5) * 12**0.5
    for lag in (1, 2, 3, 4, 5, 8, 4096):
        assert abs(float((centred[lag:] * centred[:-lag]).mean())) < 4.5 / COUNT**0.5
    cells = (bits >> 26).reshape(-1, 2)  # pairs in a 64 x 64 grid
    seen = np.bincount((cells[:, 0] * 64 + cells[:, 1]).numpy(), minlength=4096)
    assert stats.chisquare(seen).pvalue > 1e-4


@pytest.mark.slow
def test_words_are_uniform():
    check_uniform()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "wrong"), [("ROUNDS", 2), ("_MULTIPLIERS", (1, 1))])
def test_planted_weak_generator_is_caught(monkeypatch, name, wrong):
    monkeypatch.setattr(philox, name, wrong)
    with pytest.raises(AssertionError, match=r"pvalue|abs"):
        check_uniform()


def check_normal():
    """Moments up to the sixth, the distribution, its tails, and the independence of the pairs that share a radius."""
    z = normal()[0].double()
    for power, value, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs(float((z**power).mean()) - value) < 4.5 * (spread / COUNT) ** 0.5
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-4
    for far in (3, 4):
        expected = COUNT * math.erfc(far / 2**0.5)
        assert abs(int((z.abs() > far).sum()) - expected) < 4.5 * expected**0.5
    for lag in (1, 2, 3, 4):
        for f in (lambda v: v, lambda v: (v**2 - 1) / 2**0.5):
            assert abs(float((f(z[lag:]) * f(z[:-lag])).mean())) < 4.5 / COUNT**0.5


@pytest.mark.slow
def test_normal_numbers():
    check_normal()


def check_normals_of_words():
    """Equal to Box and Muller's formula in float64 to 1e-6, also at the ends of the words' range."""
    ends = torch.tensor([-(2**31), -1, 0, 1, 2**31 - 1])
    drawn = torch.cat([torch.cartesian_prod(ends, ends), torch.randint(-(2**31), 2**31, (100_001, 2))])
    made = rng.words_to_normals(drawn.to(torch.int32).reshape(1, -1, 4).permute(0, 2, 1))
    unsigned = torch.where(drawn < 0, drawn + 2**32, drawn).double()
    u, v = ((unsigned[:, 0] / 2).floor() + 0.5) / 2**31, unsigned[:, 1] / 2**32
    radius, angle = (-2 * u.log()).sqrt(), 2 * math.pi * v
    want = torch.stack([radius * angle.cos(), radius * angle.sin()], 1).reshape(1, -1)
    assert bool(torch.isfinite(made).all()) and float(made.abs().max()) > 6.5
    # float32 near u = 1 has no finer numbers: there the radius is small, and its error below 4e-4
    fine = (u < 0.99).repeat_interleave(2)
    assert float((made - want).abs()[0, fine].max()) < 2e-6
    assert float((made - want).abs().max()) < 4e-4


def test_normals_are_the_formula():
    check_normals_of_words()


def test_planted_half_of_the_circle_is_caught(monkeypatch):
    monkeypatch.setattr(rng.math, "pi", math.pi / 2)
    with pytest.raises(AssertionError, match="abs"):
        check_normal()


def test_planted_radius_is_caught(monkeypatch):
    true = torch.Tensor.log_
    monkeypatch.setattr(torch.Tensor, "log_", lambda self: true(self).mul_(1.01))
    with pytest.raises(AssertionError, match="abs"):
        check_normal()
    with pytest.raises(AssertionError, match="< 2e-06"):
        check_normals_of_words()


def check_independent():
    """Neighbouring seeds, samples, purposes, counters: no correlation, and no word in common beyond chance."""
    count = 2**16
    made = [words("a", 0, range(4), count), words("a", 1, range(2), count), words("a", 2**32, [0], count)]
    made += [words("b", 0, [0], count), words("a", (0, 0), [0], count), words("a", 0, [2**32, 2**63], count)]
    made += [words("a", 0, [0], count, seed=1), words("a", 0, [0], count, seed=2**32), words("a", -1, [0], count)]
    rows = torch.cat(made)
    related = torch.corrcoef(rows) - torch.eye(len(rows))
    assert float(related.abs().max()) < 5 / count**0.5
    once = len(rows) * count
    pairs = once - len(torch.unique(rows))
    assert pairs < 1.5 * once**2 / 2 / 2**32


def test_keys_are_independent():
    check_independent()


def test_planted_key_that_forgets_is_caught(monkeypatch):
    true = philox.philox_inputs
    for forgets in (
        lambda keys, steps, samples: true(keys, [0], samples),
        lambda keys, steps, samples: true([1], steps, samples),
        lambda keys, steps, samples: true(keys, steps, [s & 0xFFFFFFFF for s in samples]),
    ):
        monkeypatch.setattr(philox, "philox_inputs", forgets)
        with pytest.raises(AssertionError, match="abs"):
            check_independent()


# ---------------------------------------------------------------- what a number depends on

SHAPES = [(2, 3, 4), (2, 5, 1), (1, 3, 7), (2, 3, 4), (2, 1, 1)]


def check_rows():
    """A row is what the sample has alone, in any batch and order, at its own shape; the rest is zero."""
    samples = [7, 0, 2**40, 3, 11]
    for counter in (0, 5, ("step", 3), BrownianIncrementKey(0.9, 0.3)):
        batch = normal(samples, SHAPES, counter=counter)
        assert batch.shape == (5, 2, 5, 7)
        for row, sample, shape in zip(batch, samples, SHAPES, strict=True):
            own = tuple(slice(n) for n in shape)
            assert torch.equal(row[own], normal([sample], shape, counter=counter)[0])
            assert int((row != 0).sum()) == math.prod(shape)
    uniform = KeyedNoise(0, samples, (1,)).uniform("u", 4)
    assert torch.equal(uniform[[2, 0]], KeyedNoise(0, [2**40, 7], (3, 3)).uniform("u", 4))


def test_a_row_depends_on_its_sample_alone():
    check_rows()


def test_planted_element_of_the_padded_shape_is_caught(monkeypatch):
    def padded(self):
        index, inside = Noise_made_places(self)
        return torch.arange(index[0].numel()).reshape(1, *index.shape[1:]).expand_as(index) % self._count, inside

    Noise_made_places = KeyedNoise._made_places
    monkeypatch.setattr(KeyedNoise, "_made_places", padded)
    with pytest.raises(AssertionError, match="equal"):
        check_rows()


def test_a_shorter_sample_has_the_first_numbers_of_a_longer_one():
    assert torch.equal(normal(shape=(1, 37)), normal(shape=(1, 500))[..., :37])


def test_arrays_drawn_together_and_apart_are_equal(monkeypatch):
    together = normal(range(3), (2, 5), counter=BrownianIncrementKey(0.7, 0.2))
    monkeypatch.setattr(rng, "MAX_ELEMENTS", 1)
    assert torch.equal(together, normal(range(3), (2, 5), counter=BrownianIncrementKey(0.7, 0.2)))


def check_several_are_each_alone():
    whole = BrownianIncrementKey(0.9, 0.4)
    for counters in (list(range(5)), [whole, BrownianIncrementKey(0.4, 0.1)], [3, whole], []):
        together, alone = (KeyedNoise(1, [4, 2], (3, 5)) for _ in range(2))
        arrays = together.normals("sampler", counters)
        assert len(arrays) == len(counters)
        for counter, array in zip(counters, arrays, strict=True):
            assert torch.equal(array, alone.normal("sampler", counter))


def test_several_arrays_are_each_alone(monkeypatch):
    check_several_are_each_alone()
    monkeypatch.setattr(rng, "MAX_ELEMENTS", 64)
    check_several_are_each_alone()


def test_planted_order_of_arrays_is_caught(monkeypatch):
    drawn = KeyedNoise._drawn
    monkeypatch.setattr(KeyedNoise, "_drawn", lambda self, purpose, counters: drawn(self, purpose, counters).flip(0))
    with pytest.raises(AssertionError, match="equal"):
        check_several_are_each_alone()


def test_values_are_the_same_in_any_dtype():
    z, u = normal(shape=(1000,)), KeyedNoise(0, range(5000), (1,)).uniform("u")
    assert torch.equal(normal(shape=(1000,), dtype=torch.float64), z.double())
    assert torch.equal(normal(shape=(1000,), dtype=torch.bfloat16), z.bfloat16())
    exact = KeyedNoise(0, range(5000), (1,), dtype=torch.float64).uniform("u")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        coarse = KeyedNoise(0, range(5000), (1,), dtype=dtype).uniform("u").double()
        gap = exact - coarse
        assert float(gap.min()) >= 0 and float(gap.max()) < torch.finfo(dtype).eps and float(coarse.max()) < 1
    assert torch.equal(u, u.clamp(0, 1 - 2**-24)) and stats.kstest(exact.numpy(), "uniform").pvalue > 1e-4


def test_the_largest_words_stay_below_one():
    ones = torch.full((1, 4, 1), -1, dtype=torch.int32)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        assert float(rng.words_to_uniforms(ones, dtype)) < 1
        assert float(rng.words_to_uniforms(torch.zeros_like(ones), dtype)) == 0


def check_strata(total=64):
    """One number in every stratum, uniform within it, and the same for a rank's rows as for all."""
    u = stratified_uniforms(3, 5, total, range(total))
    assert u.dtype == torch.float64 and sorted((u * total).floor().tolist()) == list(range(total))
    inside = torch.cat([stratified_uniforms(3, step, total, range(total)) * total % 1 for step in range(100)])
    assert stats.kstest(inside.numpy(), "uniform").pvalue > 1e-4
    assert torch.equal(u[10:20], stratified_uniforms(3, 5, total, range(10, 20)))
    assert not torch.equal(u, stratified_uniforms(3, 6, total, range(total)))


def test_strata():
    check_strata()


def test_planted_strata_without_jitter_are_caught(monkeypatch):
    monkeypatch.setattr(rng, "words_to_uniforms", lambda words, dtype: torch.full((len(words),), 0.5, dtype=dtype))
    with pytest.raises(AssertionError, match="pvalue"):
        check_strata()


def test_generators_keep_their_numbers():
    """Initial weights and splits of old runs come from these: the key is the hash of the four facts as written."""
    assert keyed_generator(7, 3, "augment", 12).random(2).tolist() == [0.6446006319432059, 0.006337173306041222]
    assert int(keyed_generator(0, 0, "init", "net.0").integers(2**63)) == 3651577926884591263


def test_noise_of_a_seed_stays():
    """What a seed gives is part of the interface: a change of these numbers belongs into the changelog."""
    assert normal([3], (4,), "start", seed=7)[0].tolist() == pytest.approx(
        [0.4201466, 1.2509685, 1.0265927, 0.1580266], abs=1e-6
    )
    path = normal([3], (4,), "start", BrownianIncrementKey(0.75, 0.3), seed=7)[0].tolist()
    assert path == pytest.approx([-0.1306555, -0.3669647, -1.0278325, -0.6064108], abs=1e-6)
    assert rng.keyed_random_words([stream_key(7, "start", 1)], [3], 4, CPU).flatten().tolist() == [
        473241184,
        -306545687,
        1913169292,
        957401147,
    ]


# ---------------------------------------------------------------- devices

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def draws(device):
    """Every kind of number that a step draws, on a device."""
    noise = KeyedNoise(3, range(5), SHAPES, device)
    made = [noise.normal("a", 1), noise.normal("a", (1, 2)), noise.normal("w", BrownianIncrementKey(0.9, 0.4))]
    made.append(noise.normal("w", BrownianIncrementKey((0.9, 0.8, 0.7, 0.6, 0.5), (0.4, 0.8, 0.3, 0.2, 0.1))))
    return [*made, noise.uniform("u", 1)]


@pytest.fixture(params=["kernel", "tensors"])
def way(request, monkeypatch):
    """Both ways to compute on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(philox, "_fused", lambda: None)
    elif philox._fused() is None:
        pytest.skip("needs Triton and a C compiler")


def check_integers():
    """A GPU gives the same integers, masks and uniform numbers, and normal numbers to 1e-6."""
    from sonolux.core.nn.layers.dropout import dropout_mask

    gpu, x = torch.device("cuda"), torch.ones(6, 3, 777)
    samples = [0, 1, 2**32, 2**63, 4, 2**64 - 1]
    for counter in (0, 2**31, (1, 2)):
        for keys in ([stream_key(5, "a", counter)], [stream_key(row, "a", counter) for row in range(6)]):
            for count in (0, 1, 4001):
                assert torch.equal(
                    rng.keyed_random_words(keys, samples, count, CPU),
                    rng.keyed_random_words(keys, samples, count, gpu).cpu(),
                )
        stay = dropout_mask(5, samples, (1, 2), 0.3, x), dropout_mask(5, samples, (1, 2), 0.3, x.to(gpu)).cpu()
        assert torch.equal(*stay)
    named = philox.philox_inputs([2**64 - 1], [2**32 - 1], samples)
    ends = [philox.random_words(named, 600, device, first=2**32 - 300).cpu() for device in (CPU, gpu)]
    assert torch.equal(*ends)


@needs_gpu
def test_a_gpu_gives_the_same_integers(way):
    check_integers()


@needs_gpu
def test_planted_round_too_few_is_caught(way, monkeypatch):
    true = philox.random_words

    def fewer(named, blocks, device, first=0):
        monkeypatch.setattr(philox, "ROUNDS", 10 if device.type == "cpu" else 9)
        return true(named, blocks, device, first)

    monkeypatch.setattr(philox, "random_words", fewer)
    with pytest.raises(AssertionError, match="equal"):
        check_integers()


@needs_gpu
def test_a_gpu_gives_the_same_normals_to_1e_6(way):
    host, device = normal(range(8), (2**17,)), normal(range(8), (2**17,), device="cuda").cpu()
    assert float((host - device).abs().max()) <= 1e-6
    for a, b in zip(draws("cpu"), draws("cuda"), strict=True):
        assert float((a - b.cpu()).abs().max()) <= 1e-6


@needs_gpu
def test_a_gpu_draws_without_waiting(way):
    check_no_wait()


def check_no_wait():
    from sonolux.core.nn.layers.dropout import Dropout, keyed_dropout

    x, layer = torch.ones(5, 3, 77, device="cuda"), Dropout(0.1)
    draws("cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = draws("cuda")
        with keyed_dropout(0, range(5), 3):
            made.append(layer(x))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(torch.isfinite(m).all()) for m in made)


@needs_gpu
def test_planted_wait_is_caught(monkeypatch):
    true = rng.words_to_normals
    monkeypatch.setattr(rng, "words_to_normals", lambda words: true(words.cpu()).cuda())
    with pytest.raises(RuntimeError, match="synchroniz"):
        check_no_wait()
