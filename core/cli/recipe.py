"""List, show and check recipes; write their JSON schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..util.messages import LONGEST_LINE, format_command, format_json, print_json, print_lines, shorten
from ..util.paths import check_path
from ._completion import complete_change, complete_recipe, complete_recipe_or_run
from ._paths import PathArgument

if TYPE_CHECKING:
    from ..config.recipe import Recipe

ALLOW_CODE = "Run code that the recipe of a run or checkpoint, or one that RECIPE extends, names."


@click.group("recipe")
def command() -> None:
    """List, show and validate recipes, without running them."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the recipes that are included in sonolux."""
    from ..config.load import packaged_recipes, recipe_summary

    rows = [recipe_summary(name, file) for name, file in packaged_recipes().items()]
    if as_json:
        print_json(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        needs = f"  [needs {', '.join(row['needs'])}]" if row["needs"] else ""
        print_lines(f"{row['name']:<{width}}  {row['about']}{needs}")


@command.command("show")
@click.argument("recipe", metavar="RECIPE|RUN", shell_complete=complete_recipe_or_run)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_change)
@click.option("--allow-code", is_flag=True, help=ALLOW_CODE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(recipe: str, changes: tuple[str, ...], allow_code: bool, as_json: bool) -> None:
    """Print a recipe with all default values.

    RECIPE is a file, an included name, a run folder, a checkpoint or a packaged model.
    """
    loaded = _open(recipe, changes, partial=True, allow_code=allow_code)
    if as_json:
        print_json(loaded.resolved())
    else:
        print_lines(*loaded.dump().rstrip("\n").split("\n"))


@command.command("validate")
@click.argument(
    "arguments", nargs=-1, required=True, metavar="RECIPE... [KEY=VALUE]...", shell_complete=complete_recipe
)
@click.option(
    "--data", "with_data", is_flag=True, help="Also read the data, and check what the conditions need from it."
)
@click.option("--allow-code", is_flag=True, help=ALLOW_CODE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(arguments: tuple[str, ...], with_data: bool, allow_code: bool, as_json: bool) -> int:
    """Check recipes and report all problems.

    Each problem is shown with its position and the nearest valid name.
    """
    from ..config.tree import BadRecipe
    from ..util.errors import BadInput

    recipes = [a for a in arguments if "=" not in a or os.path.exists(a)]
    changes = tuple(a for a in arguments if a not in recipes)
    if not recipes:
        raise click.UsageError("which recipe? `sonolux recipe list` lists the included ones")
    rows: list[dict[str, Any]] = []
    for recipe in recipes:
        try:
            loaded = _open(recipe, changes, partial=False, allow_code=allow_code)
            if with_data:
                _read_data(loaded)
            rows.append({"recipe": recipe, "valid": True, "problems": []})
            lines, to_stderr = [f"{recipe}: valid"], False
        except BadInput as error:
            single = not isinstance(error, BadRecipe)
            problems = [{"message": str(error)}] if single else [p.to_dict() for p in error.problems]
            rows.append({"recipe": recipe, "valid": False, "problems": problems})
            lines, to_stderr = [shorten(line, LONGEST_LINE) for line in error.lines()], True
        if not as_json:
            print_lines(*lines, err=to_stderr)
    if as_json:
        print_json(rows)
    return 0 if all(row["valid"] for row in rows) else 2


@command.command("schema")
@click.option("-o", "--out", type=PathArgument(dir_okay=False), help="Write to a file instead of printing.")
def schema(out: Path | None) -> None:
    """Print the JSON schema of recipes, for editors.

    The schema (draft-07) gives completion and checks.

    \b
    sonolux recipe schema -o recipe.schema.json
    # yaml-language-server: $schema=recipe.schema.json      <- first line of a recipe
    """
    from ..config.schema import recipe_schema as make
    from ..util.atomic_replace import write_text_file
    from ..util.errors import BadInput

    if out is None:
        print_json(make())
        return
    try:
        write_text_file(out, format_json(make()) + "\n")
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}): choose another folder or name") from error
    print_lines(f"wrote {out}")


def _read_data(recipe: Recipe) -> None:
    """Raise BadInput if the data cannot be read, or lacks something that the recipe's conditions need."""
    from ..training.build import build_dataset, build_model_components, check_conditions

    data, spec = build_dataset(recipe)
    check_conditions(build_model_components(recipe, spec), data)


def _open(recipe: str, changes: tuple[str, ...], partial: bool, allow_code: bool) -> Recipe:
    """A recipe by file or name, or that of a run folder or a checkpoint."""
    from ..config import trust
    from ..config.load import load_recipe, load_recipe_text, load_run_recipe, name_checkpoint_in_errors

    path = _packaged_model_or(check_path(Path(recipe)))
    if path.is_dir():
        return load_run_recipe(path, changes, partial, allow_code)
    if path.suffix == ".safetensors" and path.is_file():
        from ..training.checkpoint import read_header

        text = read_header(path).recipe
        trusted = trust.trust_of_checkpoint(path, text)
        with name_checkpoint_in_errors(path):
            return load_recipe_text(text, path.parent, changes, allow_code, None, partial=partial, trusted=trusted)
    return load_recipe(recipe, changes, partial=partial, allow_code=allow_code)


def _packaged_model_or(path: Path) -> Path:
    """The checkpoint of a packaged model, if the path is its name; an included recipe of this name goes first."""
    from ..config.load import packaged_recipes
    from ..training.packaged_models import find_packaged_model

    checkpoint = find_packaged_model(path)
    if checkpoint is None:
        return path
    if any(str(path) in (name, name.rpartition("/")[2]) for name in packaged_recipes()):
        shown = format_command("sonolux", "recipe", "show", checkpoint)
        print_lines(f"note: this is the included recipe {path}; that of the packaged model {path}: {shown}", err=True)
        return path
    return checkpoint
