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
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from ..util.errors import BadInput, BrokenPlugin
from ..util.messages import bad_input, broken, did_you_mean, listed, shortened
from ..util.paths import expanded
from . import legacy
from .signature import Parameter, about, parameters

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = __name__.split(".")[0]


@dataclass(frozen=True)
class Layout:
    """Location and base class of the components of a kind.

    Every .py file of the folder is a component with the file's name, except `base.py`, files that start with `_`, and
    `helpers`. Its class is the only public class that the file defines.

    Attributes:
        folder: Folder in the package; `*` matches each modality, whose name is the prefix of the component's name.
        contract: `module:Class`, the base class or protocol of the kind; "": any class.
        noun: Name of one component of the kind in messages; "": the kind's name.
        helpers: Stems of files that are not components.
    """

    folder: str
    contract: str = ""
    noun: str = ""
    helpers: tuple[str, ...] = ()


LAYOUT = {
    "schedule": Layout("core/schedulers", "core.schedulers.base:Schedule"),
    "timesteps": Layout("core/timesteps", "core.timesteps.base:TimestepSpacing", "timestep spacing"),
    "parameterization": Layout("core/parameterizations", "core.parameterizations.base:Parameterization"),
    "noise_conditioning": Layout(
        "core/noise_conditioning", "core.noise_conditioning.base:NoiseConditioning", "noise conditioning"
    ),
    "objective": Layout("core/objectives", "core.objectives.base:Objective"),
    "timestep_sampling": Layout(
        "core/objectives/timestep_sampling",
        "core.objectives.timestep_sampling.base:TimestepSampling",
        "timestep sampling",
    ),
    "weighting": Layout("core/objectives/weightings", "core.objectives.weightings.base:Weighting"),
    "sampler": Layout("core/samplers", "core.samplers.base:Sampler", helpers=("plan", "solver")),
    "guidance": Layout("core/guidance", "core.guidance.base:Guidance"),
    "condition": Layout("core/conditioning", "core.conditioning.base:Condition"),
    "optimizer": Layout("core/training/optimizers", "core.training.optimizers.base:Optimizer"),
    "metric": Layout("core/evaluation/metrics", "core.evaluation.metrics.base:Metric"),
    "modality": Layout("modalities", "core.types:Modality"),
    "dataset": Layout("modalities/*/datasets", "core.types:Dataset"),
    "codec": Layout("modalities/*/codecs", "core.codecs.base:Codec"),
    "network": Layout("modalities/*/networks"),
    "feature": Layout("modalities/*/features", "core.evaluation.features:Feature"),
    "output": Layout("modalities/*/outputs", "core.types:Output"),
}

_THIRD_PARTY_FILES: set[str] = set()  # source files of components that are not built in


@dataclass(frozen=True)
class Description:
    """A component's kind, name, source, first docstring line and parameters, including hidden ones."""

    kind: str
    name: str
    source: str
    about: str
    parameters: tuple[Parameter, ...]


def kinds() -> list[str]:
    """Every kind of component."""
    return list(LAYOUT)


def layout(kind: str) -> Layout:
    """The layout of a kind.

    Raises:
        BadInput: There is no such kind; the message suggests the nearest one.
    """
    kind = legacy.kind_of(kind)
    if kind not in LAYOUT:
        near = did_you_mean(kind, LAYOUT) or "."
        bad_input(f"{shortened(kind)!r} is not a kind of component{near} Known: {listed([*LAYOUT])}")
    return LAYOUT[kind]


def noun(kind: str) -> str:
    """Name of one component of the kind in messages."""
    return layout(kind).noun or legacy.kind_of(kind)


# --- built-in components ---


def builtins(kind: str) -> dict[str, Path]:
    """Name -> file, for the built-in components of a kind."""
    place = layout(kind)
    if kind == "modality":
        return {f.parent.name: f for f in sorted((ROOT / place.folder).glob("*/modality.py"))}
    found: dict[str, Path] = {}
    for folder in sorted(ROOT.glob(place.folder)):
        prefix = f"{folder.parent.name}/" if "*" in place.folder else ""
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
        broken(f"{kind} {name!r}: a component file has one public class, and {file} has {found}")
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
        broken(f"{what} cannot be imported: {type(error).__name__}: {error}", error)


# --- plugins ---


def plugins(kind: str) -> dict[str, list[EntryPoint]]:
    """Name -> the entry points that register it, from metadata only; a name with several entry points is unusable."""
    layout(kind)
    kind = legacy.kind_of(kind)
    groups = [f"{PACKAGE}.{k}" for k in (kind, *legacy.old_kinds(kind))]
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


def distribution(point: EntryPoint) -> str:
    """`name version` of the distribution that contains an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def unusable_reason(kind: str, name: str, claims: list[EntryPoint]) -> str | None:
    """Why a plugin's name cannot be used; None if it can."""
    if len(claims) > 1:
        return f"is claimed by {' and by '.join(distribution(p) for p in claims)}: uninstall one of them"
    bare = "/" not in name and kind != "modality"  # a modality's name is the prefix of its components
    if bare or name in builtins(kind) or name.split("/")[0] in builtins("modality"):
        return f"of {distribution(claims[0])} uses a name reserved for sonolux: call a plugin's component prefix/name"
    return None


def _plugin(kind: str, name: str, claims: list[EntryPoint]) -> type:
    reason = unusable_reason(kind, name, claims)
    if reason:
        broken(f"{kind} {name!r} {reason}")
    point = claims[0]
    if point.group.removeprefix(f"{PACKAGE}.") != kind:
        message = f"{distribution(point)} registers {name!r} in {point.group}, which is now {PACKAGE}.{kind}"
        warnings.warn(f"{message}; the next release will not read the old group", stacklevel=2)
    try:
        return point.load()
    except Exception as error:
        broken(
            f"{kind} {name!r} of {distribution(point)} cannot be loaded (entry point {point.value!r}): "
            f"{type(error).__name__}: {error}",
            error,
        )


def plugin_file(file: str) -> bool:
    """Whether a source file defines a component that is not built in and was loaded in this process."""
    return file in _THIRD_PARTY_FILES


# --- any class ---


def is_code(use: str) -> bool:
    """Whether `use` names code (`pkg.module:Class`, `./file.py:Class`) instead of a registered component."""
    return ":" in use


def code_path(use: str, base: Path | None) -> str:
    """`./file.py:Class` with the file's path made absolute, relative to `base`; anything else unchanged."""
    place, _, name = use.rpartition(":")
    if not place.endswith(".py"):
        return use
    return f"{((base or Path.cwd()) / expanded(place)).resolve()}:{name}"


def _code(kind: str, use: str, base: Path | None) -> type:
    place, _, name = code_path(use, base).rpartition(":")
    what = f"{noun(kind)} {use!r}"
    if place.endswith(".py"):
        module = _local_module(Path(place), what)
    else:
        try:
            exists = importlib.util.find_spec(place) is not None
        except (ImportError, ValueError):  # a parent package that is absent, or an empty name
            exists = False
        if not exists:
            bad_input(f"{what}: there is no module {place!r} to import; write pkg.module:Class or ./file.py:Class")
        module = _imported(place, what)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        bad_input(f"{what}: {place} has no class {name!r}{did_you_mean(name, _own_classes(module))}")
    return found


def _local_module(file: Path, what: str) -> ModuleType:
    if not file.is_file():
        bad_input(f"{what}: there is no file {file}")
    stamp = hashlib.blake2b(str(file).encode() + file.read_bytes(), digest_size=6).hexdigest()
    name = f"{PACKAGE}_local_{file.stem}_{stamp}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        broken(f"{what}: {file} cannot be imported: {type(error).__name__}: {error}", error)
    return module


# --- look-up ---


def names(kind: str) -> list[str]:
    """Every registered name of a kind, built-in and plugin, without importing any."""
    built_in = builtins(kind)
    return [*built_in, *(n for n in sorted(plugins(kind)) if n not in built_in)]


def find(kind: str, use: str, base: Path | None = None, allow_code: bool = True) -> type:
    """The class that `use` names.

    Args:
        kind: One of `kinds()`.
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
    called, kind = noun(kind), legacy.kind_of(kind)
    built_in = builtins(kind)
    use = legacy.component(kind, use, built_in, {})
    if is_code(use):
        if not allow_code:
            bad_input(
                f"{called} {use!r} names code, and the command names neither it nor its recipe file: if you trust it, "
                "pass --allow-code (Python: allow_code=True)"
            )
        cls = _code(kind, use, base)
    elif use in built_in:
        cls = _builtin(kind, use, built_in[use])
    elif claims := plugins(kind).get(use):
        cls = _plugin(kind, use, claims)
    else:
        if use.endswith(".py"):
            bad_input(f"there is no {called} {use!r}; a class in a file is named {use}:Class")
        known = names(kind)
        accepted = f"Known: {listed(known, 50)}" if known else "None is installed"
        more = f"; `sonolux plugins list --kind {kind}`" * accepted.endswith("in all)")
        bad_input(f"there is no {called} {shortened(use)!r}{did_you_mean(use, known) or '.'} {accepted}{more}")
    _check_class(kind, use, cls)
    if use not in built_in:
        _check_contract(kind, use, cls)
        _THIRD_PARTY_FILES.add(getattr(sys.modules.get(cls.__module__), "__file__", None) or "")
    return cls


def _check_class(kind: str, use: str, cls: type) -> None:
    if not inspect.isclass(cls):
        broken(f"{kind} {use!r} is {cls!r}, which is not a class")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        broken(f"{kind} {use!r}: class {cls.__qualname__} lacks {missing}")
    try:
        parameters(cls, kind)
    except TypeError as error:
        broken(f"{kind} {use!r}: {error}", error)


def _check_contract(kind: str, use: str, cls: type) -> None:
    """Raise BrokenPlugin if a class has none of its kind's methods: probably another class of the file was meant."""
    base = contract(kind)
    methods = [] if base is None else [n for n, m in vars(base).items() if callable(m) and n[0] != "_"]
    if base is not None and methods and not any(hasattr(cls, n) for n in methods):
        broken(
            f"{kind} {use!r}: class {cls.__qualname__} is no {kind}: it has none of {', '.join(methods)}; see "
            f"{base.__module__}.{base.__name__}"
        )


def contract(kind: str) -> type | None:
    """The base class or protocol of a kind; None if any class is accepted."""
    module, _, name = layout(kind).contract.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name) if name else None


def source(kind: str, use: str) -> str:
    """Where a component comes from: `sonolux`, a plugin's `name version`, or the code that `use` names."""
    if is_code(use):
        return use
    if use in builtins(kind):
        return PACKAGE
    return " and ".join(distribution(p) for p in plugins(kind).get(use, ())) or "unknown"


def describe(kind: str, use: str, base: Path | None = None) -> Description:
    """First docstring line and parameters (type, default, text) of a component. Raises the same errors as `find`."""
    cls = find(kind, use, base)
    return Description(kind, use, source(kind, use), about(cls), tuple(parameters(cls, kind).values()))
