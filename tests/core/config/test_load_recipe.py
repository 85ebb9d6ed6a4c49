"""From a file to a typed recipe and back: extends, overrides, paths, defaults, and the text in a checkpoint."""

import subprocess
import sys
from pathlib import Path

import pytest
from sonolux.core.config import load
from sonolux.core.config.load import load_recipe, load_recipe_text, load_run_recipe, packaged_recipes
from sonolux.core.config.registry import find_class
from sonolux.core.config.signature import REQUIRED, constructor_parameters
from sonolux.core.config.spec import ComponentSpec, to_plain_values
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec

SIGNAL = MediaSpec("image", 3, ("height", "width"), (16, 16), classes=("a", "b"), latent=(3, 16, 16))


def write(folder, name, text):
    (folder / name).write_text(text)
    return name


def test_a_recipe_becomes_typed_sections_and_unbuilt_components(folder):
    r = load_recipe("base.yaml")
    assert (r.recipe, r.name, r.seed) == (1, "base", 3)
    assert r.data.params["root"] == folder / "pictures" and r.split.valid == 0.2
    assert r.network == ComponentSpec(
        "network", f"{folder}/parts.py:Net", {**r.network.params, "width": 16, "stages": (1, 2)}
    )
    assert (
        r.process.schedule.params["sigma_max"] == 40.0
        and r.objective.params["timestep_sampling"].params["mean"] == -1.0
    )
    assert r.train.optimizer.params["lr"] == 1e-3 and r.train.batch == 8
    assert r.sampler.use == "ddim" and r.sampler.params == {"eta": 0.5} and r.sample.steps == 7
    assert r.sample.guidance.params["scale"] == 2.0
    assert r.text == (folder / "base.yaml").read_text() and r.source == folder / "base.yaml"


def test_a_component_is_built_with_its_parameters_and_what_is_injected(folder):
    r = load_recipe("base.yaml", ["network.timesteps={use: karras, exponent: 3}", "network.more=[linspace, trailing]"])
    net = r.network.build(spec=SIGNAL, seed=4, unknown=5)
    assert net.spec is SIGNAL and net.width == 16 and net.timesteps.exponent == 3.0
    assert [type(s).__name__ for s in net.more] == ["Linspace", "Trailing"]
    data = r.data.build(spec=SIGNAL, split="valid", valid=r.split.valid, seed=1)
    assert (data.split, data.valid, data.root) == ("valid", 0.2, folder / "pictures")


def test_a_refusal_of_a_constructor_names_the_place(folder):
    r = load_recipe("base.yaml", ["network={use: './parts.py:Refuses', width: 4}"])
    with pytest.raises(BadInput, match=r"network=.*}: width 4 is too much"):
        r.network.build(spec=SIGNAL)
    (folder / "r.yaml").write_text("extends: base.yaml\nnetwork:\n  use: ./parts.py:Refuses\n  width: 5\n")
    with pytest.raises(BadInput, match=r"r.yaml:2:1: network: width 5 is too much"):
        load_recipe("r.yaml", allow_code=True).network.build(spec=SIGNAL)


def check_resolved_text(folder):
    """The dump holds every default, and reads back to the same recipe from any folder, even names like numbers."""
    r = load_recipe(
        "base.yaml",
        [
            "about='no: 1e-4'",
            "sample.conditions={label: ['1e-4', 'no', '7', null]}",
            "name='007'",
        ],
    )
    resolved = r.resolved()
    assert resolved["network"]["rate"] == 0.5 and resolved["network"]["timesteps"]["exponent"] == 7.0
    assert resolved["process"]["noise_conditioning"]["use"] == "c_noise"
    assert resolved["train"]["ema"] == {"half_life": 500.0}
    assert "split" not in r.data.params and "signal" not in r.network.params
    other = folder / "elsewhere"
    other.mkdir(exist_ok=True)
    (other / "resolved.yaml").write_text(r.dump())
    assert load_recipe(other / "resolved.yaml").resolved() == resolved == to_plain_values(resolved)
    assert load_recipe(other / "resolved.yaml") == r
    assert load_recipe_text(r.dump(), base=other, allow_code=True) == r


def test_the_resolved_text_reads_back(folder):
    check_resolved_text(folder)


def test_a_writer_without_quotes_is_caught(folder, monkeypatch):
    from sonolux.core.config import recipe

    right = recipe.dump_yaml
    monkeypatch.setattr(recipe, "dump_yaml", lambda value: right(value).replace("'", ""))
    assert_caught(check_resolved_text, folder, also=(BadInput,))


def check_paths(folder):
    """A relative path starts at the file that holds it; on the command line, at the working folder."""
    sub = folder / "sub"
    sub.mkdir(exist_ok=True)
    (sub / "child.yaml").write_text("extends: ../base.yaml\ntrain: {steps: 3}\n")
    (sub / "own.yaml").write_text("extends: ../base.yaml\ndata: {root: mine}\n")

    def root(*arguments, **options):
        return load_recipe(*arguments, **options, allow_code=True).data.params["root"]

    assert root("sub/child.yaml") == folder / "pictures"
    assert root("sub/own.yaml") == sub / "mine"
    assert root("sub/own.yaml", ["data.root=here"]) == folder / "here"
    assert root("own.yaml", ["data.root=here"], cwd=sub) == sub / "here"
    assert root("sub/own.yaml", ["data.root=~/x"]) == Path.home() / "x"


@pytest.mark.slow
def test_relative_paths(folder):
    check_paths(folder)


def test_paths_that_all_start_at_the_working_folder_are_caught(folder, monkeypatch):
    true = load.parse_yaml
    monkeypatch.setattr(
        load, "parse_yaml", lambda text, file, base, problems, **how: true(text, file, Path.cwd(), problems, **how)
    )
    with pytest.raises(AssertionError):
        check_paths(folder)


def test_extends_chains_and_the_child_wins(folder):
    write(folder, "mid.yaml", "extends: base.yaml\ntrain: {batch: 16, minutes: 2}\nsample: {use: heun}\n")
    write(folder, "leaf.yaml", "extends: ./mid.yaml\nabout: leaf\nnetwork: {stages: [4]}\nsample: {guidance: null}\n")
    r = load_recipe("leaf.yaml", allow_code=True)
    assert (r.name, r.about, r.seed) == ("leaf", "leaf", 3)
    assert (r.train.batch, r.train.steps, r.train.minutes) == (16, None, 2.0)
    assert r.network.params["stages"] == (4,) and r.network.params["width"] == 16
    assert r.sampler.use == "heun" and "eta" not in r.sampler.params
    assert r.sample.steps == 7 and r.sample.timesteps.params["exponent"] == 5.0 and r.sample.guidance is None


def test_a_recipe_extends_a_packaged_one_and_removes_a_condition(folder):
    write(folder, "mine.yaml", "extends: shapes\nconditioning: {label: null}\nsample: {guidance: null}\n")
    r = load_recipe("mine.yaml")
    assert r.conditioning == {} and r.data.use == "image/shapes" and r.name == "mine"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_recipes_that_extend_each_other_are_refused(folder, refused, length):
    for i in range(length):
        write(folder, f"r{i}.yaml", f"recipe: 1\nextends: r{(i + 1) % length}.yaml\n")
    said = refused("extends: r0.yaml\n")
    assert "extend each other in a circle: r0.yaml" in said[0] and len(said) == 2


def test_a_parent_that_cannot_be_had_is_the_only_complaint(folder, refused):
    write(folder, "broken.yaml", "a: [1,\n")
    for parent, why in (("nothing-like-it", "there is no recipe"), ("broken.yaml", "not valid YAML")):
        said = refused(f"extends: {parent}\nname: x\n")
        assert why in said[0] and len([line for line in said if not line.startswith("    ")]) == 1, said


@pytest.mark.slow
@pytest.mark.parametrize("section", ["train", "data", "sample", "process"])
def test_a_number_for_a_section_is_refused_although_a_key_of_it_follows(refused, section):
    key = {"train": "steps=1", "data": "count=3", "sample": "steps=3", "process": "schedule=ve"}[section]
    for first in (f"{section}=5", f"{section}=nothing_like_it"):
        assert refused(None, first, f"{section}.{key}")[0].startswith(f"command line: {first}: ")


def test_a_problem_of_a_parent_names_the_parents_file(folder, refused):
    write(folder, "parent.yaml", "extends: base.yaml\ntrain:\n  batsh: 4\n")
    assert refused("extends: parent.yaml\nseed: 1\n")[0].startswith("parent.yaml:3:3: train.batsh: unknown key")


def test_overrides_reach_every_part_of_the_schema_whether_the_file_holds_it_or_not(folder):
    r = load_recipe(
        "base.yaml",
        [
            "train.batch=64",
            "train.ema.half_life=9",
            "process.noise_conditioning=tau",
            "sample.use=heun",
            "network.timesteps.exponent=2",
            "process.schedule.sigma_min=1e-2",
            "train.minutes=0.5",
            "data.fade={seconds: 1, shape: cosine}",
            "data.split.valid=0",
        ],
    )
    assert r.train.batch == 64 and r.train.ema.half_life == 9.0 and r.process.noise_conditioning.use == "tau"
    assert r.sampler.use == "heun" and r.network.params["timesteps"].params["exponent"] == 2.0
    assert r.process.schedule.params == {"sigma_min": 0.01, "sigma_max": 40.0}
    assert r.train.steps is None and r.train.minutes == 0.5 and r.split.valid == 0.0
    assert r.data.build(split="train", valid=0.0).fade.shape == "cosine"


def test_merge_gives_a_new_recipe_and_a_bare_key_belongs_to_its_section(folder):
    r = load_recipe("base.yaml")
    new = r.with_overrides(
        ["steps=30", "sample.count=2", "guidance.scale=3", "seed=5", "use=heun"], bare_section="sample"
    )
    assert (new.sample.steps, new.sample.count, new.sample.seed, new.seed) == (30, 2, 5, 3)
    assert new.sample.guidance.params["scale"] == 3.0 and new.sampler.use == "heun" and r.sampler.use == "ddim"
    assert new.with_overrides(["seed=9"]).seed == 9
    with pytest.raises(BadInput, match=r"only sample\.\* can change here"):
        r.with_overrides(["network.width=3"], bare_section="sample")
    with pytest.raises(BadInput, match=r"stepz=3: unknown key; did you mean 'sample.steps'"):
        r.with_overrides(["stepz=3"], bare_section="sample")


@pytest.mark.slow
def test_text_out_of_a_checkpoint_names_registered_components_only(folder):
    text = load_recipe("base.yaml").dump()
    with pytest.raises(BadInput, match="--allow-code") as error:
        load_recipe_text(text, overrides=["steps=3"])
    assert str(error.value).count("--allow-code") == 2  # dataset and network
    assert load_recipe_text(text, overrides=["steps=3"], allow_code=True).sample.steps == 3
    nested = (
        load_recipe("shapes").with_overrides(["sample.timesteps=karras"]).dump().replace("use: karras", "use: os:path")
    )
    with pytest.raises(BadInput, match="timestep spacing 'os:path' names code"):
        load_recipe_text(nested)


def test_text_out_of_a_checkpoint_stands_alone_and_needs_no_data():
    text = load_recipe("digits", partial=True).dump()
    assert load_recipe_text(text).data.params["root"] is None
    with pytest.raises(BadInput, match="cannot extend another"):
        load_recipe_text("extends: shapes\n")
    with pytest.raises(BadInput, match="a recipe is a mapping"):
        load_recipe_text("")


def test_parameters_added_later_have_their_earlier_values_in_stored_recipes(folder, monkeypatch):
    """A text that sonolux wrote names every parameter; one that it lacks was added since, with another default."""

    def sigma_min(recipe):
        return recipe.process.schedule.params["sigma_min"]

    monkeypatch.setattr(find_class("schedule", "edm"), "stored_defaults", {"sigma_min": 0.01}, raising=False)
    new = load_recipe("base.yaml")
    written = new.dump()
    assert sigma_min(new) == sigma_min(load_recipe_text(written, allow_code=True)) == 0.002
    old = written.replace(", sigma_min: 0.002", "")
    stored = load_recipe_text(old, allow_code=True)
    assert old != written and sigma_min(stored) == sigma_min(stored.with_overrides(["sample.steps=9"])) == 0.01
    run = folder / "run"
    run.mkdir()
    (run / "resolved.yaml").write_text(old)
    assert sigma_min(load_run_recipe(run, allow_code=True)) == 0.01
    (folder / "more.yaml").write_text("extends: run/resolved.yaml\nname: more\n")
    assert sigma_min(load_recipe("more.yaml", allow_code=True)) == 0.01
    for change in ("process.schedule.use=edm", "process.schedule={use: edm}"):  # the user names it: as it is today
        assert sigma_min(stored.with_overrides([change])) == 0.002


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_load_by_full_and_short_name(name, tmp_path):
    short = name.rpartition("/")[2]
    root = [f"data.root={tmp_path}"] if load.recipe_summary(name, packaged_recipes()[name])["needs"] else []
    recipe = load_recipe(name, root)
    assert recipe == load_recipe(short, root)
    if root and constructor_parameters(find_class("dataset", recipe.data.use))["root"].default is REQUIRED:
        with pytest.raises(BadInput, match=r"needs data.root: path .*data.root=path/to/folder"):
            load_recipe(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shaped", "did you mean 'image/shapes'"),
        ("nope.yaml", "there is no recipe file nope.yaml"),
        (".", "is a folder"),
        ("nothing-like-it", "sonolux recipe list"),
    ],
)
def test_a_recipe_that_is_not_there(folder, name, said):
    with pytest.raises(BadInput, match=said):
        load_recipe(name)


def test_a_short_name_that_two_recipes_have(monkeypatch):
    monkeypatch.setattr(load, "packaged_recipes", lambda: {"audio/x": Path("a"), "image/x": Path("b")})
    with pytest.raises(BadInput, match="'x' may mean audio/x or image/x"):
        load_recipe("x")


def test_a_file_that_is_no_text(folder):
    (folder / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"x.yaml: cannot be read"):
        load_recipe("x.yaml")


def test_a_byte_order_mark_and_windows_lines_are_fine(folder):
    text = (folder / "base.yaml").read_text().replace("\n", "\r\n")
    (folder / "w.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_recipe("w.yaml").train.batch == 8


def test_a_default_stands_where_its_section_does(folder):
    r = load_recipe("base.yaml", ["train.clip=2", "eval.count=9"])
    components = (r.train.optimizer, r.process.parameterization, r.objective.params["weighting"])
    assert [f"{c.position}: {c.path}" for c in components] == [
        "base.yaml:15:3: train.optimizer",
        "base.yaml:10:1: process.parameterization",
        "base.yaml:11:1: objective.weighting",
    ]


def test_the_objective_is_a_section_with_parameters_of_its_own(folder):
    r = load_recipe("base.yaml", ["objective.loss_space=eps", "objective.per_element=1", "objective.weighting=min_snr"])
    p = r.objective.params
    assert r.objective.use == "denoising" and p["loss_space"] == ComponentSpec("parameterization", "eps")
    assert (p["timestep_sampling"].use, p["weighting"].use, p["per_element"]) == ("lognormal", "min_snr", 1.0)
    assert load_recipe("base.yaml", ["objective=null"]).objective.params["loss_space"] is None
    assert r.with_overrides(["objective.loss_space=null"]).objective.params["loss_space"] is None


def test_metrics_are_a_list_of_components_and_null_means_the_standard_ones(folder):
    r = load_recipe("base.yaml", ["eval.metrics=[frechet, {use: mmd}]"])
    assert [(m.kind, m.use) for m in r.eval.metrics] == [("metric", "frechet"), ("metric", "mmd")]
    assert load_recipe("base.yaml", ["eval.metrics=null"]).eval.metrics == load_recipe("base.yaml").eval.metrics == []


@pytest.mark.slow
def test_importing_recipes_and_listing_names_loads_no_torch():
    code = (
        "import sys; from sonolux.core.config import registry; from sonolux.core.config.load import packaged_recipes; "
        "from sonolux.core.config.load import recipe_summary; "
        "[registry.component_names(k) for k in registry.component_kinds()]; [recipe_summary(n, f) for n, f in "
        "packaged_recipes().items()]; "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_folder_with_a_recipe_names_it(tmp_path):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared/recipe.yaml").write_text("recipe: 1\n")
    with pytest.raises(BadInput, match=r"is a folder: its recipe is .*prepared/recipe\.yaml"):
        load_recipe(tmp_path / "prepared")


def test_a_recipe_is_no_run(tmp_path):
    from sonolux.core.training.checkpoint import newest_checkpoint

    (tmp_path / "recipe.yaml").write_text("recipe: 1\n")
    with pytest.raises(BadInput, match="is a recipe: train it first"):
        newest_checkpoint(tmp_path / "recipe.yaml")
