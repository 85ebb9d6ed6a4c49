"""Recipes of the first edition: every old key and name is read, and one note says what to write instead."""

import ast
import subprocess
import sys
import warnings

import pytest
from sonolux.core.config import legacy, registry
from sonolux.core.config.load import load_recipe, load_recipe_text
from sonolux.core.testing.mutation import assert_caught, drop_statement, planted_error, replace_expression
from sonolux.core.types import BadInput

OLD = """\
recipe: 1
name: old
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 50}
codec: image/pixels
network: {use: image/unet, width: 16}
condition:
  label: {use: class, drop: 0.3}
  speed: {use: number, key: speed, range: [0, 2]}
process:
  schedule: {use: edm, sigma_max: 40}
  prediction: edm
  clock: tau
  loss: eps
  times: {mean: -1}
  weighting: {use: min_snr}
  per_element: 0.5
train: {steps: 100}
sample:
  use: ddim
  spacing: {use: shifted, spacing: simple, shift: 2.0}
  where: {speed: 1.5}
  guidance: {use: several, scales: {label: 2.0}}
eval: {most: 99, novelty: false, shown: 3, embed: 2.5}
"""
NEW = """\
recipe: 1
name: old
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 50}
codec: image/pixels
network: {use: image/unet, width: 16}
conditioning:
  label: {use: class, drop: 0.3}
  speed: {use: scalar, key: speed, range: [0, 2]}
process:
  schedule: {use: edm, sigma_max: 40}
  parameterization: edm
  noise_conditioning: tau
objective:
  use: denoising
  loss_space: eps
  timestep_sampling: {use: lognormal, mean: -1}
  weighting: {use: min_snr}
  per_element: 0.5
train: {steps: 100}
sample:
  use: ddim
  timesteps: {use: shifted, shift: 2.0, SHIFTED: simple}
  conditions: {speed: 1.5}
  guidance: {use: composed, scales: {label: 2.0}}
eval: {real_examples: 99, memorization: false, page_samples: 3, page_megabytes: 2.5}
"""
SHIFTED = next(p.name for p in registry.describe_component("timesteps", "shifted").parameters if p.name != "shift")


def quiet(text, **options):
    """The recipe of a text, and the notes that reading it gave."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        recipe = load_recipe_text(text, **options)
    return recipe, [str(n.message) for n in notes]


def check_old_text():
    new, none = quiet(NEW.replace("SHIFTED", SHIFTED))
    old, notes = quiet(OLD)
    assert none == [] and old == new and old.resolved() == new.resolved()
    assert len(notes) == 1 and "\n" not in notes[0]
    for before, after in legacy.KEYS.items():
        assert f"{before} is now {after}" in notes[0], before
    assert "guidance several is now composed" in notes[0] and "condition number is now scalar" in notes[0]


def test_every_old_key_and_name_is_read_with_one_note():
    check_old_text()


@pytest.mark.slow
@pytest.mark.parametrize("key", legacy.KEYS)
def test_a_table_that_lacks_a_key_is_caught(monkeypatch, key):
    monkeypatch.delitem(legacy.KEYS, key)
    with pytest.raises((AssertionError, BadInput), match=r"unknown key|assert"):
        check_old_text()


def test_what_is_written_again_has_new_names_alone():
    text = quiet(OLD)[0].dump()
    assert quiet(text)[1] == []
    assert quiet(text)[0] == quiet(OLD)[0]


def test_old_keys_on_the_command_line(tmp_path):
    changes = ["process.clock=tau", "condition.label.drop=0.25", "process.times.mean=0.5", "spacing=trailing"]
    file = tmp_path / "new.yaml"
    file.write_text(NEW.replace("SHIFTED", SHIFTED))
    with pytest.warns(UserWarning, match=r"new\.yaml has .*process\.clock is now process\.noise_conditioning"):
        recipe = load_recipe(file, changes[:3])
    assert recipe.process.noise_conditioning.use == "tau" and recipe.conditioning["label"].params["drop"] == 0.25
    assert recipe.objective.params["timestep_sampling"].params["mean"] == 0.5
    with pytest.warns(UserWarning, match="sample.spacing is now sample.timesteps"):
        changed = recipe.with_overrides(["spacing=trailing", "where.speed=1"], bare_section="sample")
    assert changed.sample.timesteps.use == "trailing" and changed.sample.conditions == {"speed": 1}
    with pytest.raises(BadInput, match=r"only sample\.\* can change here"):
        recipe.with_overrides(["condition.label.drop=0.1"], bare_section="sample")


def test_a_recipe_of_new_keys_may_extend_one_of_old_keys_and_the_other_way_round(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "child.yaml").write_text("extends: old.yaml\nprocess: {noise_conditioning: c_noise}\n")
    (tmp_path / "leaf.yaml").write_text("extends: child.yaml\nprocess: {clock: logsnr}\nsample: {spacing: karras}\n")
    with pytest.warns(UserWarning, match=r"child\.yaml has names"):
        assert load_recipe(tmp_path / "child.yaml").process.noise_conditioning.use == "c_noise"
    with pytest.warns(UserWarning, match=r"leaf\.yaml has names") as notes:
        leaf = load_recipe(tmp_path / "leaf.yaml")
    assert leaf.process.noise_conditioning.use == "logsnr" and leaf.sample.timesteps.use == "karras"
    assert leaf.objective.params["per_element"] == 0.5 and len(notes) == 1


def test_a_problem_with_an_old_key_is_reported_at_its_line_by_its_new_name():
    with pytest.warns(UserWarning), pytest.raises(BadInput) as error:
        load_recipe_text(OLD.replace("clock: tau", "clock: tao").replace("shown: 3", "shown: x"))
    told = str(error.value).splitlines()
    assert told[0].startswith("recipe:14:10: process.noise_conditioning: there is no noise conditioning 'tao'")
    assert "eval.page_samples: expected integer of at least 0 and at most 200, got the text 'x'" in told[2]


def test_an_old_and_a_new_key_for_one_thing_are_refused():
    text = NEW.replace("SHIFTED", SHIFTED).replace(
        "  noise_conditioning: tau", "  noise_conditioning: tau\n  clock: tau"
    )
    with pytest.raises(
        BadInput, match=r"process\.clock: is the old name of process\.noise_conditioning, which is given"
    ):
        load_recipe_text(text)


def check_objective_with_old_keys():
    """Old keys of `process` go into `objective`, also where it is a bare name or a heading with nothing under it."""
    for given in ("objective:\n", "objective: denoising\n", "objective: {use: denoising}\n", ""):
        recipe, notes = quiet(OLD + given)
        assert recipe.objective.use == "denoising" and recipe.objective.params["per_element"] == 0.5, given
        assert len(notes) == 1


def test_an_empty_or_named_objective_takes_old_keys():
    check_objective_with_old_keys()


@pytest.mark.parametrize(
    "error",
    [
        replace_expression(ast.IfExp, "{'use': at.value}", near="use"),  # the null is taken for a name
        drop_statement(ast.If, at=-2),  # a bare name is not made a mapping
    ],
)
def test_planted_errors_about_the_objective_are_caught(error):
    with planted_error(legacy, "rename_old_keys", error):
        assert_caught(check_objective_with_old_keys, also=(BadInput, TypeError, AttributeError))


def check_parameters():
    """An old parameter is renamed where the constructor has the new one and not the old."""
    renamed = {}
    assert legacy.upgrade_parameter_name("spacing", ["timesteps"], renamed) == "timesteps" and renamed == {
        "spacing": "timesteps"
    }
    for known in (["spacing", "timesteps"], ["spacing"], []):
        assert legacy.upgrade_parameter_name("spacing", known, {}) == "spacing"
    assert legacy.upgrade_parameter_name("shift", ["timesteps"], {}) == "shift"


def test_a_parameter_that_a_component_has_is_not_renamed():
    check_parameters()


def test_planted_renaming_of_a_parameter_that_exists_is_caught():
    with planted_error(
        legacy, "upgrade_parameter_name", replace_expression(ast.BoolOp, "new is None or new not in known")
    ):
        assert_caught(check_parameters)


def test_an_objective_has_the_right_article():
    with pytest.raises(BadInput, match="expected the name of an objective, got 3"):
        load_recipe_text(NEW.replace("SHIFTED", SHIFTED).replace("use: denoising", "use: 3"))


def test_old_kinds_of_component_are_found():
    for old, new in legacy.KINDS.items():
        assert registry.component_names(old) == registry.component_names(new) and registry.kind_noun(
            old
        ) == registry.kind_noun(new)
    assert registry.find_class("spacing", "karras") is registry.find_class("timesteps", "karras")


def test_a_plugin_of_an_old_group_is_used_with_a_note(tmp_path, monkeypatch):
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sonolux.spacing]\nacme/even = acme_old_even:Even\n")
    (tmp_path / "acme_old_even.py").write_text(
        "class Even:\n    '''Even.'''\n    def levels(self, schedule, steps): return []\n"
    )
    registry._points.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    assert "acme/even" in registry.component_names("timesteps")
    with pytest.warns(
        UserWarning, match=r"acme 1\.0 registers 'acme/even' in sonolux\.spacing, which is now sonolux\.t"
    ):
        assert registry.find_class("timesteps", "acme/even").__name__ == "Even"
    registry._points.cache_clear()


@pytest.mark.slow
def test_the_note_is_one_line_on_the_command_line(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD)
    code = "import sys; from sonolux.core.cli.main import main; sys.exit(main(['recipe', 'validate', 'old.yaml']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "old.yaml: valid\n"
    assert done.stderr.startswith("note: old.yaml has names of the first edition") and done.stderr.count("\n") == 1


def test_a_recipe_that_is_changed_later_is_not_noted_again(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD)
    with pytest.warns(UserWarning, match="condition number is now scalar") as notes:
        recipe = load_recipe(tmp_path / "old.yaml")
    assert len(notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe.with_overrides(["sample.steps=3"]).with_overrides(["sample.steps=4"])
