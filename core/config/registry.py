"""name -> component class. A built-in component is found by its file; a plugin by an entry point `sonolux.<kind>`.

Names are read from folders and package metadata: nothing is imported until it is used, and importing this module loads
no torch. `pkg.module:Class` and `./file.py:Class` name any class without registering it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ..util.messages import bad_input, broken, did_you_mean
from .signature import Parameter, about, parameters

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = __name__.rsplit(".", 2)[0]

FOLDERS = {
    "schedule": "core/schedulers",
    "spacing": "core/timesteps",
    "prediction": "core/parameterizations",
    "clock": "core/noise_conditioning",
    "times": "core/objectives/timestep_sampling",
    "weighting": "core/objectives/weightings",
    "sampler": "core/samplers",
    "guidance": "core/guidance",
    "condition": "core/conditioning",
    "optimizer": "core/training/optimizers",
    "metric": "core/evaluation",
    "modality": "modalities",
    "dataset": "modalities/*/datasets",
    "codec": "modalities/*/codecs",
    "network": "modalities/*/networks",
    "feature": "modalities/*/features",
    "output": "modalities/*/outputs",
}


_NOT_COMPONENTS = ("base", "plan", "solver")  # files of the folders that hold contracts, not components
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
    return list(FOLDERS)


def builtins(kind: str) -> dict[str, Path]:
    """name -> file of the built-in components of a kind: the files of its folders that hold a public class."""
    pattern = _folder(kind)
    found: dict[str, Path] = {}
    if kind == "modality":
        return {f.parent.name: f for f in sorted((ROOT / pattern).glob("*/modality.py"))}
    for folder in sorted(ROOT.glob(pattern)):
        prefix = f"{folder.parent.name}/" if pattern.startswith("modalities/") else ""
        for file in sorted(folder.glob("*.py")):
            if file.stem not in _NOT_COMPONENTS and file.stem[0] != "_" and _public_classes(file):
                found[prefix + file.stem.rstrip("_")] = file
    return found


def _folder(kind: str) -> str:
    if kind not in FOLDERS:
        bad_input(f"{kind!r} is no kind of component{did_you_mean(kind, FOLDERS) or '.'} Known: {', '.join(FOLDERS)}")
    return FOLDERS[kind]


def _public_classes(file: Path) -> list[str]:
    return _classes_in(file, file.stat().st_mtime_ns)


@cache
def _classes_in(file: Path, changed: int) -> list[str]:
    return re.findall(r"^class ([A-Za-z]\w*)", file.read_text(encoding="utf-8"), re.MULTILINE)


def _builtin(kind: str, name: str, file: Path) -> type:
    classes = _public_classes(file)
    if len(classes) != 1:
        broken(f"{kind} {name!r}: a component file has one public class, and {file} has {', '.join(classes)}")
    module = ".".join([PACKAGE, *file.relative_to(ROOT).with_suffix("").parts])
    return getattr(_imported(module, f"{kind} {name!r} ({module})"), classes[0])


def _imported(module: str, what: str):
    from ..util.errors import BadInput, BrokenPlugin

    try:
        return importlib.import_module(module)
    except (BadInput, BrokenPlugin):
        raise
    except Exception as error:
        broken(f"{what} cannot be imported: {type(error).__name__}: {error}", error)


def plugins(kind: str) -> dict[str, list[EntryPoint]]:
    """name -> the entry points that claim it, from metadata alone; a name that several claim is unusable."""
    _folder(kind)
    claims: dict[str, list[EntryPoint]] = {}
    for point in _points(tuple(sys.path)):
        if point.group == f"{PACKAGE}.{kind}":
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
    own = {m: None for m in builtins("modality")}
    if name in builtins(kind) or "/" not in name or name.split("/")[0] in own:
        return f"of {distribution(claims[0])} takes a name of sonolux's own: a plugin's component is called prefix/name"
    return None


def _plugin(kind: str, name: str, claims: list[EntryPoint]) -> type:
    reason = trouble(kind, name, claims)
    if reason:
        broken(f"{kind} {name!r} {reason}")
    point = claims[0]
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
    if place.endswith(".py"):
        module = _local_module(Path(place), f"{kind} {use!r}")
    else:
        try:
            exists = importlib.util.find_spec(place) is not None
        except (ImportError, ValueError):  # a parent package that is absent, or an empty name
            exists = False
        if not exists:
            bad_input(
                f"{kind} {use!r}: there is no module {place!r} to import; write pkg.module:Class or ./file.py:Class"
            )
        module = _imported(place, f"{kind} {use!r}")
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        classes = [n for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__]
        bad_input(f"{kind} {use!r}: {place} has no class {name!r}{did_you_mean(name, classes)}")
    return found


def _local_module(file: Path, what: str):
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


def names(kind: str) -> list[str]:
    """Every registered name of a kind, built-in and plugin, without importing any."""
    return [*builtins(kind), *(n for n in sorted(plugins(kind)) if n not in builtins(kind))]


def find(kind: str, use: str, base: Path | None = None, allow_code: bool = True) -> type:
    """The class that `use` names: a registered name, `pkg.module:Class`, or `./file.py:Class` relative to `base`.

    Raises BadInput where no such component exists (nearest names are given) or code is named without `allow_code`, and
    BrokenPlugin where it exists but cannot be loaded or has a constructor that no recipe can describe.
    """
    own = builtins(kind)
    if is_code(use):
        if not allow_code:
            bad_input(
                f"{kind} {use!r} names code, and a recipe out of a checkpoint may name registered components only; "
                "if you trust the checkpoint, pass --allow-code"
            )
        cls = _code(kind, use, base)
    else:
        claims = plugins(kind)
        if use in own:
            cls = _builtin(kind, use, own[use])
        elif use in claims:
            cls = _plugin(kind, use, claims[use])
        else:
            known = names(kind)
            if use.endswith(".py"):
                bad_input(f"there is no {kind} {use!r}; a class in a file is named {use}:Class")
            accepted = f" Known: {', '.join(known)}" if known else " None is installed"
            bad_input(f"there is no {kind} {use!r}{did_you_mean(use, known) or '.'}{accepted}")
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
    contract = _contract(kind)
    methods = [] if contract is None else [n for n, m in vars(contract).items() if callable(m) and n[0] != "_"]
    if contract is not None and methods and not any(hasattr(cls, n) for n in methods):
        broken(
            f"{kind} {use!r}: class {cls.__qualname__} is no {kind}: it has none of {', '.join(methods)}; see "
            f"{contract.__module__}.{contract.__name__}"
        )


def _contract(kind: str) -> type | None:
    """The class that says what a kind has: `Sampler` of core/samplers/base.py; a network is any module."""
    place = {"codec": "core.codec", "feature": "core.evaluation.base"}.get(kind, "")
    if not place:
        own = FOLDERS[kind].startswith("core/")
        place = f"{FOLDERS[kind].replace('/', '.')}.base" if own else "core.types"
    return getattr(importlib.import_module(f"{PACKAGE}.{place}"), kind.capitalize(), None)


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
