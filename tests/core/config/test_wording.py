"""Bad input: every problem at once, each with its place, what was expected, and the nearest valid name."""

import shlex
from pathlib import Path

import pytest
from sonolux.core.config import recipe as reading
from sonolux.core.config import tree
from sonolux.core.config.load import load_recipe, load_recipe_text
from sonolux.core.config.yaml import parse_argument
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

HEAD = """\
recipe: 1
modality: {use: image, size: 16}
data: {use: image/shapes}
codec: image/pixels
network: {use: image/unet}
train: {steps: 3}
"""
FLOW = HEAD + "process: {schedule: rectified_flow, parameterization: flow}\nsample: {timesteps: linspace}\n"


def check_all_at_once(refused):
    said = refused(
        """\
        recipe: 1
        nmae: x
        seed: no
        modality: {use: image, size: big, channels: 1}
        data: {use: image/shapez}
        codec: image/pixels
        network:
          use: image/unet
          widht: 96
          stages: [1, x]
          stages: [1]
        train: {steps: 10, minutes: 2, batch: '4', precision: bf61, ema: {half_lif: 3}, accumulate: true}
        sample: {use: dimm, timesteps: {use: karas}, steps: 0, guidance: cfg}
        """,
        "train.btach=64",
        "process.schedule.sigma_max=0.0001",
    )
    said = [line for line in said if not line.startswith("    ")]
    expected = [
        "bad.yaml:2:1: nmae: unknown key; did you mean 'name'?",
        "bad.yaml:3:7: seed: expected integer, got the text 'no'",
        "bad.yaml:4:30: modality.size: expected integer or list [integer, integer], got the text 'big'",
        "bad.yaml:5:13: data.use: there is no dataset 'image/shapez'; did you mean 'image/shapes'?",
        "bad.yaml:9:3: network.widht: unknown key; did you mean 'width'?",
        "bad.yaml:10:15: network.stages[1]: expected integer, got the text 'x'",
        "bad.yaml:11:3: network.stages: duplicate key, first given at line 10",
        "bad.yaml:12:39: train.batch: expected integer of at least 1 and at most 1000000, got the text '4'",
        "bad.yaml:12:55: train.precision: expected one of auto, float32, bf16, got the text 'bf61'; did you mean",
        "bad.yaml:12:67: train.ema.half_lif: unknown key; did you mean 'half_life'?",
        "bad.yaml:12:93: train.accumulate: expected integer of at least 1 and at most 1000000, got true",
        "bad.yaml:13:15: sample.use: there is no sampler 'dimm'; did you mean 'ddim'",
        "bad.yaml:13:38: sample.timesteps.use: there is no timestep spacing 'karas'; did you mean 'karras'?",
        "bad.yaml:13:53: sample.steps: expected integer of at least 1 and at most 10000, got 0",
        "command line: process.schedule.sigma_max=0.0001: edm needs 0 < sigma_min < sigma_max",
        "command line: train.btach=64: unknown key; did you mean 'train.batch'?",
        "16 errors; nothing was run",
    ]
    assert len(said) == len(expected), "\n".join(said)
    for line, start in zip(said, expected, strict=True):
        assert line.startswith(start), f"{line}\n{start}"


def test_every_problem_is_reported_at_once(refused):
    check_all_at_once(refused)


def test_a_reader_that_stops_at_the_first_problem_is_caught(refused, monkeypatch):
    true = reading.wording.problems_from_error
    monkeypatch.setattr(reading.wording, "problems_from_error", lambda *a: true(*a)[:1])
    with pytest.raises(AssertionError):
        check_all_at_once(refused)


def test_the_line_is_shown(refused):
    assert refused(HEAD + "sed: 3\n")[:2] == [
        "bad.yaml:7:1: sed: unknown key; did you mean 'seed'?",
        "    7 | sed: 3",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("network.width='4'", "expected integer of at least 1 and at most 512, got the text '4'"),
        ("network.width=4.0", "expected integer of at least 1 and at most 512, got 4.0"),
        ("network.width=true", "expected integer of at least 1 and at most 512, got true"),
        ("network.width=0", "expected integer of at least 1 and at most 512, got 0"),
        ("network.width=513", "got 513"),
        ("network.rate=fast", "expected number, got the text 'fast'"),
        ("network.rate=.nan", "expected number, got .nan"),
        ("network.causal=yes", "expected true or false, got the text 'yes'"),
        ("network.causal=1", "expected true or false, got 1"),
        ("network.stages=3", "expected list of integer, got 3"),
        ("network.stages=[1, 2.5]", "expected integer, got 2.5"),
        ("network.size=[1]", "expected integer or list [integer, integer], got a list"),
        ("network.spec=3", "sonolux sets this itself; leave it out"),
        ("network.timesteps.exponent=x", "expected number, got the text 'x'"),
        ("network.timesteps=[karras]", "expected timestep spacing: a name, or a mapping with `use:`, got a list"),
        ("network.more=[karas]", "there is no timestep spacing 'karas'; did you mean 'karras'?"),
        ("network.use=null", "expected the name of a network, got null"),
        ("network.use=unet", "did you mean 'audio/unet' or 'image/unet'?"),
        ("network.use='./parts.py:Nett'", "has no class 'Nett'; did you mean 'Net'?"),
        ("network.use='./prts.py:Net'", "there is no file"),
        ("network.use='os.nope:Net'", "there is no module 'os.nope' to import"),
        ("data.valid=0.2", "sonolux sets this itself; leave it out"),
        ("data.split.valid=1", "expected number of at least 0 and at most 0.95, got 1"),
        ("data.split.by=random", "expected one of hash, got the text 'random'"),
        ("data.fade.seconds=x", "expected number, got the text 'x'"),
        ("data.fade.shape=cosin", "did you mean 'cosine'?"),
        ("data.fade.length=1", "unknown key; data.fade accepts: seconds, shape"),
        ("data.weights={a: x}", "expected number, got the text 'x'"),
        ("conditioning.k={use: scalar, key: k}", "needs conditioning.k.range: list of number"),
        ("data.root=null", "needs data.root: path (folder that holds them); for example data.root=path/to/folder"),
        ("data.fade=true", "expected mapping, got true"),
        ("data.fade={seconds: 1", "got the text '{seconds: 1' (not valid YAML: "),
        ("network={use: image/unet", "not valid YAML: "),
        ("sample.label=[kick #2]", "as one name: sample.label='\"[kick #2]\"'"),
        ("train.batch=64 # large", "expected integer of at least 1 and at most 1000000, got the text '64 # large'"),
        ("train.batch=&x 64", "got the text '&x 64'"),
        ("train.batch=~", "got the text '~'"),
        ("train=batch: 64", "got the text 'batch: 64'"),
        ("seed=" + "9" * 5000, "expected integer, got the text '9999"),
        ("data.root=~no-such-user/kit", "no such home folder; a name that starts with ~ is written ./~name"),
        ("train.lr=1", "did you mean 'train.optimizer.lr'?"),
        ("train=5", "expected mapping, got 5"),
        ("train.steps=null", "needs train.steps or train.minutes"),
        ("train.accumulate=9", "a batch of 8 cannot be split into 9 parts"),
        ("train.optimizer.lr=-1", "adamw's lr must be positive, not -1.0"),
        ("train.optimizer.betas=[0.9]", "expected list [number, number], got a list"),
        ("train.clip=-1", "expected number of at least 0, got -1"),
        ("sample.label.x=1", None),
        ("sample.conditions.speed=3", "is not a condition of this recipe. This recipe's conditions: label"),
        ("sample.eta=2", "ddim's eta lies between 0"),
        ("sample.timesteps={use: explicit, times: 3}", "expected list of number, got 3"),
        ("process.parameterization=esp", "there is no parameterization 'esp'; did you mean 'eps'?"),
        ("conditioning.9x=class", "a condition's name is letters, digits and _"),
        ("eval.metrics=[frechet, mdd]", "there is no metric 'mdd'; did you mean 'mmd'?"),
        ("eval.metrics=frechet", "expected list of metric (a name, or a mapping with `use:`), got the text 'frechet'"),
        ("eval.metrics=[{use: frechet, power: 2}]", "unknown key; frechet accepts: "),
        ("objective.per_element=2", "expected number of at least 0 and at most 1, got 2"),
        ("objective.use=denoisin", "there is no objective 'denoisin'; did you mean 'denoising'?"),
        ("objective.timestep_sampling.mean=x", "expected number, got the text 'x'"),
        ("objective.loss_space=epz", "there is no parameterization 'epz'; did you mean 'eps'?"),
        ("sampler=ddim", "unknown key; did you mean 'sample'?"),
        ("split=3", "unknown key; a recipe accepts: recipe, name"),
        ("seed=null", "expected integer, got null"),
        ("recipe=true", "expected one of 1, got true"),
        ("recipe=2", "expected one of 1, got 2"),
        ("codec=null", "needs a codec, one of: image/autoencoder, image/autoencoder_kl, image/pixels"),
        ("codec=audio/stft", "'audio/stft' is for modality audio, and this recipe's is image"),
        ("nework.width=3", "unknown key; did you mean 'network'?"),
        ("modality.channels=2", "modality.channels is 1 (grey) or 3 (RGB)"),
    ],
)  # fmt: skip
def test_one_bad_value(refused, override, said):
    if said is None:  # free values take anything
        assert load_recipe("base.yaml", [override]).sample.label == {"x": 1}
        return
    lines = refused(None, override)
    assert said in lines[0] and all(line.startswith("    ") for line in lines[1:]), lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: 1\n", "data: is missing: give a data section"),
        ("recipe: 1\n", "network: is missing: give a network: a mapping with `use:`"),
        ("modality: image\n", "recipe: is missing: write `recipe: 1`"),
        ("- 1\n", "a recipe is a mapping that starts with `recipe: 1`"),
        ("", "a recipe is a mapping that starts with `recipe: 1`"),
        (HEAD + "sample: {guidance: cfg}\n", "guidance strengthens a condition, and this recipe has none"),
        (HEAD + "sample: {guidance: {scale: 2}}\n", "sample.guidance: needs `use:`, one of"),
        (HEAD + "sample: {label: 3}\n", "this recipe has no condition 'label'"),
        (HEAD + "extends: [a]\n", "expected the name or path of one recipe"),
        (HEAD + "extends: nothing-like-it\n", "extends: there is no recipe 'nothing-like-it'"),
        (HEAD.replace("image/unet", "audio/unet"), "this recipe's is image; did you mean 'image/unet'?"),
        (FLOW.replace("parameterization: flow", "parameterization: eps"), "process.parameterization: "),
        (FLOW.replace("linspace", "{use: karras, rho_max: 1e-4}"), "sample.timesteps: karras needs 0 < rho_min"),
    ],
)  # fmt: skip
def test_what_no_single_value_tells(refused, text, said):
    assert any(said in line for line in refused(text)), refused(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["type", "keys", "train", "half", "pop", "training", "forward", "to"])
def test_a_condition_is_not_called_like_an_attribute_of_modules(refused, name):
    """torch keeps conditions in a ModuleDict, which has these names already."""
    said = refused(HEAD + f"conditioning: {{{name}: {{use: class}}}}\n")
    assert any(f"conditioning.{name}: a condition cannot be called {name}" in line for line in said), said


def test_other_names_of_conditions_are_taken(folder):
    from sonolux.core.nn.model import ConditionedNetwork
    from torch import nn

    names = ["types", "label", "look", "train_", "kind", "mode"]
    (folder / "ok.yaml").write_text(HEAD + f"conditioning: {{{', '.join(f'{n}: {{use: class}}' for n in names)}}}\n")
    assert list(load_recipe("ok.yaml").conditioning) == names
    assert list(ConditionedNetwork(nn.Identity(), {n: nn.Identity() for n in names}).conditions) == names


def test_good_values_are_taken(folder):
    (folder / "ok.yaml").write_text(
        HEAD + "x-note: {anything: [1, no]}\nconditioning:\neval:\nseed: 4\n"
        "process: {schedule: rectified_flow, parameterization: flow}\nsample: {timesteps: linspace}\n"
    )
    r = load_recipe("ok.yaml", ["x-more=1"])
    assert r.seed == 4 and r.conditioning == {} and r.process.parameterization.use == "flow"
    r = load_recipe(
        "base.yaml", ["network.rate=2", "network.size=[3, 4]", "network.size=[5, 6]", "data.weights={no: 1}"]
    )
    assert type(r.network.params["rate"]) is float and r.network.params["size"] == (5, 6)
    assert r.data.params["weights"] == {"no": 1.0}


def test_an_integer_that_is_a_truth_value_is_caught_if_types_are_compared_loosely(refused, monkeypatch):
    true = reading.Recipe.model_validate
    monkeypatch.setattr(
        reading.Recipe, "model_validate", lambda data, context: true(data, strict=False, context=context)
    )
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refused(None, "sample.seed=true")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[kick #2, true]", {"as a list": ["kick #2", True], "as one name": "[kick #2, true]"}),
        (
            "[a b, 'x y', 007, it's #1]",
            {"as a list": ["a b", "x y", 7, "it's #1"], "as one name": "[a b, 'x y', 007, it's #1]"},
        ),
        ("{kick #2: 0.5, 7: 1}", {"as a mixture": {"kick #2": 0.5, "7": 1}, "as one name": "{kick #2: 0.5, 7: 1}"}),
        ("[kit] it's $HOME", {"as one name": "[kit] it's $HOME"}),
        ('["a\\b] #', {"as one name": '["a\\b] #'}),
        ("{a #", {"as one name": "{a #"}),
        ("[#" + "x" * 80, {}),
    ],
)
def test_proposed_arguments_are_read_back_by_a_shell_and_by_yaml(text, values):
    with pytest.raises(BadInput) as error:
        load_recipe_text(FLOW, overrides=[f"label={text}"])
    said = str(error.value)
    proposed = dict(part.split(": ", 1) for part in said.split("; ")[1:] if part.startswith("as "))
    assert proposed.keys() == values.keys() and len(said) <= 260, said
    for meaning, argument in proposed.items():
        (word,) = shlex.split(argument)
        key, _, value = word.partition("=")
        assert key == "sample.label" and parse_argument(value, Path(), word).plain() == values[meaning], argument


def check_no_key_twice():
    """The message of a component's constructor with its position, in a file and on the command line."""
    written, given = (
        tree.SourcePosition("a.yaml", 3, 1, "", Path.cwd(), override) for override in ("", "data.root = /gone")
    )
    for position, path, message, said in (
        (given, "data", "data.root: no such folder: /gone", "a.yaml: data.root = /gone: no such folder: /gone"),
        (given, "data", "there are no files", "a.yaml: data.root = /gone: there are no files"),
        (written, "data", "data.root: no such folder: /gone", "a.yaml:3:1: data.root: no such folder: /gone"),
        (written, "data", "data lacks files", "a.yaml:3:1: data lacks files"),
        (written, "data", "database is at least 1", "a.yaml:3:1: data: database is at least 1"),
        (written, "network", "width is at least 1", "a.yaml:3:1: network: width is at least 1"),
    ):
        assert tree.locate_message(position, path, message) == said


def test_no_key_is_said_twice():
    check_no_key_twice()


def test_planted_repeated_key_is_caught(monkeypatch):
    monkeypatch.setattr(tree, "name_key", lambda path, message: f"{path}: {message}")
    assert_caught(check_no_key_twice)


def test_the_key_that_a_constructor_names_is_not_repeated(tmp_path):
    (tmp_path / "a.yaml").write_text(HEAD.replace("image/shapes", "image/folder, root: gone"))
    for change, start in (((), "a.yaml:3:1: data.root"), (["data.root=x"], "command line: data.root=x")):
        recipe = load_recipe("a.yaml", change, cwd=tmp_path)
        with pytest.raises(BadInput, match=f"^{start}: no such folder: "):
            recipe.data.build(spec=recipe.modality.build().spec(), split="train", seed=0)


def check_deeper_keys(refused):
    """Keys that belong to a section or component below."""
    said = refused(HEAD, "lr=0.1", "half_life=3", "valid=0.5", "eta=0.1")
    for key, place in (
        ("lr=0.1", "train.optimizer.lr"),
        ("half_life=3", "train.ema.half_life"),
        ("valid=0.5", "data.split.valid"),
    ):
        assert f"command line: {key}: unknown key; did you mean {place!r}?" in said, said
    assert any(line.startswith("command line: eta=0.1: unknown key; a recipe accepts: ") for line in said), said


def test_a_key_of_a_deeper_section_is_proposed_with_its_path(refused):
    check_deeper_keys(refused)


def test_planted_search_of_one_level_is_caught(refused, monkeypatch):
    true = reading.wording._deeper_keys
    short = lambda name, holder, data: (key for key in true(name, holder, data) if key.count(".") < 2)  # noqa: E731
    monkeypatch.setattr(reading.wording, "_deeper_keys", short)
    assert_caught(check_deeper_keys, refused)
