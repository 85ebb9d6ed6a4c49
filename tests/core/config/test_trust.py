"""Which texts are trusted: own runs and forgeries of them, recipe files, paths and code by position."""

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, get_args

import pytest
from pydantic import TypeAdapter
from sonolux.core.config import registry, trust
from sonolux.core.config.components import ComponentField, ValidationContext
from sonolux.core.config.load import load_recipe, load_recipe_text, load_run_recipe
from sonolux.core.config.recipe import Recipe
from sonolux.core.config.signature import constructor_parameters
from sonolux.core.config.spec import ComponentSpec, unconfirmed_paths
from sonolux.core.config.trust import TrustLevel, UnconfirmedPath
from sonolux.core.config.yaml import dump_yaml, parse_yaml
from sonolux.core.util.errors import BadInput, BrokenPlugin
from sonolux.core.util.user_key import sign_text

TEXT = "recipe: 1\nextends: shapes\n"


def made(folder, text=TEXT):
    """A run folder that a training of this user wrote."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "resolved.yaml").write_text(text)
    (folder / "env.json").write_text(json.dumps({"sonolux": "0", **trust.ownership_entries(folder, [text])}))
    return folder


# --- own runs ---


def check_forgeries(folder):
    """Only the text that was written, in the place where it was written, is the user's own."""
    run = made(folder / "run")
    assert trust.is_own_run(run, TEXT) and not trust.is_own_run(run, TEXT + "seed: 1\n")
    facts = json.loads((run / "env.json").read_text())
    assert facts["folder"] == str(run)
    copy = shutil.copytree(run, folder / "copy")
    forged = [
        facts,
        {**facts, "folder": str(copy)},
        {**facts, "recipes": []},
        {**facts, "recipes": facts["recipes"][0]},
        {**facts, "recipes": {"a": 1}},
        {**facts, "recipes": [None, 1, "0" * 64, sign_text(TEXT), sign_text(str(copy) + TEXT)]},
        ["recipes"],
        {},
    ]
    for claimed in forged:
        (copy / "env.json").write_text(json.dumps(claimed))
        assert not trust.is_own_run(copy, TEXT), claimed
    for damaged in ("", "[" * 10000, "\x00"):
        (copy / "env.json").write_text(damaged)
        assert not trust.is_own_run(copy, TEXT), damaged[:9]
    (copy / "env.json").unlink()
    (copy / "env.json").symlink_to(run / "env.json")
    assert not trust.is_own_run(copy, TEXT), "a link to what is valid in another place"
    shutil.rmtree(copy)
    run.rename(copy)
    assert not trust.is_own_run(copy, TEXT), "moved"
    copy.rename(run)
    assert trust.is_own_run(run, TEXT), "moved back"
    (folder / "short").symlink_to(run)
    assert trust.is_own_run(folder / "short", TEXT), "another name of the same place"


def test_a_run_is_own_only_where_it_was_made(tmp_path):
    check_forgeries(tmp_path)


@pytest.mark.parametrize("planted", ["the place is not signed", "the text is not signed", "any signature is valid"])
def test_planted_signatures_that_prove_too_little_are_caught(tmp_path, monkeypatch, planted):
    if planted == "any signature is valid":
        monkeypatch.setattr(trust.user_key, "has_valid_signature", lambda text, given: len(given) > 0)
    else:
        kept = (lambda folder, text: text) if "place" in planted else (lambda folder, text: os.path.realpath(folder))
        monkeypatch.setattr(trust, "_claim", kept)
    with pytest.raises(AssertionError):
        check_forgeries(tmp_path)


def test_a_key_of_another_user_makes_no_own_run(tmp_path, monkeypatch):
    run = made(tmp_path / "run")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert not trust.is_own_run(run, TEXT)
    made(tmp_path / "second")
    assert not trust.is_own_run(run, TEXT) and trust.is_own_run(tmp_path / "second", TEXT)


def test_without_a_key_every_run_is_foreign_and_a_note_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with pytest.warns(UserWarning, match="data.root=PATH; XDG_STATE_HOME=FOLDER"):
        assert trust.ownership_entries(tmp_path, [TEXT]) == {}
    run = tmp_path / "run"
    with pytest.warns(UserWarning):
        made(run)
    assert not trust.is_own_run(run, TEXT)


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_a_run_of_the_first_edition_is_foreign(modality):
    run = Path(__file__).parents[2] / "assets/first_edition" / modality / "run"
    assert trust.is_run_folder(run) and not trust.is_own_run(run, (run / "resolved.yaml").read_text())


def test_a_checkpoint_is_as_own_as_its_folder(tmp_path, monkeypatch):
    run = made(tmp_path / "run")
    assert trust.trust_of_checkpoint(run / "checkpoints/step-1.safetensors", TEXT) == TrustLevel.PATHS
    assert trust.trust_of_checkpoint(run / "checkpoints/step-1.safetensors", TEXT + " ") == TrustLevel.NONE
    assert trust.trust_of_checkpoint(run / "step-1.safetensors", TEXT) == TrustLevel.NONE
    assert trust.trust_of_checkpoint(tmp_path / "step-1.safetensors", TEXT) == TrustLevel.NONE
    monkeypatch.chdir(run / "checkpoints")
    assert trust.trust_of_checkpoint(Path("step-1.safetensors"), TEXT) == TrustLevel.PATHS


# --- recipe files ---


@pytest.mark.slow
def test_a_recipe_file_is_trusted_unless_it_is_in_a_run_of_others(tmp_path):
    run = made(tmp_path / "run")
    for most in TrustLevel:
        assert trust.trust_of_file(tmp_path / "mine.yaml", TEXT, most) == most
        assert trust.trust_of_file(run / "resolved.yaml", TEXT, most) == most
        assert trust.trust_of_file(run / "recipe.yaml", "another text", most) == TrustLevel.NONE
    own = [
        load_run_recipe(run).trust,
        load_run_recipe(run, resume=True).trust,
        load_recipe(run / "resolved.yaml").trust,
    ]
    assert own == [TrustLevel.PATHS, TrustLevel.CODE, TrustLevel.CODE]
    copy = shutil.copytree(run, tmp_path / "copy")
    other = [load_run_recipe(copy), load_run_recipe(copy, resume=True), load_recipe(copy / "resolved.yaml")]
    assert [recipe.trust for recipe in other] == [TrustLevel.NONE] * 3


def test_a_run_of_others_does_not_choose_which_files_are_read_as_recipes(tmp_path):
    (tmp_path / "secret.yaml").write_text("recipe: 1\nextends: shapes\n")
    for extended in ("../secret.yaml", str(tmp_path / "secret.yaml")):
        run = tmp_path / "run"
        made(run, f"recipe: 1\nextends: {extended}\n")
        assert load_run_recipe(run).data.use == "image/shapes"
        copy = shutil.copytree(run, tmp_path / "copy")
        with pytest.raises(BadInput, match="may extend packaged recipes only"):
            load_run_recipe(copy)
        (tmp_path / "mine.yaml").write_text("extends: copy/resolved.yaml\n")
        with pytest.raises(BadInput, match="may extend packaged recipes only"):
            load_recipe(tmp_path / "mine.yaml")
        shutil.rmtree(run)
        shutil.rmtree(copy)


def test_a_file_that_shadows_a_packaged_recipe_is_not_taken_for_it(tmp_path):
    run = made(tmp_path / "run")
    copy = shutil.copytree(run, tmp_path / "copy")
    assert load_run_recipe(copy).data.use == "image/shapes"
    (copy / "shapes").write_text("recipe: 1\nextends: digits\n")
    with pytest.raises(BadInput, match="may extend packaged recipes only"):
        load_run_recipe(copy)


# --- code ---


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A file whose import leaves a trace: (the folder that contains evil.py, the trace)."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("EVIL_TRACE", str(trace))
    (tmp_path / "evil.py").write_text(
        "import os, pathlib\npathlib.Path(os.environ['EVIL_TRACE']).touch()\nraise ImportError('it ran')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path, trace


EVERY_KIND = [
    "sample.guidance=cfg", "sample.output=audio/file", "eval.feature=audio/learned", "eval.metrics=[mmd]",
    "conditioning.caption={use: text}", "network.cross_attention=[1]",
    "conditioning.given={use: reference, degradation: mask}", "train.log=tensorboard",
]  # fmt: skip


def uses(values, path=()):
    """The path of every component in plain values."""
    if isinstance(values, dict) and "use" in values:
        yield path
    for key, inner in (
        values.items() if isinstance(values, dict) else enumerate(values if isinstance(values, list) else [])
    ):
        yield from uses(inner, (*path, key))


def kinds_of(value):
    from sonolux.core.config.spec import nested_values

    found = {value.kind} if isinstance(value, ComponentSpec) else set()
    return found.union(*(kinds_of(inner) for _, inner in nested_values(value)))


@pytest.mark.slow
def test_code_is_refused_wherever_it_stands(evil):
    folder, trace = evil
    recipe = load_recipe("synth_sfx", EVERY_KIND)
    in_recipes = set(registry.component_kinds())
    assert kinds_of(recipe) == in_recipes, "a new kind of component: name one of it in EVERY_KIND"
    places = list(uses(recipe.resolved()))
    assert len(places) >= len(in_recipes)
    for place in places:
        for code in ("./evil.py:Evil", f"{folder}/evil.py:Evil", "evil:Evil"):
            values = recipe.resolved()
            at = values
            for step in place:
                at = at[step]
            at["use"] = code
            with pytest.raises(BadInput, match="--allow-code"):
                load_recipe_text(dump_yaml(values), trusted=TrustLevel.PATHS)
            (folder / "base.yaml").write_text(dump_yaml(values))
            (folder / "mine.yaml").write_text("extends: ./base.yaml\nseed: 3\n")
            with pytest.raises(BadInput, match=r"base\.yaml:.*--allow-code"):
                load_recipe("mine.yaml")
            assert not trace.exists(), (place, code)
    with pytest.raises(BrokenPlugin, match="it ran"):  # of the last place; shows that the trace would be left
        load_recipe("mine.yaml", allow_code=True)
    assert trace.exists()


@pytest.mark.slow
def test_code_that_the_user_names_runs(evil):
    folder, trace = evil
    (folder / "mine.yaml").write_text("extends: shapes\nnetwork: {use: './evil.py:Evil'}\n")
    (folder / "base.yaml").write_text("extends: shapes\nnetwork: {use: './evil.py:Evil'}\n")
    (folder / "child.yaml").write_text("extends: base.yaml\nnetwork: {use: './evil.py:Evil'}\n")
    shown = load_recipe("shapes").dump()
    for ask in (
        lambda: load_recipe("mine.yaml"),
        lambda: load_recipe("child.yaml"),
        lambda: load_recipe("shapes", ["network=./evil.py:Evil"]),
        lambda: load_recipe_text(shown, overrides=["use=./evil.py:Evil"]),
        lambda: load_recipe("shapes").with_overrides(["sample.timesteps=evil:Evil"]),
    ):
        with pytest.raises(BrokenPlugin, match="it ran"):
            ask()
        trace.unlink()


def test_a_change_next_to_code_of_others_does_not_allow_it(evil):
    folder, trace = evil
    (folder / "base.yaml").write_text("extends: shapes\nnetwork: {use: './evil.py:Evil', width: 4}\n")
    (folder / "mine.yaml").write_text("extends: base.yaml\nnetwork: {width: 8}\n")
    for overrides in ((), ("network.width=16",)):
        with pytest.raises(BadInput, match="--allow-code"):
            load_recipe("mine.yaml", overrides)
    assert not trace.exists()
    assert load_recipe("mine.yaml", ["network=image/unet"]).network.use == "image/unet"


def test_plugins_of_the_working_folder_are_not_registered(evil, monkeypatch):
    folder, trace = evil
    info = folder / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sonolux.sampler]\nevil/sampler = evil:Evil\n")
    registry._points.cache_clear()
    assert "evil/sampler" in registry.component_names("sampler"), "installed in a folder of the path"
    monkeypatch.setattr("sys.path", ["", *(p for p in os.sys.path if Path(p).resolve() != folder)])
    registry._points.cache_clear()
    try:
        assert "evil/sampler" not in registry.component_names("sampler") and not trace.exists()
    finally:
        monkeypatch.undo()
        registry._points.cache_clear()


# --- paths ---


def holds_path(annotation):
    return annotation is Path or any(holds_path(part) for part in get_args(annotation))


PATHS = [
    (kind, name, parameter.name)
    for kind in registry.component_kinds()
    for name in registry.builtin_files(kind)
    for parameter in constructor_parameters(registry.find_class(kind, name), kind).values()
    if not parameter.hidden and holds_path(parameter.annotation)
]


def validated(kind, text, trusted):
    node = parse_yaml(text, "recipe", Path("/base"), [], trust=trusted)
    component = TypeAdapter(Annotated[ComponentSpec, ComponentField(kind)])
    return component.validate_python(node.data(), context=ValidationContext(partial=True))


@pytest.mark.parametrize(("kind", "name", "parameter"), PATHS)
def test_every_path_of_every_component_is_refused_in_a_recipe_of_others(kind, name, parameter):
    text = f"{{use: {name}, {parameter}: secret}}"
    foreign = validated(kind, text, TrustLevel.NONE)
    assert [str(path) for path in unconfirmed_paths(foreign)] == ["/base/secret"]
    assert foreign.resolved()[parameter] == "/base/secret", "shown"
    with pytest.raises(BadInput, match=r"/base/secret.*PATH again"):
        foreign.build()
    assert validated(kind, text, TrustLevel.PATHS).params[parameter] == Path("/base/secret")


def test_components_with_paths_are_known():
    """The list is not empty, and no parameter that is called like a path is a text."""
    assert {("dataset", "image/folder", "root"), ("guidance", "autoguidance", "weak")} <= set(PATHS)
    names = {parameter for *_, parameter in PATHS}
    for kind in registry.component_kinds():
        for name in registry.builtin_files(kind):
            for p in constructor_parameters(registry.find_class(kind, name), kind).values():
                assert (
                    p.name not in names
                    or holds_path(p.annotation)
                    or str not in (p.annotation, *get_args(p.annotation))
                )


def test_every_path_of_a_section_is_refused_too(tmp_path):
    values = load_recipe("shapes", [f"eval.cache={tmp_path}/cache", "eval.feature={use: image/learned, cache: c}"])
    text = values.dump()
    recipe = load_recipe_text(text)
    assert recipe.dump() == text, "shown as it is"
    listed = {key: str(path) for key, path in recipe.paths().items()}
    assert listed == {"eval.cache": f"{tmp_path}/cache", "eval.feature.cache": str(Path.cwd() / "c")}
    with pytest.raises(
        BadInput, match=rf"^eval\.feature\.cache is .* and eval\.cache is {tmp_path}/cache in the recipe"
    ):
        recipe.refuse_unconfirmed("data", "eval")
    recipe.refuse_unconfirmed("data", "sample")
    given = recipe.with_overrides(["eval.cache=here", "eval.feature.cache=null"])
    given.refuse_unconfirmed(*Recipe.model_fields)
    assert given.eval.cache == Path.cwd() / "here"


def test_an_unconfirmed_path_cannot_be_used_in_any_way():
    path = UnconfirmedPath(Path("/secret/\x1b[2J"))
    path.key = "data.root"
    assert str(path) == "/secret/\x1b[2J" and path == UnconfirmedPath(Path("/secret/\x1b[2J")) != UnconfirmedPath(
        Path("/")
    )
    for use in (
        Path,
        open,
        os.fspath,
        os.listdir,
        os.path.exists,
        lambda p: p / "file",
        lambda p: Path("/a") / p,
        lambda p: p.exists(),
        lambda p: p.parent,
    ):
        with pytest.raises(
            BadInput, match=r"^data\.root is '/secret/\\x1b\[2J' in .*: give data\.root=PATH again to use it$"
        ):
            use(path)
    assert not hasattr(path, "nothing_like_it")


class Reader:
    """A component of a plugin.

    Args:
        root: A path, or a name.
        listed: Paths.
        nested: Paths by name.
    """

    def __init__(
        self, root: Path | str | None = None, listed: list[Path] | None = None, nested: dict[str, Path] | None = None
    ):
        self.root = root


@pytest.mark.parametrize("value", ["root: s", "listed: [s]", "nested: {a: s}"])
def test_paths_of_plugins_are_refused_at_any_depth(value, monkeypatch):
    monkeypatch.setattr("sonolux.core.config.registry.find_class", lambda *a, **k: Reader)
    monkeypatch.setattr("sonolux.core.config.spec.find_class", lambda *a, **k: Reader)
    foreign = validated("network", f"{{use: acme/reader, {value}}}", TrustLevel.NONE)
    with pytest.raises(BadInput, match="/base/s"):
        foreign.build()
    assert isinstance(validated("network", f"{{use: acme/reader, {value}}}", TrustLevel.PATHS).build(), Reader)


def test_guidance_with_a_path_of_others_is_shown_and_can_be_replaced(tmp_path):
    text = load_recipe("shapes", ["sample.guidance=[cfg, {use: autoguidance, weak: /secret/run}]"]).dump()
    recipe = load_recipe_text(text)
    assert "weak: /secret/run" in recipe.dump()
    with pytest.raises(BadInput, match=r"sample\.guidance\.1\.weak=PATH"):
        recipe.refuse_unconfirmed("sample")
    recipe.with_overrides(["guidance.1.weak=mine"], bare_section="sample").refuse_unconfirmed("sample")
    recipe.with_overrides(["guidance=null"], bare_section="sample").refuse_unconfirmed("sample")


@pytest.mark.slow
def test_paths_may_be_given_in_every_section_and_nothing_else():
    recipe = load_recipe_text(load_recipe("digits", ["data.root=/secret", "eval.cache=/cache"]).dump())
    given = recipe.with_overrides(["steps=3", "data.root=mine", "eval.cache=c"], bare_section="sample")
    assert given.sample.steps == 3 and given.data.params["root"] == Path.cwd() / "mine"
    for change in ("train.decay=none", "data.label=none", "data.use=image/mnist", "data.nothing=3", "about=x"):
        with pytest.raises(BadInput, match=r"only sample\.\* can change here"):
            recipe.with_overrides([change], bare_section="sample")
