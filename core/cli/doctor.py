"""Check the installation: versions, devices and plugins, each plugin in a separate process."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from ..config import registry
from ..util.messages import format_count, print_json, print_lines
from ..util.packages import package_version, required_versions

# A child process of `python -c` would import modules from the working folder, which may be somebody else's.
SAFE = "import sys; sys.path[:] = [place for place in sys.path if place]; "
LOAD = (
    SAFE + "from sonolux.core.config.registry import find_class; find_class(sys.argv[1], sys.argv[2], allow_code=False)"
)
FILES = SAFE + (
    "import json; from sonolux.core.config.registry import find_class; from sonolux.core.cli import doctor; "
    "print(json.dumps(doctor.file_support(find_class('modality', sys.argv[1], allow_code=False))))"
)
TIMEOUT = 120  # seconds for an import in a child process


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Check versions, devices, readable files, disk space, plugins. Exit code 1: a library fails, 3: a plugin fails."""
    report: dict[str, Any] = {
        "sonolux": package_version("sonolux"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    report |= {"packages": required_versions(), **_torch(), "plugins": _plugins(), "files": {}}
    for name in _modalities(report):
        found = _file_support(name)
        report["files"][name] = found["formats"]
        report["trouble"] += found["trouble"]
    report |= {"free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1)}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if any(p["trouble"] for p in report["plugins"]):
        return 3
    return 1 if report["trouble"] else 0


def file_support(modality: Any) -> dict[str, Any]:
    """What the class of a modality says of its files, see `Modality`; it runs in a child process."""
    from ..types import FileSupport  # loads torch

    return (modality.doctor() if hasattr(modality, "doctor") else FileSupport())._asdict()


def _modalities(report: dict[str, Any]) -> list[str]:
    """The modalities that can be asked: none without torch, and no broken plugin, which is reported already."""
    broken = {plugin["name"] for plugin in report["plugins"] if plugin["kind"] == "modality" and plugin["trouble"]}
    return [] if report["trouble"] else sorted(set(registry.component_names("modality")) - broken)


def _file_support(name: str) -> dict[str, Any]:
    """`file_support` of a modality, asked in a child process, as every import that may fail."""
    done = _run([sys.executable, "-c", FILES, name])
    if isinstance(done, str):
        return {"formats": [], "trouble": [f"modality {name} cannot be loaded ({done})"]}
    return json.loads(done.stdout.splitlines()[-1])


def _torch() -> dict[str, Any]:
    """Devices, threads, and packages that cannot be imported."""
    reason = _child([sys.executable, "-c", f"{SAFE}import torch"])
    installed, remedy = (
        package_version("torch") or "is not installed and",
        "nothing works without it: reinstall sonolux",
    )
    trouble = [] if reason is None else [f"torch {installed} cannot be imported ({reason}); {remedy}"]
    found: dict[str, Any] = {"devices": {}, "threads": None, "cores": os.cpu_count(), "trouble": trouble}
    if trouble:
        return found
    import torch

    from ..util.device import has_native_bf16

    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    devices += [torch.device("mps")] if torch.backends.mps.is_available() else []
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        found["devices"][str(device)] = {"name": name, "bf16": has_native_bf16(device)}
    found["threads"] = torch.get_num_threads()
    return found


def _child(arguments: list[str]) -> str | None:
    """Run a child process; return None on success, otherwise its last line of output or its signal."""
    done = _run(arguments)
    return done if isinstance(done, str) else None


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str] | str:
    """Run a child process; return it on success, otherwise its last line of output or its signal."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"no result after {TIMEOUT} s"
    if done.returncode == 0:
        return done
    if done.returncode < 0:
        return f"the process was killed by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("sonolux.core.util.errors.").strip() if lines else f"exit code {done.returncode}"


def _plugins() -> list[dict[str, Any]]:
    """Every entry point of plugins, each loaded in a child process."""
    rows = []
    for kind in registry.component_kinds():
        for name, claims in registry.plugin_entry_points(kind).items():
            trouble = registry.plugin_name_conflict(kind, name, claims) or _child(
                [sys.executable, "-c", LOAD, kind, name]
            )
            rows.append(
                {"kind": kind, "name": name, "source": registry.component_origin(kind, name), "trouble": trouble}
            )
    return rows


def _print(report: dict[str, Any]) -> None:
    print_lines(f"sonolux {report['sonolux']}, python {report['python']}, {report['platform']}")
    print_lines(", ".join(f"{p} {v or '(absent)'}" for p, v in report["packages"].items()))
    for device, facts in report["devices"].items():
        precision = "bf16 is native" if facts["bf16"] else "no native bf16: `precision: auto` computes in float32"
        print_lines(f"device {device}: {facts['name']}, {precision}")
    print_lines(f"{format_count(report['threads'] or 0, 'thread')} on {format_count(report['cores'] or 0, 'core')}")
    for name, formats in report["files"].items():
        print_lines(f"{name} files: {', '.join(formats) or 'none can be read'}")
    print_lines(f"{report['free_gb']:g} GB free in {Path.cwd()}")
    for plugin in report["plugins"]:
        print_lines(f"plugin {plugin['kind']} {plugin['name']} ({plugin['source']}): {plugin['trouble'] or 'ok'}")
    for line in report["trouble"]:
        print_lines(f"BROKEN: {line}")
    broken = len(report["trouble"]) + sum(bool(p["trouble"]) for p in report["plugins"])
    print_lines(f"{format_count(broken, 'problem')} found" if broken else "no problems found")
