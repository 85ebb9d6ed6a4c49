"""name -> component class. A built-in component is found by its file; a plugin by an entry point `sonolux.<kind>`.

Names are read from folders and package metadata: nothing is imported until it is used, and importing this module loads
no torch. `pkg.module:Class` and `./file.py:Class` name any class without registering it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from ..util.errors import BadInput, BrokenPlugin
from ..util.messages import bad_input, broken, did_you_mean
from . import legacy
from .signature import Parameter, about, parameters

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = __name__.split(".")[0]


@dataclass(frozen=True)
class Layout:
    """Where the components of a kind stand.

    Every .py file of the folder is a component, named after the file, except `base.py`, files that start with `_`, and
    `helpers`. Its class is the one public class that the file defines.

    Attributes:
        folder: below the package; `*` stands for each modality, whose name goes before the component's.
        contract: `module:Class` that states what the kind has; "": any class.
        noun: what messages call one component of the kind; "": the kind's name.
        helpers: stems of files that are no components.
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

_FOREIGN: set[str] = set()  # source files of components that are not sonolux's own


@dataclass(frozen=True)
class Description:
    """What is known of a component: its kind, name, source, first docstring line and parameters, hidden ones too."""

    kind: str
    name: str
    source: str
    about: str
    parameters: tuple[Parameter, ...]


def kinds() -> list[str]:
    """Every kind of component."""
    return list(LAYOUT)


def layout(kind: str) -> Layout:
    """Where the components of a kind stand.

    Raises:
        BadInput: With the nearest kind, where there is no such kind.
    """
    kind = legacy.kind_of(kind)
    if kind not in LAYOUT:
        bad_input(f"{kind!r} is no kind of component{did_you_mean(kind, LAYOUT) or '.'} Known: {', '.join(LAYOUT)}")
    return LAYOUT[kind]


def noun(kind: str) -> str:
    """What messages call one component of the kind."""
    return layout(kind).noun or legacy.kind_of(kind)


# --- built-in components ---


def builtins(kind: str) -> dict[str, Path]:
    """name -> file of the built-in components of a kind."""
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
    """The classes that a module defines, those that it imports left out."""
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
    """name -> the entry points that claim it, from metadata alone; a name that several claim is unusable."""
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
    """This package's entry points in every distribution on the path; reading them all takes milliseconds, so once."""
    found = entry_points()
    groups = [g for g in found.groups if g.startswith(f"{PACKAGE}.")]
    return tuple(point for group in groups for point in found.select(group=group))


def distribution(point: EntryPoint) -> str:
    """`name version` of the distribution that brings an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def trouble(kind: str, name: str, claims: list[EntryPoint]) -> str | None:
    """Why a plugin's name cannot be used, or None."""
    if len(claims) > 1:
        return f"is claimed by {' and by '.join(distribution(p) for p in claims)}: uninstall one of them"
    bare = "/" not in name and kind != "modality"  # a modality's name is the prefix of its components
    if bare or name in builtins(kind) or name.split("/")[0] in builtins("modality"):
        return f"of {distribution(claims[0])} takes a name of sonolux's own: a plugin's component is called prefix/name"
    return None


def _plugin(kind: str, name: str, claims: list[EntryPoint]) -> type:
    reason = trouble(kind, name, claims)
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
    """Whether a source file is that of a component which is not sonolux's own and was named in this process."""
    return file in _FOREIGN


# --- any class ---


def is_code(use: str) -> bool:
    """Whether `use` names code (`pkg.module:Class`, `./file.py:Class`) instead of a registered component."""
    return ":" in use


def code_path(use: str, base: Path | None) -> str:
    """`./file.py:Class` with the file made absolute, relative to `base`; anything else as it is."""
    place, _, name = use.rpartition(":")
    if not place.endswith(".py"):
        return use
    return f"{((base or Path.cwd()) / Path(place).expanduser()).resolve()}:{name}"


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
    own = builtins(kind)
    return [*own, *(n for n in sorted(plugins(kind)) if n not in own)]


def find(kind: str, use: str, base: Path | None = None, allow_code: bool = True) -> type:
    """The class that `use` names.

    Args:
        kind: one of `kinds()`.
        use: a registered name, `pkg.module:Class`, or `./file.py:Class` relative to `base`.
        base: the working folder by default.
        allow_code: whether `use` may name code.

    Raises:
        BadInput: there is no such component (the nearest names are given), or code is named without `allow_code`.
        BrokenPlugin: it exists, but cannot be loaded or has a constructor that no recipe can describe.
    """
    called, kind = noun(kind), legacy.kind_of(kind)
    own = builtins(kind)
    use = legacy.component(kind, use, own, {})
    if is_code(use):
        if not allow_code:
            bad_input(
                f"{called} {use!r} names code, and a recipe out of a checkpoint may name registered components only; "
                "if you trust the checkpoint, pass --allow-code"
            )
        cls = _code(kind, use, base)
    elif use in own:
        cls = _builtin(kind, use, own[use])
    elif claims := plugins(kind).get(use):
        cls = _plugin(kind, use, claims)
    else:
        if use.endswith(".py"):
            bad_input(f"there is no {called} {use!r}; a class in a file is named {use}:Class")
        known = names(kind)
        accepted = f" Known: {', '.join(known)}" if known else " None is installed"
        bad_input(f"there is no {called} {use!r}{did_you_mean(use, known) or '.'}{accepted}")
    _check_class(kind, use, cls)
    if use not in own:
        _check_contract(kind, use, cls)
        _FOREIGN.add(getattr(sys.modules.get(cls.__module__), "__file__", None) or "")
    return cls


def _check_class(kind: str, use: str, cls: type) -> None:
    if not inspect.isclass(cls):
        broken(f"{kind} {use!r} is {cls!r}, which is no class")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        broken(f"{kind} {use!r}: class {cls.__qualname__} lacks {missing}")
    try:
        parameters(cls, kind)
    except TypeError as error:
        broken(f"{kind} {use!r}: {error}", error)


def _check_contract(kind: str, use: str, cls: type) -> None:
    """Raise BrokenPlugin where a class has none of the methods of its kind: another class of the file was meant."""
    stated = contract(kind)
    methods = [] if stated is None else [n for n, m in vars(stated).items() if callable(m) and n[0] != "_"]
    if stated is not None and methods and not any(hasattr(cls, n) for n in methods):
        broken(
            f"{kind} {use!r}: class {cls.__qualname__} is no {kind}: it has none of {', '.join(methods)}; see "
            f"{stated.__module__}.{stated.__name__}"
        )


def contract(kind: str) -> type | None:
    """The class that states what a kind has; None where any class will do."""
    module, _, name = layout(kind).contract.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name) if name else None


def source(kind: str, use: str) -> str:
    """Where a component comes from: `sonolux`, a plugin's `name version`, or the code it names."""
    if is_code(use):
        return use
    if use in builtins(kind):
        return PACKAGE
    return " and ".join(distribution(p) for p in plugins(kind).get(use, ())) or "unknown"


def describe(kind: str, use: str, base: Path | None = None) -> Description:
    """First docstring line and parameters (type, default, text) of a component. Raises what `find` raises."""
    cls = find(kind, use, base)
    return Description(kind, use, source(kind, use), about(cls), tuple(parameters(cls, kind).values()))
