"""List the components that recipes can use, built-in and from plugins, and show their parameters."""

from __future__ import annotations

import json
from typing import Any

import click

from ..util.messages import print_json, print_lines


@click.group("plugins", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List components (the default), or show one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@command.command("list")
@click.option("--kind", help="List only this kind of component.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str | None = None, as_json: bool = False) -> None:
    """List all components by kind. Plugins are read from package metadata and not imported."""
    from ..config import registry

    rows: list[dict[str, Any]] = []
    for k in [kind] if kind else registry.component_kinds():
        claims = registry.plugin_entry_points(k)
        for name in registry.component_names(k):
            trouble = registry.plugin_name_conflict(k, name, claims[name]) if name in claims else None
            rows.append({"kind": k, "name": name, "source": registry.component_origin(k, name), "trouble": trouble})
    if as_json:
        print_json(rows)
        return
    for k in dict.fromkeys(row["kind"] for row in rows):
        print_lines(f"{k}:")
        for row in (row for row in rows if row["kind"] == k):
            origin = "" if row["source"] == registry.PACKAGE else f"  ({row['source']})"
            print_lines(f"  {row['name']}{origin}{'  UNUSABLE: ' + row['trouble'] if row['trouble'] else ''}")


@command.command("show")
@click.argument("name")
@click.option("--kind", help="Show only this kind; by default all kinds with this name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Print the description and the parameters of a component.

    NAME is a registered name, pkg.module:Class or ./file.py:Class. Parameters are shown with types, defaults and units.
    """
    from ..config import registry
    from ..util import messages

    if kind is not None:
        kinds = [kind]
    elif registry.is_code_reference(name):
        cls = registry.find_class("network", name)  # any kind: the base classes of the kinds tell which it is
        kinds = [k for k in registry.component_kinds() if registry.kind_base_class(k) in cls.__mro__] or ["network"]
    else:
        kinds = [k for k in registry.component_kinds() if name in registry.component_names(k)]
    if not kinds:
        known = [n for k in registry.component_kinds() for n in registry.component_names(k)]
        messages.raise_bad_input(f"there is no component {name!r}{messages.did_you_mean(name, known)}")
    shown = [registry.describe_component(k, name) for k in kinds]
    if as_json:
        print_json([_record(d) for d in shown])
        return
    for i, description in enumerate(shown):
        print_lines(*[""][: i > 0], *_lines(description))


def _record(description: Any) -> dict[str, Any]:
    from ..config.signature import REQUIRED, type_name
    from ..config.spec import to_plain_values

    return {
        "kind": description.kind,
        "name": description.name,
        "source": description.source,
        "about": description.about,
        "parameters": [
            {
                "name": p.name,
                "type": type_name(p.annotation),
                "required": p.default is REQUIRED,
                **({} if p.default is REQUIRED else {"default": to_plain_values(p.default)}),
                "doc": p.doc,
            }
            for p in description.parameters
            if not p.hidden
        ],
    }


def _lines(description: Any) -> list[str]:
    record = _record(description)
    lines = [f"{record['kind']} {record['name']}  ({record['source']})", record["about"]]
    for p in record["parameters"]:
        default = (
            "required" if p["required"] else f"default {json.dumps(p['default'], ensure_ascii=False, default=str)}"
        )
        lines.append(f"  {p['name']}: {p['type']}, {default}")
        if p["doc"]:
            lines.append(f"      {p['doc']}")
    return lines if record["parameters"] else [*lines, "  no parameters"]
