"""Versions of sonolux and of the packages that it requires."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version


@cache
def package_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def required_versions() -> dict[str, str | None]:
    """Package -> version, for those that sonolux requires; optional ones are left out."""
    try:
        listed = requires("sonolux") or []
    except PackageNotFoundError:  # run from its source
        listed = ["torch"]
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in listed if "extra ==" not in text]
    return {name: package_version(name) for name in names}
