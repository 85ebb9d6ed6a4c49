"""Syntax trees of functions: what is executed, where it is, and what it mentions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any


def annotate_tree(tree: ast.FunctionDef) -> None:
    """Mark the nodes that are conditions or arguments of calls, which show only in their parents."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            node.test._is_condition = True  # type: ignore[attr-defined]
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                test._is_condition = True  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call):
            for index, value in enumerate(node.args):
                places = {(called_name(node.func), index), (called_name(node.func), index - len(node.args))}
                value._argument_of = places  # type: ignore[attr-defined]
            for keyword in node.keywords:
                keyword.value._argument_of = {(called_name(node.func), keyword.arg)}  # type: ignore[attr-defined]


def executed_fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that are executed with the function: no annotations and no decorators."""
    return (pair for pair in ast.iter_fields(node) if pair[0] not in ("decorator_list", "returns", "annotation"))


def executed_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that are executed with the function."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for _, value in executed_fields(node):
            waiting += [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)]


def operator_matcher(matches: type[ast.AST]) -> Callable[[ast.AST], bool]:
    """A function node -> whether it has this operator, or is of this type (ast.If, ast.ListComp)."""
    if not issubclass(matches, (ast.operator, ast.unaryop, ast.boolop, ast.cmpop)):
        return lambda node: isinstance(node, matches)

    def holds(node: ast.AST) -> bool:
        if isinstance(node, ast.Compare):
            return any(isinstance(op, matches) for op in node.ops)
        return isinstance(getattr(node, "op", None), matches)

    return holds


def node_position(node: Any, target: Any) -> tuple[int, int]:
    """The position of a match: an operator after its left operand, a call or attribute at the end of its name."""
    if isinstance(target, type) and isinstance(node, ast.BinOp):
        return node.left.end_lineno or 0, node.left.end_col_offset or 0
    if isinstance(node, ast.Call):
        return node.func.end_lineno or node.lineno, node.func.end_col_offset or 0
    if isinstance(node, ast.Attribute):
        return node.end_lineno or node.lineno, node.end_col_offset or 0
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def mentions_word(node: ast.AST, word: str) -> bool:
    """Whether a name, an attribute, an argument or a text in a node is this word."""
    return any(
        word in (getattr(n, "id", None), getattr(n, "attr", None), getattr(n, "arg", None))
        or (isinstance(n, ast.Constant) and n.value == word)
        for n in ast.walk(node)
    )


def operands_of(node: Any) -> list[ast.expr]:
    """The operands of an operation or comparison; raises ValueError for other nodes."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BoolOp):
        return node.values
    raise ValueError(f"{ast.unparse(node)} has no two operands")


def called_name(function: ast.AST) -> str:
    """The name of a function or method that is called."""
    return getattr(function, "attr", None) or getattr(function, "id", "")


def parse_expression(text: str) -> ast.expr:
    """The node of an expression."""
    return ast.parse(text, mode="eval").body


def constant_node(value: Any) -> ast.expr:
    """The node of a plain value."""
    return parse_expression(repr(value))
