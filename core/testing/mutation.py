"""Planted errors: one operator, constant, name or attribute of a function is changed, and a test must fail.

Usage. An error is described by its effect, never by the text of a line, so that reformatting breaks nothing:

    with planted(Heun, "draft", swap(ast.Sub, ast.Add)):          # the first - of Heun.draft becomes +
        caught(check_order, Heun())                              # check_order(Heun()) must fail by its own assertion
    with planted(exponential, "psi", swap_constant(2, 3, at=1)):  # a function of a module: changed for all importers
    with planted(Euler, "order", 2):                             # any attribute: the value, restored at the end
    Wrong = mutant(Heun, "draft", scale(call("noise"), 1.1))     # a subclass, next to the correct class
    wrong = mutate(psi, drop_call("clamp"), negate(condition()))  # a function; several mutations are applied in order

Targets: an operator class of `ast`, call("f"), attribute("sigma"), variable("x"), constant(2), condition(), argument().
Mutations: swap, swap_constant, swap_name, swap_attribute, swap_call, swap_sides, swap_arguments, drop_call, replace,
set_argument, scale, negate, take_left, take_right, drop_statement, rewrite. `at` counts the matches in source order (0:
the first, -1: the last, None: all); `near="word"` keeps the matches that contain this name, attribute or text.
A mutation without a match or without a change raises ValueError: the error was not planted.
`make mutants` lists every error planted here with the test that caught it.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import sys
import textwrap
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Target = Any  # an operator class of `ast`, or a function node -> whether it matches

LISTENERS: list[Callable[[str], None]] = []  # called with the description of every planted error

_CHANGED: dict[
    types.FunctionType, ast.FunctionDef
] = {}  # functions that are changed at the moment, with their current tree


# --- targets ---------------------------------------------------------------------------------------------------------


def call_target(name: str) -> Target:
    """Calls of a function or method of this name: `name(...)` and `anything.name(...)`."""
    return lambda node: isinstance(node, ast.Call) and _last(node.func) == name


def attribute_target(name: str) -> Target:
    """Reads of an attribute: `anything.name`."""
    return lambda node: isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load)


def variable_target(name: str) -> Target:
    """Reads of a variable."""
    return lambda node: isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


name = variable_target  # the former name


def constant_target(value: Any) -> Target:
    """A number, text, True, False or None, of the same type and value."""
    return lambda node: isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def condition_target() -> Target:
    """The tests of `if`, `elif`, `while`, `a if test else b` and of comprehensions."""
    return lambda node: getattr(node, "_is_condition", False)


def argument_target(function: str, which: int | str) -> Target:
    """The value of one argument (position, -1 for the last, or keyword) in calls of `function`."""
    return lambda node: (function, which) in getattr(node, "_argument_of", ())


# --- mutations -------------------------------------------------------------------------------------------------------


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
        _annotate(tree)
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
        matches = _holds(self.target) if isinstance(self.target, type) else self.target
        for parent in _code_of(tree):
            for field, value in _parts(parent):
                for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                    if isinstance(node, ast.AST) and matches(node) and (not self.near or _mentions(node, self.near)):
                        yield _position(node, self.target), parent, field, index


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
    return Mutation(f"swap_constant({old!r}, {new!r}, at={at})", constant_target(old), lambda _: _value(new), at, near)


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
        return node.args[0] if node.args else _value(None)

    return Mutation(f"drop_call({function}, at={at})", call_target(function), make, at, near)


def set_argument(function: str, which: int | str, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """Another value for one argument (position or keyword) of a call; `new` is an expression in its scope."""

    def make(node: Any) -> ast.AST:
        if isinstance(which, int):
            node.args[which] = _expression(new)
        else:
            node.keywords = [k for k in node.keywords if k.arg != which]
            node.keywords.append(ast.keyword(which, _expression(new)))
        return node

    return Mutation(f"set_argument({function}, {which}, {new}, at={at})", call_target(function), make, at, near)


def scale_expression(target: Target, factor: float, at: int | None = 0, near: str | None = None) -> Mutation:
    """The matching expression times a factor."""
    text = f"scale({_named(target)}, {factor}, at={at})"
    return Mutation(text, target, lambda node: ast.BinOp(_value(factor), ast.Mult(), node), at, near)


def negate_expression(target: Target, at: int | None = 0, near: str | None = None) -> Mutation:
    """`not test` for a condition or a comparison, minus the expression for anything else."""

    def make(node: Any) -> ast.AST:
        logical = isinstance(node, (ast.Compare, ast.BoolOp)) or getattr(node, "_is_condition", False)
        return ast.UnaryOp(ast.Not() if logical else ast.USub(), node)

    return Mutation(f"negate({_named(target)}, at={at})", target, make, at, near)


def keep_left_operand(operator: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """Only the left operand remains: `a + b` becomes `a`."""
    return Mutation(f"take_left({operator.__name__}, at={at})", operator, lambda n: _operands(n)[0], at, near)


def keep_right_operand(operator: type[ast.AST], at: int | None = 0, near: str | None = None) -> Mutation:
    """Only the right operand remains: `a + b` becomes `b`."""
    return Mutation(f"take_right({operator.__name__}, at={at})", operator, lambda n: _operands(n)[-1], at, near)


def replace_expression(target: Target, new: str, at: int | None = 0, near: str | None = None) -> Mutation:
    """The matching expression becomes `new`, an expression in the function's scope where `_` is the old expression."""

    def make(old: Any) -> ast.AST:
        class Fill(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.AST:
                return copy.deepcopy(old) if node.id == "_" else node

        return Fill().visit(_expression(new))

    return Mutation(f"replace({_named(target)}, {new}, at={at})", target, make, at, near)


def drop_statement(target: Target, at: int | None = 0, near: str | None = None) -> Mutation:
    """The statement that contains the target becomes `pass`; a block (`if`, `for`) if its head contains it."""
    matches = _holds(target) if isinstance(target, type) else target

    def holds(node: ast.AST) -> bool:
        if not isinstance(node, ast.stmt) or isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            return False
        heads = [v for f, v in ast.iter_fields(node) if f not in ("body", "orelse", "finalbody", "handlers")]
        parts = [p for v in heads for p in (v if isinstance(v, list) else [v]) if isinstance(p, ast.AST)]
        return matches(node) or any(matches(inner) for part in parts for inner in ast.walk(part))

    return Mutation(f"drop_statement({_named(target)}, at={at})", holds, lambda _: ast.Pass(), at, near)


def rewrite_node(
    text: str, target: Target, make: Callable[[Any], ast.AST], at: int | None = 0, near: str | None = None
) -> Mutation:
    """Any other change: `make` receives the matching node and returns the new one."""
    return Mutation(text, target, make, at, near)


# --- planting --------------------------------------------------------------------------------------------------------


def mutated_function(function: Callable, *mutations: Mutation) -> Callable:
    """A copy of a function with mutations applied: same globals, closure, defaults and attributes, without decorators.

    Raises:
        ValueError: A mutation changes nothing, or the function has no source.
    """
    plain = inspect.unwrap(_plain_function(function))
    code, description = _changed_code(plain, mutations)[:2]
    made = types.FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    functools.update_wrapper(made, plain)
    vars(made).pop("__wrapped__")
    made.__kwdefaults__ = plain.__kwdefaults__
    notify_listeners(f"{_where(plain)}: {description}")
    return made


def mutated_class(cls: type, method: str, *mutations: Mutation, **attributes: Any) -> type:
    """A subclass of the same name whose method has the mutations, and whose class attributes are `attributes`.

    A property, static method or class method keeps its type. An inherited method is changed for this subclass only.
    """
    original = inspect.getattr_static(cls, method)
    made = mutated_function(original, *mutations)
    if isinstance(original, (staticmethod, classmethod)):
        made = type(original)(made)
    elif isinstance(original, property):
        made = property(made, original.fset, original.fdel)
    elif isinstance(original, functools.cached_property):
        made = functools.cached_property(made)
        made.__set_name__(cls, method)
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__, "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, (cls,), {**body, method: made, **attributes})


@contextmanager
def planted_error(owner: Any, attribute: str, *errors: Any) -> Iterator[None]:
    """Within the block, `owner.attribute` contains an error.

    With mutations, the function's code is changed in place: also for modules that imported it by name, and, if a class
    has inherited the method, for the class that defines it. Decorators stay (caches of functools are cleared). With one
    other value, the attribute is set; a function or class of a module is also set in the package's modules that
    imported it.

    Args:
        owner: A class, module or instance.
        attribute: The name of the function, method or value.
        *errors: Mutations, applied in order, or the one value that replaces the attribute.

    Raises:
        ValueError: A mutation changes nothing, or the new value equals the old one.
        AttributeError: The owner has no such attribute.
    """
    original = inspect.getattr_static(owner, attribute)
    changing = bool(errors) and all(isinstance(e, Mutation) for e in errors)
    if not changing and len(errors) != 1:
        raise ValueError(f"{attribute}: give mutations, or one value that replaces it")
    with _changed_in_place(original, errors) if changing else _replaced(owner, attribute, original, errors[0]):
        yield


def assert_caught(
    check: Callable, *args: Any, also: type[Exception] | tuple[type[Exception], ...] = (), **options: Any
) -> str:
    """Run a check on something faulty and require that it fails by an assertion of its own.

    An AssertionError raised by the code under test does not count, because the check itself noticed nothing.

    Args:
        check: The function that asserts.
        *args: Its arguments.
        also: Exceptions of the code under test that also count (a RuntimeError for shapes that do not fit).
        **options: Its keyword arguments.

    Returns:
        The message of the assertion.

    Raises:
        AssertionError: The check passes, or the failing assertion is not the check's.
    """
    try:
        check(*args, **options)
    except AssertionError as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _asserting(f.filename)]
        own = inspect.unwrap(getattr(check, "__func__", check)).__globals__.get("__file__", __file__)
        if frames and frames[-1].filename not in (own, *_kit()):
            raise AssertionError(f"{frames[-1].filename} failed before the check could: {error}") from error
        return str(error)
    except also as error:
        return str(error)
    raise AssertionError(f"{getattr(check, '__qualname__', check)} passes: the planted error is not noticed")


def _asserting(file: str) -> bool:
    """Whether a frame belongs to this project or its tests, not to a library's comparison functions."""
    return "site-packages" not in file and not file.startswith((sys.base_prefix, "<"))


def _kit() -> list[str]:
    return [str(p) for p in Path(__file__).parent.glob("*.py")]


@contextmanager
def _changed_in_place(original: Any, mutations: tuple[Mutation, ...]) -> Iterator[None]:
    outer = _plain_function(original)
    function = inspect.unwrap(outer)
    before, tree = function.__code__, _CHANGED.get(function)
    code, description, changed = _changed_code(function, mutations)
    notify_listeners(f"{_where(function)}: {description}")
    function.__code__, _CHANGED[function] = code, changed
    _forget(outer)
    try:
        yield
    finally:
        function.__code__ = before
        _CHANGED.pop(function)
        if tree is not None:
            _CHANGED[function] = tree
        _forget(outer)


@contextmanager
def _replaced(owner: Any, attribute: str, original: Any, new: Any) -> Iterator[None]:
    if new is original or (
        type(new) is type(original) and isinstance(new, (int, float, str, tuple)) and new == original
    ):
        raise ValueError(f"{attribute} is {new!r} already: nothing is planted")
    owners = [owner]
    if isinstance(owner, types.ModuleType) and isinstance(original, (types.FunctionType, type)):
        root = owner.__name__.split(".")[0]
        others = [m for key, m in list(sys.modules.items()) if key.split(".")[0] == root and m is not owner]
        owners += [m for m in others if getattr(m, "__dict__", {}).get(attribute) is original]
    notify_listeners(
        f"{getattr(owner, '__name__', type(owner).__name__)}.{attribute}: {_short(original)}  ->  {_short(new)}"
    )
    own = [attribute in vars(o) for o in owners]
    for o in owners:
        setattr(o, attribute, new)
    try:
        yield
    finally:
        for o, had in zip(owners, own, strict=True):
            if had:
                setattr(o, attribute, original)
            else:
                delattr(o, attribute)


def _changed_code(
    function: types.FunctionType, mutations: tuple[Mutation, ...]
) -> tuple[types.CodeType, str, ast.FunctionDef]:
    tree = copy.deepcopy(_CHANGED[function]) if function in _CHANGED else _tree(function)
    for node in ast.walk(tree):
        node._is_module = (  # type: ignore[attr-defined]
            isinstance(node, ast.Name) and isinstance(function.__globals__.get(node.id), types.ModuleType)
        )
    description = "; ".join([m.apply(tree) for m in mutations])
    return _compiled(function, tree), " ".join(description.split()), tree


def _tree(function: types.FunctionType) -> ast.FunctionDef:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        made = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise ValueError(f"{_where(function)} has no source of its own: plant a replacement instead") from error
    if not isinstance(made, ast.FunctionDef):
        raise ValueError(f"{_where(function)} is not a function with a name: plant a replacement instead")
    ast.increment_lineno(made, function.__code__.co_firstlineno - 1)
    return made


def _compiled(function: types.FunctionType, tree: ast.FunctionDef) -> types.CodeType:
    """The function's code from a changed tree, with the same free variables in the same order."""
    inner = copy.deepcopy(tree)
    inner.decorator_list, inner.returns = [], None
    for arg in [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs, inner.args.vararg, inner.args.kwarg]:
        if arg is not None:
            arg.annotation = None
    free = function.__code__.co_freevars
    keep = ast.parse("if 0:\n    " + (", ".join(free) or "pass")).body[0]
    inner.body.append(keep)  # a free variable that the mutation removes keeps its cell
    owner = function.__qualname__.rsplit(".", 2)
    body: list[ast.stmt] = [inner]
    if len(owner) > 1 and owner[-2] != "<locals>":  # names with two underscores are mangled by the class
        original = ast.parse(f"class {owner[-2]}: pass").body[0]
        original.body = body  # type: ignore[attr-defined]
        body = [original] if owner[-2] in free else [ast.Global([owner[-2]]), original]
    around = ast.parse(f"def around({', '.join(free)}):\n    pass").body[0]
    around.body = body  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    flags = function.__code__.co_flags & 0x1000000  # from __future__ import annotations
    code = compile(module, function.__code__.co_filename, "exec", flags, dont_inherit=True)
    found = _inside(code, function.__name__, around is not None)
    if found.co_freevars != free:
        raise ValueError(f"{_where(function)}: the mutation changes the free variables {free} to {found.co_freevars}")
    return found.replace(co_qualname=function.__code__.co_qualname) if hasattr(found, "co_qualname") else found


def _inside(code: types.CodeType, matches: str, first: bool) -> types.CodeType:
    for piece in code.co_consts:
        if isinstance(piece, types.CodeType):
            if piece.co_name == matches and not (first and matches == "around"):
                return piece
            try:
                return _inside(piece, matches, False)
            except LookupError:
                continue
    raise LookupError(matches)


def _plain_function(original: Any) -> Any:
    if isinstance(original, (staticmethod, classmethod)):
        original = original.__func__
    if isinstance(original, property):
        original = original.fget
    if isinstance(original, functools.cached_property):
        original = original.func
    if isinstance(original, types.MethodType):
        original = original.__func__
    if not isinstance(inspect.unwrap(original) if callable(original) else original, types.FunctionType):
        raise ValueError(f"{original!r} is not a function of Python source: plant a replacement instead")
    return original


def _forget(function: Any) -> None:
    """Clear the caches of functools between the attribute and the function."""
    while function is not None:
        if hasattr(function, "cache_clear"):
            function.cache_clear()
        function = getattr(function, "__wrapped__", None)


# --- small parts -----------------------------------------------------------------------------------------------------


def _annotate(tree: ast.FunctionDef) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            node.test._is_condition = True  # type: ignore[attr-defined]
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                test._is_condition = True  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call):
            for index, value in enumerate(node.args):
                places = {(_last(node.func), index), (_last(node.func), index - len(node.args))}
                value._argument_of = places  # type: ignore[attr-defined]
            for keyword in node.keywords:
                keyword.value._argument_of = {(_last(node.func), keyword.arg)}  # type: ignore[attr-defined]


def _parts(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that are executed with the function: no annotations and no decorators."""
    return (pair for pair in ast.iter_fields(node) if pair[0] not in ("decorator_list", "returns", "annotation"))


def _code_of(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for _, value in _parts(node):
            waiting += [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)]


def _holds(matches: type[ast.AST]) -> Callable[[ast.AST], bool]:
    """A function node -> whether it has this operator, or is of this type (ast.If, ast.ListComp)."""
    if not issubclass(matches, (ast.operator, ast.unaryop, ast.boolop, ast.cmpop)):
        return lambda node: isinstance(node, matches)

    def holds(node: ast.AST) -> bool:
        if isinstance(node, ast.Compare):
            return any(isinstance(op, matches) for op in node.ops)
        return isinstance(getattr(node, "op", None), matches)

    return holds


def _position(node: Any, target: Target) -> tuple[int, int]:
    """The position of a match: an operator after its left operand, a call or attribute at the end of its name."""
    if isinstance(target, type) and isinstance(node, ast.BinOp):
        return node.left.end_lineno or 0, node.left.end_col_offset or 0
    if isinstance(node, ast.Call):
        return node.func.end_lineno or node.lineno, node.func.end_col_offset or 0
    if isinstance(node, ast.Attribute):
        return node.end_lineno or node.lineno, node.end_col_offset or 0
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _mentions(node: ast.AST, word: str) -> bool:
    return any(
        word in (getattr(n, "id", None), getattr(n, "attr", None), getattr(n, "arg", None))
        or (isinstance(n, ast.Constant) and n.value == word)
        for n in ast.walk(node)
    )


def _operands(node: Any) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BoolOp):
        return node.values
    raise ValueError(f"{ast.unparse(node)} has no two operands")


def _last(function: ast.AST) -> str:
    return getattr(function, "attr", None) or getattr(function, "id", "")


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _value(value: Any) -> ast.expr:
    return _expression(repr(value))


def _named(target: Target) -> str:
    if isinstance(target, type):
        return target.__name__
    cells = [c.cell_contents for c in getattr(target, "__closure__", None) or ()]
    return f"{target.__qualname__.split('.')[0]} {' '.join(map(str, cells))}".strip()


def _where(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"


def _short(value: Any) -> str:
    text = getattr(value, "__qualname__", None) or " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def notify_listeners(text: str) -> None:
    """Inform every listener about an error that is planted now."""
    for listener in LISTENERS:
        listener(text)
