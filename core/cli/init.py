"""Copy an included recipe, with its comments, to a new file."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ._completion import complete_recipe


@click.command("init")
@click.argument("name")
@click.option(
    "--from",
    "origin",
    required=True,
    metavar="RECIPE",
    shell_complete=complete_recipe,
    help="The recipe to copy, see `sonolux recipe list`.",
)
def command(name: str, origin: str) -> None:
    """Copy RECIPE to NAME.yaml, to be edited and trained; an existing file is never replaced.

    \b
    sonolux init mine --from digits
    sonolux train mine.yaml data.root=path/to/folder
    """
    from ..config.load import find_named_code, find_recipe, packaged_recipes, read_recipe_file
    from ..config.trust import TrustLevel, trust_of_file
    from ..util.atomic_replace import write_text_file
    from ..util.errors import BadInput
    from ..util.messages import format_command as quoted
    from ..util.messages import format_names, print_lines, shorten
    from ..util.paths import check_path

    target = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not name.removesuffix(".yaml").removesuffix(".yml").strip("./ "):
        raise BadInput(f"{name!r} is not a valid name for a recipe: use one such as my-model")
    if check_path(target).exists():
        raise BadInput(f"{shorten(str(target))} exists: choose another name, or remove it first")
    source = find_recipe(origin)
    names = [n for n, file in packaged_recipes().items() if file == source]
    original = read_recipe_file(source, str(source))
    code, foreign = find_named_code(original), trust_of_file(source, original, TrustLevel.CODE) < TrustLevel.CODE
    shown = format_names([name.rpartition("/")[2] for name in code])
    if code and foreign:
        raise BadInput(
            f"{source} is of a run that was not made here, and names code: {shown}. Read that code, "
            "then copy the file by hand"
        )
    text = rename_recipe_text(original, target, [*names, *(n.rpartition("/")[2] for n in names), str(source)])
    try:
        write_text_file(target, text, new=True)  # it may have been created in the meantime
    except OSError as error:
        raise BadInput(
            f"{shorten(str(target))} cannot be written ({error.strerror}): choose another folder or name"
        ) from error
    print_lines(f"wrote {target}")
    if code:
        print_lines(f"{target} names code, which runs when you use it: {shown}")
    if foreign:
        print_lines(f"{target} is of a run that was not made here: check its paths, which are used from now on")
    print_lines(f"now: {quoted('sonolux', 'train', target)}{_needs(target)}")


def rename_recipe_text(text: str, target: Path, origins: list[str]) -> str:
    """Rename the recipe in its text: in `name:`, and in the commands of its comments.

    Args:
        text: The text of the recipe.
        target: The new file.
        origins: Names under which the original recipe can occur.
    """
    text = re.sub(r"^name:[^#\n]*?(?=\s*(#|$))", f"name: {target.stem}", text, count=1, flags=re.MULTILINE)
    for origin in origins:
        text = re.sub(rf"^(#.*\bsonolux \w+ ){re.escape(origin)}(?=\s|$)", rf"\g<1>{target}", text, flags=re.MULTILINE)
    return text


def _needs(target: Path) -> str:
    from ..config.load import recipe_summary

    return "".join(f" {key}=path/to/folder" for key in recipe_summary(target.stem, target)["needs"])
