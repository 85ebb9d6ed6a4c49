"""Planted errors: one operator, constant, name or attribute of a function is changed, and a test must fail.

Usage. An error is described by its effect, never by the text of a line, so that reformatting breaks nothing:

    with planted_error(Heun, "draft", swap_operator(ast.Sub, ast.Add)):  # the first - of Heun.draft becomes +
        assert_caught(check_order, Heun())  # check_order(Heun()) must fail by its own assertion
    with planted_error(exponential, "psi", swap_constant(2, 3, at=1)):  # a function of a module: for all importers
    with planted_error(Euler, "order", 2):  # any attribute: the value, restored at the end
    Wrong = mutated_class(Heun, "draft", scale_expression(call_target("noise"), 1.1))  # a subclass
    wrong = mutated_function(psi, drop_call("clamp"), negate_expression(condition_target()))  # applied in order

Targets (`targets.py`): an operator class of `ast`, or a function such as `call_target("f")`.
Mutations (`mutations.py`): `at` counts the matches in source order (0: the first, -1: the last, None: all);
`near="word"` keeps the matches that contain this name, attribute or text. A mutation without a match or without a
change raises ValueError: the error was not planted.
`make mutants` lists every error planted here with the test that caught it.
"""

from .caught import assert_caught
from .listeners import LISTENERS
from .mutations import (
    Mutation,
    drop_call,
    drop_statement,
    keep_left_operand,
    keep_right_operand,
    negate_expression,
    replace_expression,
    rewrite_node,
    scale_expression,
    set_argument,
    swap_arguments,
    swap_attribute,
    swap_call,
    swap_constant,
    swap_name,
    swap_operands,
    swap_operator,
)
from .planting import mutated_class, mutated_function, planted_error
from .targets import (
    Target,
    argument_target,
    attribute_target,
    call_target,
    condition_target,
    constant_target,
    variable_target,
)

__all__ = [
    "LISTENERS",
    "Mutation",
    "Target",
    "argument_target",
    "assert_caught",
    "attribute_target",
    "call_target",
    "condition_target",
    "constant_target",
    "drop_call",
    "drop_statement",
    "keep_left_operand",
    "keep_right_operand",
    "mutated_class",
    "mutated_function",
    "negate_expression",
    "planted_error",
    "replace_expression",
    "rewrite_node",
    "scale_expression",
    "set_argument",
    "swap_arguments",
    "swap_attribute",
    "swap_call",
    "swap_constant",
    "swap_name",
    "swap_operands",
    "swap_operator",
    "variable_target",
]  # fmt: skip
