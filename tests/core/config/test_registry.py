"""Names found without importing, classes found by name, and what is said when they are not."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sonolux.core import samplers
from sonolux.core.config import registry
from sonolux.core.types import BadInput, BrokenPlugin

GOOD = '''
class Net:
    """A plugin's network.

    width: channels
    """

    def __init__(self, width: int = 3):
        self.width = width
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put distributions on the path: install("acme", "1.0", {"network": {"acme/net": "acme:Net"}}, acme=code)."""

    def put(name, version, points, **modules):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"[sonolux.{k}]\n" + "".join(f"{n} = {v}\n" for n, v in group.items()) for k, group in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, code in modules.items():
            (tmp_path / f"{module}.py").write_text(code)
        registry._points.cache_clear()
        monkeypatch.syspath_prepend(tmp_path)

    yield put
    for module in [m for m in sys.modules if m.startswith("acme_") or m.startswith("sonolux_local_")]:
        del sys.modules[module]
    registry._points.cache_clear()


# --- built-ins ---


def test_every_kind_that_has_a_folder_is_listed():
    for kind, place in registry.LAYOUT.items():
        assert list(registry.ROOT.glob(place.folder)), f"{kind}: {place.folder} is no folder"
    for kind in (
        "schedule",
        "timesteps",
        "parameterization",
        "sampler",
        "guidance",
        "network",
        "codec",
        "dataset",
        "modality",
    ):
        assert registry.component_names(kind), kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", registry.component_kinds())
def test_every_built_in_component_is_found(kind):
    for name in registry.component_names(kind):
        cls = registry.find_class(kind, name, allow_code=False)
        assert registry.describe_component(kind, name).about, name
        assert cls.__module__.startswith("sonolux."), name


def check_names():
    assert {"edm", "vp_linear"} <= set(registry.component_names("schedule"))
    assert "class" in registry.component_names("condition")  # class_.py
    assert "image/unet" in registry.component_names("network")
    assert set(registry.component_names("modality")) == {"audio", "image"}
    assert not {"base", "coefficients", "plan", "solver", "__init__"} & set(registry.component_names("sampler"))


def test_a_name_is_the_name_of_its_file():
    check_names()


def test_files_without_a_component_that_are_listed_are_caught(monkeypatch):
    monkeypatch.setitem(registry.LAYOUT, "sampler", replace(registry.LAYOUT["sampler"], helpers=()))
    with pytest.raises(AssertionError):
        check_names()


def test_a_new_file_is_a_new_component_and_two_classes_are_one_too_many(tmp_path, monkeypatch):
    folder = tmp_path / "core/samplers"
    folder.mkdir(parents=True)
    (folder / "new_one.py").write_text("class NewOne: pass\n")
    (folder / "base.py").write_text("class Sampler: pass\n")
    (folder / "_helpers.py").write_text("class Helper: pass\n")
    (folder / "two.py").write_text("class A: pass\nclass B: pass\nclass _Hidden: pass\n")
    (folder / "bare.py").write_text("from sonolux.core.types import BadInput\n")
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(samplers, "__path__", [*samplers.__path__, str(folder)])
    assert registry.component_names("sampler") == ["bare", "new_one", "two"]
    assert registry.find_class("sampler", "new_one").__name__ == "NewOne"
    with pytest.raises(BrokenPlugin, match=r"two.py has A, B$"):
        registry.find_class("sampler", "two")
    with pytest.raises(BrokenPlugin, match=r"bare.py has none"):
        registry.find_class("sampler", "bare")


def test_every_kind_states_what_its_components_have():
    for kind in registry.component_kinds():
        assert registry.kind_base_class(kind) is not None or kind in ("network", "objective"), kind


@pytest.mark.slow
def test_names_are_read_without_importing_a_component():
    code = (
        "import sys; from sonolux.core.config import registry; "
        "[registry.component_names(k) for k in registry.component_kinds()]; "
        "print([m for m in sys.modules if m == 'torch' or m.startswith('sonolux.modalities')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("kind", "use", "said"),
    [
        ("sampler", "dimm", r"there is no sampler 'dimm'; did you mean 'ddim'\? Known: belm, ddim"),
        ("network", "unet", "did you mean 'audio/unet' or 'image/unet'"),
        ("sampler", "dpmpp-2m", "did you mean 'dpmpp_2m'"),
        ("sampler", "", "there is no sampler ''"),
        ("samplr", "ddim", "did you mean 'sampler'"),
    ],
)
def test_an_unknown_name_lists_the_nearest(kind, use, said):
    with pytest.raises(BadInput, match=said):
        registry.find_class(kind, use)


# --- plugins ---


def test_a_plugin_is_named_from_metadata_and_imported_when_used(install):
    install("acme", "1.2", {"network": {"acme/net": "acme_net:Net"}}, acme_net=GOOD)
    assert "acme/net" in registry.component_names("network") and "acme_net" not in sys.modules
    assert registry.find_class("network", "acme/net", allow_code=False)(width=4).width == 4
    d = registry.describe_component("network", "acme/net")
    assert (d.source, d.about) == ("acme 1.2", "A plugin's network.")
    assert [(p.name, p.annotation, p.default, p.doc) for p in d.parameters] == [("width", int, 3, "channels")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("class Other: pass\n", "AttributeError"),
        ("Net = 3\n", "which is not a class"),
        ("class Net:\n    def __init__(self, *layers: int): ...\n", r"\*layers"),
        ("class Net:\n    def __init__(self, width): ...\n", "'width' has no type annotation"),
        ("import abc\nclass Net(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\n", "lacks go"),
    ],
)
def test_a_broken_plugin_is_named_with_what_it_raised(install, code, said):
    install("acme", "1.2", {"network": {"acme/net": "acme_net:Net"}}, acme_net=code)
    assert "acme/net" in registry.component_names("network")
    with pytest.raises(BrokenPlugin, match=said) as error:
        registry.find_class("network", "acme/net")
    assert "acme/net" in str(error.value)
    registry.find_class("network", "image/unet")  # the others still work


def test_the_message_of_an_import_that_fails_names_distribution_version_and_entry_point(install):
    install("acme", "1.2", {"network": {"acme/net": "acme_net:Net"}}, acme_net="import nothing_here\n")
    with pytest.raises(BrokenPlugin, match=r"of acme 1\.2 cannot be loaded \(entry point 'acme_net:Net'\)") as error:
        registry.find_class("network", "acme/net")
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_two_distributions_with_one_name_make_it_unusable(install):
    install("acme", "1.2", {"network": {"acme/net": "acme_net:Net"}}, acme_net=GOOD)
    install("emca", "3", {"network": {"acme/net": "acme_net:Net"}})
    with pytest.raises(BrokenPlugin, match=r"claimed by (acme 1.2 and by emca 3|emca 3 and by acme 1.2)"):
        registry.find_class("network", "acme/net")


@pytest.mark.parametrize("name", ["net", "image/net", "audio/unet2"])
def test_a_plugin_may_not_take_names_of_the_house(install, name):
    install("acme", "1.2", {"network": {name: "acme_net:Net"}}, acme_net=GOOD)
    with pytest.raises(BrokenPlugin, match="prefix/name"):
        registry.find_class("network", name)


def test_a_modality_of_a_plugin_has_a_bare_name_of_its_own(install):
    code = "class Video:\n    'Video.'\n    def spec(self): ...\n    def read(self, path): ...\n"
    points = {"modality": {"video": "acme_video:Video", "image": "acme_video:Video"}}
    install("acme", "1.2", points, acme_video=code)
    assert registry.find_class("modality", "video").__name__ == "Video"
    assert registry.find_class("modality", "image").__name__ == "Image"


def test_a_plugin_cannot_replace_a_built_in(install):
    install("acme", "1.2", {"network": {"image/unet": "acme_net:Net"}}, acme_net=GOOD)
    assert registry.find_class("network", "image/unet").__module__.startswith("sonolux.")


# --- any class ---


def check_code(tmp_path):
    (tmp_path / "net.py").write_text(GOOD)
    found = registry.find_class("network", "./net.py:Net", base=tmp_path)
    assert found is registry.find_class("network", f"{tmp_path}/net.py:Net")  # the same file is one class
    assert registry.find_class("schedule", "sonolux.core.schedulers.edm:EDM") is registry.find_class("schedule", "edm")
    for use in ("./net.py:Net", "sonolux.core.schedulers.edm:EDM"):
        with pytest.raises(BadInput, match="--allow-code"):
            registry.find_class("network", use, base=tmp_path, allow_code=False)


def test_code_is_found_by_file_and_by_module_unless_it_is_not_allowed(tmp_path):
    check_code(tmp_path)


def test_code_that_is_always_allowed_is_caught(tmp_path, monkeypatch):
    true = registry.find_class
    monkeypatch.setattr(
        registry, "find_class", lambda kind, use, base=None, allow_code=True: true(kind, use, base, True)
    )
    with pytest.raises(pytest.fail.Exception):
        check_code(tmp_path)


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(GOOD)
    before = registry.find_class("network", "net.py:Net", base=tmp_path)
    file.write_text(GOOD.replace("= 3", "= 9"))
    assert registry.find_class("network", "net.py:Net", base=tmp_path)().width == 9 and before().width == 3


@pytest.mark.parametrize(
    ("use", "error", "said"),
    [
        ("./absent.py:Net", BadInput, "there is no file"),
        ("./net.py:Nett", BadInput, "has no class 'Nett'; did you mean 'Net'"),
        ("./net.py:", BadInput, "has no class ''"),
        ("./net.py", BadInput, "a class in a file is named ./net.py:Class"),
        ("no.such.module:Net", BadInput, "there is no module 'no.such.module'"),
        (":Net", BadInput, "there is no module ''"),
        ("sonolux.core.schedulers.edm:EDN", BadInput, "did you mean 'EDM'"),
        ("./broken.py:Net", BrokenPlugin, "RuntimeError: not today"),
        ("math:pi", BadInput, "has no class 'pi'"),
    ],
)
def test_code_that_is_not_there(tmp_path, use, error, said):
    (tmp_path / "net.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
    with pytest.raises(error, match=said):
        registry.find_class("network", use, base=tmp_path)


def test_a_path_is_made_absolute_from_the_recipes_folder():
    assert registry.absolute_code_reference("./net.py:Net", Path("/a/b")) == "/a/b/net.py:Net"
    assert registry.absolute_code_reference("pkg.mod:Net", Path("/a/b")) == "pkg.mod:Net"
