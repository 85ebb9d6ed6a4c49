"""The shared search for near copies, against plain loops, with planted errors."""

import numpy as np
import pytest
import torch
from sonolux.core.evaluation import near_copies
from sonolux.core.evaluation.near_copies import (
    ALTERATIONS,
    find_nearest_vectors,
    make_altered_copies,
    make_ratio_decision,
    nearest_examples,
    nearest_pairs,
    ranked_pairs,
)
from sonolux.core.types import BadInput
from sonolux.core.util import progress


def unit(n, d, seed):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=1, keepdim=True)


def check_most_similar(rows=4):
    """Owners of several keys: none of one's own is found, and the best of the others are, in falling order."""
    queries, keys = unit(11, 5, 0), unit(30, 5, 1)
    askers, owners = torch.arange(11) // 2, torch.arange(30) % 6
    seen = 0
    for block, values, which in find_nearest_vectors(queries, keys, 3, (askers, owners), rows):
        for r, i in enumerate(block):
            others = [(float(queries[i] @ keys[k]), k) for k in range(30) if owners[k] != askers[i]]
            wanted = sorted(others, reverse=True)[:3]
            assert which[r].tolist() == [k for _, k in wanted]
            assert values[r].tolist() == pytest.approx([v for v, _ in wanted], abs=1e-6)
            seen += 1
    assert seen == 11


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_most_similar(rows):
    check_most_similar(rows)


def test_examples_that_find_themselves_are_caught(monkeypatch):
    """Planted: keys of one's own count."""
    true = near_copies.find_nearest_vectors
    monkeypatch.setitem(
        globals(),
        "find_nearest_vectors",
        lambda queries, keys, count, owners, rows: true(queries, keys, count, (owners[0] + 99, owners[1]), rows),
    )
    with pytest.raises(AssertionError, match=r"assert \["):
        check_most_similar()


def test_the_progress_counts_blocks(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", -1.0)
    list(find_nearest_vectors(unit(5, 3, 0), unit(2, 3, 1), 1, (torch.arange(5), torch.arange(2)), 2, "searching"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"searching: block {i} of 3" for i in (1, 2, 3)]


def test_few_keys_are_all_found():
    (found,) = find_nearest_vectors(unit(2, 3, 0), unit(2, 3, 1), 5, (torch.arange(2), torch.arange(2) + 5))
    assert sorted(found[2][0].tolist()) == [0, 1]


def test_best_partners_are_those_of_either_example():
    similarity = {(0, 1): 0.9, (0, 2): 0.8, (1, 2): 0.7, (2, 3): 0.6}
    assert nearest_pairs(similarity, 1) == [(0, 1), (0, 2), (2, 3)], "3 knows no better one than 2"
    assert nearest_pairs(similarity, 9) == sorted(similarity) and nearest_pairs({}, 1) == []


def test_pairs_are_ranked():
    rows = ranked_pairs({(2, 3): 0.5, (0, 1): 1.0001, (0, 2): 0.5})
    assert [(p.first, p.second, p.similarity) for p in rows] == [(0, 1, 1.0), (0, 2, 0.5), (2, 3, 0.5)]


def test_the_nearest_by_the_fine_comparison():
    """The coarse order of the candidates does not matter; without a similar one the result is 0."""
    fine = torch.tensor([[0.2, 0.9, 0.4], [-0.3, -0.1, -0.2]])
    candidates = torch.tensor([[7, 5, 3], [1, 2, 0]])
    found = nearest_examples(candidates, lambda row, which: fine[row])
    assert found.nearest.tolist() == [5, 2] and found.similarity.tolist() == pytest.approx([0.9, 0])


def test_what_stands_out():
    """1 - (1 - s_1 + u) / (1 - s_r + u): near 1 for a copy among others, 0 where the next is as similar."""
    decide = make_ratio_decision(3, 0.002)
    assert decide(torch.tensor([1.0, 0.5, 0.4, 0.3, 0.2])) == pytest.approx(1 - 0.002 / 0.702, abs=1e-5)
    assert decide(torch.tensor([0.9, 0.9, 0.9, 0.9])) == pytest.approx(0, abs=1e-6)
    assert decide(torch.tensor([0.9])) == pytest.approx(1 - 0.102 / 1.002, abs=1e-5), "none to compare with"
    assert decide(torch.tensor([0.9, 0.6])) == pytest.approx(1 - 0.102 / 0.402, abs=1e-5), "fewer than the rank"


def test_planted_copies_are_keyed():
    def alter(example, kind, draw, rng):
        return example + draw(1, 2) * ALTERATIONS.index(kind)

    media = [torch.zeros(3) for _ in range(4)]
    one, two, other = (make_altered_copies(media, "crop", alter, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.stack(one), torch.stack(two)) and not torch.equal(torch.stack(one), torch.stack(other))
    values = np.array([float(x[0]) for x in one])
    assert (values >= 2).all() and (values <= 4).all() and len(set(values)) == 4
    with pytest.raises(BadInput, match="kind is 'turn': give one of gain, shift, crop"):
        make_altered_copies(media, "turn", alter, 0)
