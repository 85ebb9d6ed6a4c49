"""Changes of the syntax tree of a function: another operator, constant, name, argument; a call that is removed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

from .syntax import (
    annotate_tree,
    constant_node,
    executed_fields,
    executed_nodes,
    mentions_word,
    node_position,
    operands_of,
    operator_matcher,
    parse_expression,
)
from .targets import Target, attribute_target, call_target, constant_target, variable_target


class Mutation:
    """A change of the syntax tree of one function.

    Args:
        text: Description for messages.
        target: What is changed.
        make: Returns the new node for a matching one.
        at: Which match, in source order; None for all.
        near: A name, attribute or text that the matching expression must contain.
    """

    def __init__(
        self, text: str, target: Target, make: Callable[[Any], ast.AST], at: int | None = 0, near: str | None = None
    ) -> None:
        self.text, self.target, self.make, self.at, self.near = text, target, make, at, near

    def __repr__(self) -> str:
        return self.text

    def apply(self, tree: ast.FunctionDef) -> str:
        """Change the tree in place and return `before -> after` in source text.

        Raises:
            ValueError: Nothing matches, there are fewer matches than `at` requires, or nothing changes.
        """
        annotate_tree(tree)
        places = sorted(self._places(tree), key=lambda place: place[0])
        if not places or (self.at is not None and not -len(places) <= self.at < len(places)):
            raise ValueError(f"{self.text}: {len(places)} places in {tree.name}, none at {self.at}: nothing is planted")
        chosen = places if self.at is None else [places[self.at]]
        description = []
        for _, parent, field, index in chosen:
            original = getattr(parent, field)
            old = original if index is None else original[index]
            before = ast.unparse(old)
            new = self.make(copy.deepcopy(old))
            ast.copy_location(new, old)
            ast.fix_missing_locations(new)
            if ast.dump(new) == ast.dump(old):
                raise ValueError(f"{self.text}: {before} in {tree.name} stays as it is: nothing is planted")
            if index is None:
                setattr(parent, field, new)
            else:
                original[index] = new
            description.append(f"{before}  ->  {ast.unparse(new)}")
        return "; ".join(description)

    def _places(self, tree: ast.FunctionDef) -> Iterator[tuple[tuple[int, int], ast.AST, str, int | None]]:
        matches = operator_matcher(self.target) if isinstance(self.target, type) else self.target
        for parent in executed_nodes(tree):
            for field, value in executed_fields(parent):
                for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                    if (
                        isinstance(node, ast.AST)
                        and matches(node)
                        and (not self.near or mentions_word(node, self.near))
                    ):
                        yield node_position(node, self.target), parent, field, index


def swap_operator(old: type[ast.AST], new: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """One operator for another of its family: `swap_operator(ast.Add, ast.Sub)`, `swap_operator(ast.Lt, ast.GtE)`."""

    def make(node: Any) -> ast.AST:
        if isinstance(node, ast.Compare):
            index = next(i for i, op in enumerate(node.ops) if isinstance(op, old))
            node.ops[index] = new()  # type: ignore[call-overload]
        else:
            node.op = new()
        return node

    return Mutation(f"swap({old.__name__}, {new.__name__}, at={at})", old, make, at, near)


def swap_constant(old: Any, new: Any, at: int | None = 0, near: str | None = None) -> Mutation:
    """One constant for another: `swap_constant(0.5, 1.0)`."""
    return Mutation(
        f"swap_constant({old!r}, {new!r}, at={at})", constant_target(old), lambda _: constant_node(new), at, near
    )


def swap_name(old: str, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """A read of one variable becomes a read of another."""
    return Mutation(
        f"swap_name({old}, {new}, at={at})", variable_target(old), lambda _: ast.Name(new, ast.Load()), at, near
    )


def swap_attribute(old: str, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """A read of one attribute becomes a read of another: `t.alpha` becomes `t.sigma`."""

    def make(node: Any) -> ast.AST:
        node.attr = new
        return node

    return Mutation(f"swap_attribute({old}, {new}, at={at})", attribute_target(old), make, at, near)


def swap_call(old: str, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """Another function or method is called with the same arguments: `maximum(a, b)` becomes `minimum(a, b)`."""

    def make(node: Any) -> ast.AST:
        if isinstance(node.func, ast.Name):
            node.func.id = new
        else:
            node.func.attr = new
        return node

    return Mutation(f"swap_call({old}, {new}, at={at})", call_target(old), make, at, near)


def swap_operands(operator: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """The operands are exchanged: `a - b` becomes `b - a`."""

    def make(node: Any) -> ast.AST:
        if isinstance(node, ast.Compare):
            node.left, node.comparators[0] = node.comparators[0], node.left
        else:
            node.left, node.right = node.right, node.left
        return node

    return Mutation(f"swap_sides({operator.__name__}, at={at})", operator, make, at, near)


def swap_arguments(
    function: str, first: int = 0, second: int = 1, at: int | None = 0, near: str | None = None
) -> Mutation:
    """Two positional arguments of a call are exchanged: `f(a, b)` becomes `f(b, a)`."""

    def make(node: Any) -> ast.AST:
        node.args[first], node.args[second] = node.args[second], node.args[first]
        return node

    return Mutation(f"swap_arguments({function}, {first}, {second}, at={at})", call_target(function), make, at, near)


def drop_call(function: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """The call is removed: `x.clamp(0)` becomes `x`, `f(x, y)` and `module.f(x, y)` become `x`."""

    def make(node: Any) -> ast.AST:
        if isinstance(node.func, ast.Attribute) and not (node.args and getattr(node.func.value, "_is_module", False)):
            return node.func.value
        return node.args[0] if node.args else constant_node(None)

    return Mutation(f"drop_call({function}, at={at})", call_target(function), make, at, near)


def set_argument(function: str, which: int | str, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """Another value for one argument (position or keyword) of a call; `new` is an expression in its scope."""

    def make(node: Any) -> ast.AST:
        if isinstance(which, int):
            node.args[which] = parse_expression(new)
        else:
            node.keywords = [k for k in node.keywords if k.arg != which]
            node.keywords.append(ast.keyword(which, parse_expression(new)))
        return node

    return Mutation(f"set_argument({function}, {which}, {new}, at={at})", call_target(function), make, at, near)


def scale_expression(target: Target, factor: float, at: int | None = 0, near: str | None = None) -> Mutation:
    """The matching expression times a factor."""
    text = f"scale({format_target(target)}, {factor}, at={at})"
    return Mutation(text, target, lambda node: ast.BinOp(constant_node(factor), ast.Mult(), node), at, near)


def negate_expression(target: Target, at: int | None = 0, near: str | None = None) -> Mutation:
    """`not test` for a condition or a comparison, minus the expression for anything else."""

    def make(node: Any) -> ast.AST:
        logical = isinstance(node, (ast.Compare, ast.BoolOp)) or getattr(node, "_is_condition", False)
        return ast.UnaryOp(ast.Not() if logical else ast.USub(), node)

    return Mutation(f"negate({format_target(target)}, at={at})", target, make, at, near)


def keep_left_operand(operator: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """Only the left operand remains: `a + b` becomes `a`."""
    return Mutation(f"take_left({operator.__name__}, at={at})", operator, lambda n: operands_of(n)[0], at, near)


def keep_right_operand(operator: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """Only the right operand remains: `a + b` becomes `b`."""
    return Mutation(f"take_right({operator.__name__}, at={at})", operator, lambda n: operands_of(n)[-1], at, near)


def replace_expression(target: Target, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """The matching expression becomes `new`, an expression in the function's scope where `_` is the old expression."""

    def make(old: Any) -> ast.AST:
        class Fill(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.AST:
                return copy.deepcopy(old) if node.id == "_" else node

        return Fill().visit(parse_expression(new))

    return Mutation(f"replace({format_target(target)}, {new}, at={at})", target, make, at, near)


def drop_statement(target: Target, at: int | None = 0, near: str | None = None) -> Mutation:
    """The statement that contains the target becomes `pass`; a block (`if`, `for`) if its head contains it."""
    matches = operator_matcher(target) if isinstance(target, type) else target

    def holds(node: ast.AST) -> bool:
        if not isinstance(node, ast.stmt) or isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            return False
        heads = [v for f, v in ast.iter_fields(node) if f not in ("body", "orelse", "finalbody", "handlers")]
        parts = [p for v in heads for p in (v if isinstance(v, list) else [v]) if isinstance(p, ast.AST)]
        return matches(node) or any(matches(inner) for part in parts for inner in ast.walk(part))

    return Mutation(f"drop_statement({format_target(target)}, at={at})", holds, lambda _: ast.Pass(), at, near)


def rewrite_node(
    text: str, target: Target, make: Callable[[Any], ast.AST], at: int | None = 0, near: str | None = None
) -> Mutation:
    """Any other change: `make` receives the matching node and returns the new one."""
    return Mutation(text, target, make, at, near)


def format_target(target: Target) -> str:
    """A target in a few words, for the name of a test: the class, or the function that made it with its arguments."""
    if isinstance(target, type):
        return target.__name__
    cells = [c.cell_contents for c in getattr(target, "__closure__", None) or ()]
    return f"{target.__qualname__.split('.')[0]} {' '.join(map(str, cells))}".strip()
