"""Registry: name -> component class. Built-in components are found by file, plugins by entry point `sonolux.<kind>`.

Names are read from folders and package metadata. A component is imported when it is used, and importing this module
does not load torch. `pkg.module:Class` and `./file.py:Class` name a class that is not registered.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType

from ..util.errors import BadInput, BrokenPlugin
from ..util.messages import did_you_mean, format_names, raise_bad_input, raise_broken_plugin, shorten
from ..util.notes import issue_note
from ..util.paths import expand_home
from . import legacy
from .signature import Parameter, constructor_parameters, first_docstring_line

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = __name__.split(".")[0]


@dataclass(frozen=True)
class KindLayout:
    """Location and base class of the components of a kind.

    Every .py file of the folder is a component with the file's name, except `base.py`, files that start with `_`, and
    `helpers`. Its class is the only public class that the file defines.

    Attributes:
        folder: Folder in the package; `*` matches each modality, whose name is the prefix of the component's name.
        contract: `module:Class`, the base class or protocol of the kind; "": any class.
        noun: Name of one component of the kind in messages; "": the kind's name.
        helpers: Stems of files that are not components.
        of_modalities: Folder of further components of the kind in each modality; "": none.
    """

    folder: str
    contract: str = ""
    noun: str = ""
    helpers: tuple[str, ...] = ()
    of_modalities: str = ""


LAYOUT = {
    "schedule": KindLayout("core/schedulers", "core.schedulers.base:Schedule"),
    "timesteps": KindLayout("core/timesteps", "core.timesteps.base:TimestepSpacing", "timestep spacing"),
    "parameterization": KindLayout("core/parameterizations", "core.parameterizations.base:Parameterization"),
    "noise_conditioning": KindLayout(
        "core/noise_conditioning", "core.noise_conditioning.base:NoiseConditioning", "noise conditioning"
    ),
    "objective": KindLayout("core/objectives", "core.objectives.base:Objective"),
    "timestep_sampling": KindLayout(
        "core/objectives/timestep_sampling",
        "core.objectives.timestep_sampling.base:TimestepSampling",
        "timestep sampling",
    ),
    "weighting": KindLayout("core/objectives/weightings", "core.objectives.weightings.base:Weighting"),
    "sampler": KindLayout("core/samplers", "core.samplers.base:Sampler", helpers=("plan", "solver")),
    "guidance": KindLayout("core/guidance", "core.guidance.base:Guidance"),
    "condition": KindLayout("core/conditioning", "core.conditioning.base:Condition"),
    "text_encoder": KindLayout(
        "core/conditioning/encoders", "core.conditioning.encoders.base:TextEncoder", "text encoder"
    ),
    "degradation": KindLayout(
        "core/degradations", "core.degradations.base:Degradation", of_modalities="modalities/*/degradations"
    ),
    "optimizer": KindLayout("core/training/optimizers", "core.training.optimizers.base:Optimizer"),
    "logger": KindLayout("core/training/loggers", "core.training.loggers.base:Logger"),
    "metric": KindLayout("core/evaluation/metrics", "core.evaluation.metrics.base:Metric"),
    "modality": KindLayout("modalities", "core.types:Modality"),
    "dataset": KindLayout("modalities/*/datasets", "core.types:Dataset"),
    "codec": KindLayout("modalities/*/codecs", "core.codecs.base:Codec"),
    "network": KindLayout("modalities/*/networks"),
    "feature": KindLayout("modalities/*/features", "core.evaluation.features:Feature"),
    "output": KindLayout("modalities/*/outputs", "core.types:Output"),
}

_THIRD_PARTY_FILES: set[str] = set()  # source files of components that are not built in


@dataclass(frozen=True)
class ComponentDescription:
    """A component's kind, name, source, first docstring line and parameters, including hidden ones."""

    kind: str
    name: str
    source: str
    about: str
    parameters: tuple[Parameter, ...]


def component_kinds() -> list[str]:
    """Every kind of component."""
    return list(LAYOUT)


def kind_layout(kind: str) -> KindLayout:
    """The layout of a kind.

    Raises:
        BadInput: There is no such kind; the message suggests the nearest one.
    """
    kind = legacy.upgrade_kind_name(kind)
    if kind not in LAYOUT:
        near = did_you_mean(kind, LAYOUT) or "."
        raise_bad_input(f"{shorten(kind)!r} is not a kind of component{near} Known: {format_names([*LAYOUT])}")
    return LAYOUT[kind]


def kind_noun(kind: str) -> str:
    """Name of one component of the kind in messages."""
    return kind_layout(kind).noun or legacy.upgrade_kind_name(kind)


# --- built-in components ---


def builtin_files(kind: str) -> dict[str, Path]:
    """Name -> file, for the built-in components of a kind."""
    return dict(_component_files(kind, kind_layout(kind), ROOT))


@lru_cache(maxsize=64)
def _component_files(kind: str, place: KindLayout, root: Path) -> dict[str, Path]:
    if kind == "modality":
        return {f.parent.name: f for f in sorted((root / place.folder).glob("*/modality.py"))}
    found: dict[str, Path] = {}
    patterns = filter(None, (place.folder, place.of_modalities))
    for own, folder in [("*" in pattern, folder) for pattern in patterns for folder in sorted(root.glob(pattern))]:
        prefix = f"{folder.parent.name}/" if own else ""
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_") and file.stem not in ("base", *place.helpers):
                found[prefix + file.stem.rstrip("_")] = file  # class_.py is called `class`
    return found


def _builtin(kind: str, name: str, file: Path) -> type:
    path = ".".join([PACKAGE, *file.relative_to(ROOT).with_suffix("").parts])
    module = _imported(path, f"{kind} {name!r} ({path})")
    classes = [n for n, c in _own_classes(module).items() if not n.startswith("_")]
    if len(classes) != 1:
        found = ", ".join(classes) or "none"
        raise_broken_plugin(f"{kind} {name!r}: a component file has one public class, and {file} has {found}")
    return getattr(module, classes[0])


def _own_classes(module: ModuleType) -> dict[str, type]:
    """The classes that a module defines, without those that it imports."""
    return {n: c for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__}


def _imported(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (BadInput, BrokenPlugin):
        raise
    except Exception as error:
        raise_broken_plugin(f"{what} cannot be imported: {type(error).__name__}: {error}", error)


# --- plugins ---


def plugin_entry_points(kind: str) -> dict[str, list[EntryPoint]]:
    """Name -> the entry points that register it, from metadata only; a name with several entry points is unusable."""
    kind_layout(kind)
    kind = legacy.upgrade_kind_name(kind)
    groups = [f"{PACKAGE}.{k}" for k in (kind, *legacy.old_kind_names(kind))]
    claims: dict[str, list[EntryPoint]] = {}
    for point in _points(tuple(sys.path)):
        if point.group in groups:
            claims.setdefault(point.name, []).append(point)
    return claims


@lru_cache(maxsize=4)
def _points(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """This package's entry points in every distribution on the path; cached, since reading takes milliseconds.

    Those of the working folder are left out: Python's prompt and `python -c` search it, and it may be a run folder of
    others.
    """
    found = entry_points()
    groups = [g for g in found.groups if g.startswith(f"{PACKAGE}.")]
    return tuple(point for group in groups for point in found.select(group=group) if _installed(point))


def _installed(point: EntryPoint) -> bool:
    return point.dist is None or os.path.isabs(str(point.dist.locate_file("")))


def distribution_label(point: EntryPoint) -> str:
    """`name version` of the distribution that contains an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def plugin_name_conflict(kind: str, name: str, claims: list[EntryPoint]) -> str | None:
    """Why a plugin's name cannot be used; None if it can."""
    if len(claims) > 1:
        return f"is claimed by {' and by '.join(distribution_label(p) for p in claims)}: uninstall one of them"
    bare = "/" not in name and kind != "modality"  # a modality's name is the prefix of its components
    if bare or name in builtin_files(kind) or name.split("/")[0] in builtin_files("modality"):
        return (
            f"of {distribution_label(claims[0])} uses a name reserved for sonolux: call a plugin's component "
            "prefix/name"
        )
    return None


def _plugin(kind: str, name: str, claims: list[EntryPoint]) -> type:
    reason = plugin_name_conflict(kind, name, claims)
    if reason:
        raise_broken_plugin(f"{kind} {name!r} {reason}")
    point = claims[0]
    if point.group.removeprefix(f"{PACKAGE}.") != kind:
        message = f"{distribution_label(point)} registers {name!r} in {point.group}, which is now {PACKAGE}.{kind}"
        issue_note(f"{message}; the next release will not read the old group", stacklevel=2)
    try:
        return point.load()
    except Exception as error:
        raise_broken_plugin(
            f"{kind} {name!r} of {distribution_label(point)} cannot be loaded (entry point {point.value!r}): "
            f"{type(error).__name__}: {error}",
            error,
        )


def is_plugin_file(file: str) -> bool:
    """Whether a source file defines a component that is not built in and was loaded in this process."""
    return file in _THIRD_PARTY_FILES


# --- any class ---


def is_code_reference(use: str) -> bool:
    """Whether `use` names code (`pkg.module:Class`, `./file.py:Class`) instead of a registered component."""
    return ":" in use


def absolute_code_reference(use: str, base: Path | None) -> str:
    """`./file.py:Class` with the file's path made absolute, relative to `base`; anything else unchanged."""
    place, _, name = use.rpartition(":")
    if not place.endswith(".py"):
        return use
    return f"{((base or Path.cwd()) / expand_home(place)).resolve()}:{name}"


def _code(kind: str, use: str, base: Path | None) -> type:
    place, _, name = absolute_code_reference(use, base).rpartition(":")
    what = f"{kind_noun(kind)} {use!r}"
    if place.endswith(".py"):
        module = _local_module(Path(place), what)
    else:
        try:
            exists = importlib.util.find_spec(place) is not None
        except (ImportError, ValueError):  # a parent package that is absent, or an empty name
            exists = False
        if not exists:
            raise_bad_input(
                f"{what}: there is no module {place!r} to import; write pkg.module:Class or ./file.py:Class"
            )
        module = _imported(place, what)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        raise_bad_input(f"{what}: {place} has no class {name!r}{did_you_mean(name, _own_classes(module))}")
    return found


class _SourceLoader(SourceFileLoader):
    """Compiles the file as it is: bytecode of an earlier state may have the same size and second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _local_module(file: Path, what: str) -> ModuleType:
    if not file.is_file():
        raise_bad_input(f"{what}: there is no file {file}")
    stamp = hashlib.blake2b(str(file).encode() + file.read_bytes(), digest_size=6).hexdigest()
    name = f"{PACKAGE}_local_{file.stem}_{stamp}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_SourceLoader(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise_broken_plugin(f"{what}: {file} cannot be imported: {type(error).__name__}: {error}", error)
    return module


# --- look-up ---


def component_names(kind: str) -> list[str]:
    """Every registered name of a kind, built-in and plugin, without importing any."""
    built_in = builtin_files(kind)
    return [*built_in, *(n for n in sorted(plugin_entry_points(kind)) if n not in built_in)]


def find_class(kind: str, use: str, base: Path | None = None, allow_code: bool = True) -> type:
    """The class that `use` names.

    Args:
        kind: One of `component_kinds()`.
        use: A registered name, `pkg.module:Class`, or `./file.py:Class` relative to `base`.
        base: Folder that relative paths start from; the working folder by default.
        allow_code: Whether `use` may name code: the user wrote it, or allowed code of others.

    Returns:
        The class.

    Raises:
        BadInput: There is no such component (the message suggests the nearest names), or code is named without
            `allow_code`.
        BrokenPlugin: It exists, but cannot be loaded, or its constructor cannot be described by a recipe.
    """
    called, kind = kind_noun(kind), legacy.upgrade_kind_name(kind)
    built_in = builtin_files(kind)
    use = legacy.upgrade_component_name(kind, use, built_in, {})
    if is_code_reference(use):
        if not allow_code:
            shown = use if len(use) <= 40 else f"...{use[-37:]}"
            raise_bad_input(
                f"{called} {shown!r} names code: if you trust it, pass --allow-code (Python: allow_code=True)"
            )
        cls = _code(kind, use, base)
    elif use in built_in:
        cls = _builtin(kind, use, built_in[use])
    elif claims := plugin_entry_points(kind).get(use):
        cls = _plugin(kind, use, claims)
    else:
        if use.endswith(".py"):
            raise_bad_input(f"there is no {called} {use!r}; a class in a file is named {use}:Class")
        known = component_names(kind)
        accepted = f"Known: {format_names(known, 50)}" if known else "None is installed"
        more = f"; `sonolux plugins list --kind {kind}`" * accepted.endswith("in all)")
        raise_bad_input(f"there is no {called} {shorten(use)!r}{did_you_mean(use, known) or '.'} {accepted}{more}")
    _check_class(kind, use, cls)
    if use not in built_in:
        _check_contract(kind, use, cls)
        _THIRD_PARTY_FILES.add(getattr(sys.modules.get(cls.__module__), "__file__", None) or "")
    return cls


def _check_class(kind: str, use: str, cls: type) -> None:
    if not inspect.isclass(cls):
        raise_broken_plugin(f"{kind} {use!r} is {cls!r}, which is not a class")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise_broken_plugin(f"{kind} {use!r}: class {cls.__qualname__} lacks {missing}")
    try:
        constructor_parameters(cls, kind)
    except TypeError as error:
        raise_broken_plugin(f"{kind} {use!r}: {error}", error)


def _check_contract(kind: str, use: str, cls: type) -> None:
    """Raise BrokenPlugin if a class has none of its kind's methods: probably another class of the file was meant."""
    base = kind_base_class(kind)
    methods = [] if base is None else [n for n, m in vars(base).items() if callable(m) and n[0] != "_"]
    if base is not None and methods and not any(hasattr(cls, n) for n in methods):
        raise_broken_plugin(
            f"{kind} {use!r}: class {cls.__qualname__} is no {kind}: it has none of {', '.join(methods)}; see "
            f"{base.__module__}.{base.__name__}"
        )


def kind_base_class(kind: str) -> type | None:
    """The base class or protocol of a kind; None if any class is accepted."""
    module, _, name = kind_layout(kind).contract.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name) if name else None


def component_origin(kind: str, use: str) -> str:
    """Where a component comes from: `sonolux`, a plugin's `name version`, or the code that `use` names."""
    if is_code_reference(use):
        return use
    if use in builtin_files(kind):
        return PACKAGE
    return " and ".join(distribution_label(p) for p in plugin_entry_points(kind).get(use, ())) or "unknown"


def describe_component(kind: str, use: str, base: Path | None = None) -> ComponentDescription:
    """First docstring line and parameters (type, default, text) of a component. Raises the errors of `find_class`."""
    cls = find_class(kind, use, base)
    return ComponentDescription(
        kind,
        use,
        component_origin(kind, use),
        first_docstring_line(cls),
        tuple(constructor_parameters(cls, kind).values()),
    )
