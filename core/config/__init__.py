"""Configuration: a recipe's YAML text -> one tree -> validated sections and unbuilt components.

The way of a recipe: `load` finds and parses files (`yaml`), renames old keys (`legacy`), merges what it extends and the
command line (`overrides`); `recipe` validates the tree as pydantic models (`sections`, `components`), words what is
wrong (`wording`) and checks sections against each other (`checks`). Nothing here imports torch by itself.
"""
