"""Recipes: YAML with positions -> validated, typed sections and unbuilt components. Importing this loads no torch."""

from .load import find_recipe, load_recipe, load_recipe_text, packaged
from .recipe import Recipe, Split
from .spec import Kind, Range, Spec

__all__ = ["Kind", "Range", "Recipe", "Spec", "Split", "find_recipe", "load_recipe", "load_recipe_text", "packaged"]
