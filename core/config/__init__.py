"""Configuration: a recipe's YAML text -> one tree -> validated sections and unbuilt components.

Steps: `load` finds and parses files (`yaml`), renames old keys (`legacy`), and merges the recipe that is extended and
the command line (`overrides`); `recipe` validates the tree as pydantic models (`sections`, `components`), writes the
error messages (`wording`) and checks sections against each other (`checks`). Nothing here imports torch by itself.
"""
