"""Check the installation: versions, devices and plugins, each plugin in a separate process."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from ..util.messages import format_count, print_json, print_lines

PACKAGES = (
    "torch", "torchvision", "torchaudio", "numpy", "pydantic", "soundfile", "safetensors", "pillow", "matplotlib"
)  # fmt: skip
# A child process of `python -c` would import modules from the working folder, which may be somebody else's.
SAFE = "import sys; sys.path[:] = [place for place in sys.path if place]; "
LOAD = (
    SAFE + "from sonolux.core.config.registry import find_class; find_class(sys.argv[1], sys.argv[2], allow_code=False)"
)
TIMEOUT = 120  # seconds for an import in a child process


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Check versions, devices, audio formats, disk space, plugins. Exit code 1: a library fails, 3: a plugin fails."""
    report: dict[str, Any] = {
        "sonolux": _version("sonolux"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    report |= {"packages": {p: _version(p) for p in PACKAGES}, **_torch(), "plugins": _plugins()}
    report |= {"sound_files": _formats(), "free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1)}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if any(p["trouble"] for p in report["plugins"]):
        return 3
    return 1 if report["trouble"] else 0


def _formats() -> list[str]:
    """Audio file formats that can be read; checked in a child process, as every import that may fail."""
    code = SAFE + "import soundfile; print(*soundfile.available_formats())"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return []
    return sorted(done.stdout.split()) if done.returncode == 0 else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    """Devices, threads, and packages that cannot be imported."""
    trouble = [line for line in (_import("torch"), _import("torchaudio"), _import("soundfile")) if line]
    found: dict[str, Any] = {"devices": {}, "threads": None, "cores": os.cpu_count(), "trouble": trouble}
    if any(line.startswith("torch ") for line in trouble):
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


def _import(package: str) -> str | None:
    """Try an import in a child process, which may crash; return the failure in one line, or None on success."""
    reason = _child([sys.executable, "-c", f"{SAFE}import {package}"])
    if reason is None:
        return None
    remedy = {
        "torch": "nothing works without it: reinstall sonolux",
        "torchaudio": "audio recipes need it, in a version that fits torch: reinstall sonolux, which selects one",
        "soundfile": "audio files need it: pip install soundfile",
    }[package]
    return f"{package} {_version(package) or 'is not installed and'} cannot be imported ({reason}); {remedy}"


def _child(arguments: list[str]) -> str | None:
    """Run a child process; return None on success, otherwise its last line of output or its signal."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"no result after {TIMEOUT} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"the process was killed by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("sonolux.core.util.errors.").strip() if lines else f"exit code {done.returncode}"


def _plugins() -> list[dict[str, Any]]:
    """Every entry point of plugins, each loaded in a child process."""
    from ..config import registry

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
    print_lines(f"audio files: {', '.join(report['sound_files']) or 'none can be read'}")
    print_lines(f"{report['free_gb']:g} GB free in {Path.cwd()}")
    for plugin in report["plugins"]:
        print_lines(f"plugin {plugin['kind']} {plugin['name']} ({plugin['source']}): {plugin['trouble'] or 'ok'}")
    for line in report["trouble"]:
        print_lines(f"BROKEN: {line}")
    broken = len(report["trouble"]) + sum(bool(p["trouble"]) for p in report["plugins"])
    print_lines(f"{format_count(broken, 'problem')} found" if broken else "no problems found")
