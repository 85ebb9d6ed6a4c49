"""First-edition names of weights: only those that changed, only in models, only where the module has the new name."""

import pytest
import torch
from sonolux.core.nn.legacy_weights import upgrade_names

FORMER = ["network.stem.weight", "conditions.label.rows", "conditions.look.told", "conditions.look.null"]
TODAY = ["network.stem.weight", "conditions.label.rows.weight", "conditions.look.given", "conditions.look.null"]


def upgraded(names, part="model", expected=TODAY):
    state = {name: torch.tensor(i) for i, name in enumerate(names)}
    made = upgrade_names(state, part, expected)
    assert [int(v) for v in made.values()] == list(range(len(names))), "tensors keep their order"
    return list(made)


@pytest.mark.parametrize("part", ["model", "ema"])
def test_names_that_changed(part):
    assert upgraded(FORMER, part) == TODAY
    assert upgraded(TODAY, part) == TODAY, "once only"


def test_what_is_no_part_of_a_model_stays():
    assert upgraded(FORMER, "codec") == FORMER


def test_a_plugin_s_own_parameters_stay():
    own = ["conditions.text.rows", "network.conditions.x.rows"]
    assert upgraded(own, expected=own) == own
    assert upgraded(["conditions.text.rows"], expected=["conditions.text.table"]) == ["conditions.text.rows"]
