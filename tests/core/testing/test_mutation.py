"""Planted errors: what each mutation makes of a function, that it is undone, and when it is refused."""

import ast
import functools
import inspect
import types

import pytest
from sonolux.core.testing import mutation
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    attribute_target,
    call_target,
    caught,
    condition_target,
    constant_target,
    drop_call,
    drop_statement,
    keep_left_operand,
    keep_right_operand,
    listeners,
    mutated_class,
    mutated_function,
    negate_expression,
    planted_error,
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
    variable_target,
)


def example(a, b=2, *, c=3):
    """a + b in the docstring is no code."""
    total = a + b - c
    if a > b and c != 0:
        total += max(a, b, key=abs)
    return total * 0.5 if total > 100 else min(total, 50)


def power(x):
    y = abs(x)
    return y**2 + types.SimpleNamespace(real=y).real


class Base:
    order = 1

    def __init__(self, size=1):
        self.__size = size

    def area(self):
        return self.__size * 2

    @staticmethod
    def twice(x):
        return x + x

    @classmethod
    def made(cls, size):
        return cls(size + 1)

    @property
    def half(self):
        return self.area() / 2

    @functools.cached_property
    def third(self):
        return self.area() / 3

    def other(self):
        return Base(self.__size - 1)


class Derived(Base):
    def area(self):
        return super().area() + 10


def closing(step):
    unused = 1

    def inner(x, times=2):
        return x + step * times + unused

    return inner


@functools.lru_cache
def slow(x):
    return x + 1


CASES = [
    (swap_operator(ast.Add, ast.Sub), (1, 2), 1 - 2 - 3),
    (swap_operator(ast.Sub, ast.Add), (1, 2), 6),
    (swap_operator(ast.Add, ast.Sub, at=1), (5, 2), 4 - 5),  # += comes second
    (swap_operator(ast.Gt, ast.Lt), (1, 2), 2),
    (swap_operator(ast.Gt, ast.Lt, at=-1), (9, 2), 8.5),
    (swap_operator(ast.And, ast.Or), (1, 2), 2),
    (swap_constant(50, -1), (1, 2), -1),
    (swap_constant(0.5, 2.0), (100, 2), 398.0),
    (swap_name("a", "b"), (1, 2), 1),
    (swap_call("max", "min"), (5, 2), 6),
    (swap_operands(ast.Sub), (9, 2), 1),
    (drop_call("min"), (30, 40), 67),
    (drop_call("max", near="key"), (5, -9), -2),
    (set_argument("min", 1, "a"), (1, 9), 1),
    (set_argument("max", "key", "lambda v: -v"), (5, 2), 6),
    (scale_expression(variable_target("a"), 10), (1, 2), 9),
    (scale_expression(argument_target("max", 0), 2), (5, 2), 14),
    (replace_expression(argument_target("min", -1), "a"), (1, 9), 1),
    (negate_expression(condition_target()), (1, 2), 2),
    (negate_expression(variable_target("c"), at=0), (1, 2), 6),
    (keep_left_operand(ast.Sub), (1, 2), 3),
    (keep_right_operand(ast.Add), (1, 2), -1),
    (keep_right_operand(ast.And), (1, 2), 2),
    (replace_expression(call_target("max"), "7 + _"), (5, 2), 16),
    (drop_statement(call_target("max")), (5, 2), 4),
    (drop_statement(ast.If), (5, 2), 4),
    (rewrite_node("always b", constant_target(50), lambda _: ast.Name("b", ast.Load())), (5, 1), 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "given", "expected"), CASES)
def test_each_mutation(change, given, expected):
    before = example(*given)
    assert mutated_function(example, change)(*given) == expected != before
    with planted_error(inspect.getmodule(example), "example", change):
        assert example(*given) == expected
    assert example(*given) == before


def quotient(a: tuple[int, int], b) -> tuple[int, int]:
    c: list[int] = [a, b]
    return divmod(*(c[0], c[1]))[0]


def split(a, b):
    return divmod(a, b)[0]


def test_two_arguments_change_places():
    assert (split(9, 3), mutated_function(split, swap_arguments("divmod"))(9, 3)) == (3, 0)


def test_annotations_are_no_code():
    assert mutated_function(quotient, replace_expression(ast.Tuple, "(9, 2)"))(9, 3) == 4
    assert mutated_function(quotient, swap_constant(0, 1))(9, 3) == 1


def test_the_order_of_the_source_counts():
    assert mutated_function(power, swap_attribute("real", "imag"))
    assert mutated_function(power, swap_constant(2, 3))(2) == 10
    assert mutated_function(power, drop_call("abs"), swap_operator(ast.Add, ast.Sub))(-2) == 4 + 2
    with planted_error(inspect.getmodule(power), "power", drop_call("abs")):
        assert power(-2) == 2
        with planted_error(inspect.getmodule(power), "power", swap_operator(ast.Add, ast.Mult)):
            assert power(-2) == -8, "a second error comes on top of the first"
        assert power(-2) == 2
    assert power(-2) == 6


@pytest.mark.parametrize(
    "change",
    [
        swap_operator(ast.Div, ast.Mult),
        swap_operator(ast.Add, ast.Add),
        swap_operator(ast.Add, ast.Sub, at=2),
        swap_constant(0.25, 1),
        swap_constant(50.0, 1),
        drop_call("absent"),
        swap_name("a", "b", near="absent"),
        replace_expression(attribute_target("absent"), "0"),
        scale_expression(variable_target("docstring"), 2),
    ],
)
def test_a_mutation_that_changes_nothing_is_refused(change):
    with pytest.raises(ValueError, match="nothing is planted"):
        mutated_function(example, change)
    with (
        pytest.raises(ValueError, match="nothing is planted"),
        planted_error(inspect.getmodule(example), "example", change),
    ):
        pass
    assert example(1, 2) == 0


def test_what_has_no_source_is_refused():
    for owner, word in ((types, "SimpleNamespace"), (Base, "order")):
        with (
            pytest.raises(ValueError, match="plant a replacement"),
            planted_error(owner, word, swap_operator(ast.Add, ast.Sub)),
        ):
            pass
    with pytest.raises(ValueError, match="already"), planted_error(Base, "order", 1):
        pass
    with pytest.raises(AttributeError, match="absent"), planted_error(Base, "absent", 1):
        pass


def test_methods_properties_and_super():
    with planted_error(Base, "area", swap_constant(2, 3)):
        assert (Base(2).area(), Derived(2).area()) == (6, 16)
    with planted_error(Derived, "area", swap_operator(ast.Add, ast.Sub)):
        assert (Base(2).area(), Derived(2).area()) == (4, -6)
    with (
        planted_error(Base, "twice", swap_operator(ast.Add, ast.Mult)),
        planted_error(Base, "half", swap_constant(2, 4)),
    ):
        assert (Base.twice(3), Base(2).half) == (9, 1)
    with planted_error(Base, "made", swap_constant(1, 5)), planted_error(Derived, "third", swap_constant(3, 1)):
        assert (Base.made(1).area(), Derived(2).third) == (12, 14)
    with planted_error(Base, "other", swap_operator(ast.Sub, ast.Add)):
        assert Base(2).other().area() == 6
    with planted_error(Base, "order", 2):
        assert Derived.order == 2
    with planted_error(Derived, "order", 3):
        assert (Base.order, Derived.order) == (1, 3)
    assert (Base(2).area(), Derived(2).area(), Base.twice(3), Base(2).half) == (4, 14, 6, 2)
    assert Derived.order == 1 and "order" not in vars(Derived)


def test_a_mutant_is_a_subclass_of_the_right_one():
    for word, change, was, now in (("area", swap_constant(10, 0), 14, 4), ("half", swap_constant(2, 7), 7, 2)):
        wrong = mutated_class(Derived, word, change)
        read = (lambda o: o.area()) if word == "area" else (lambda o: o.half)
        assert (read(Derived(2)), read(wrong(2))) == (was, now) and issubclass(wrong, Derived)
        assert wrong.__name__ == "Derived"
    assert mutated_class(Base, "twice", swap_operator(ast.Add, ast.Sub)).twice(3) == 0
    assert mutated_class(Base, "area", swap_constant(2, 5), order=4).order == 4


def test_closures_and_defaults_are_kept():
    function = closing(3)
    assert mutated_function(function, swap_operator(ast.Mult, ast.Add))(1) == 1 + 5 + 1
    assert mutated_function(function, keep_left_operand(ast.Add, at=-1))(1) == 7, (
        "a free variable that is no longer read"
    )
    assert mutated_function(example, swap_operator(ast.Add, ast.Sub)).__kwdefaults__ == {"c": 3}


def test_caches_are_emptied():
    assert slow(1) == 2
    with planted_error(inspect.getmodule(power), "slow", swap_operator(ast.Add, ast.Sub)):
        assert slow(1) == 0
    assert slow(1) == 2


def test_a_replaced_function_is_replaced_for_its_importers(monkeypatch):
    here = types.ModuleType("sonolux.made_for_this_test")
    here.mutated_function = mutation.mutated_function
    monkeypatch.setitem(__import__("sys").modules, here.__name__, here)
    with planted_error(mutation, "mutated_function", lambda f: f):
        assert here.mutated_function is mutation.mutated_function is not mutated_function
    assert here.mutated_function is mutation.mutated_function is mutated_function


def test_every_planted_error_is_announced(monkeypatch):
    heard = []
    monkeypatch.setattr(listeners, "LISTENERS", [heard.append])
    with planted_error(Base, "area", swap_constant(2, 3)), planted_error(Base, "order", 5):
        mutated_function(example, swap_operator(ast.Add, ast.Sub))
    assert [h.split(": ", 1)[1] for h in heard] == ["2 -> 3", "1  ->  5", "a + b -> a - b"]


def strict(x):
    assert x > 0, "x is positive"
    return x


def check_strict(function, x):
    assert function(x) == 5, "five is five"


def test_an_error_counts_as_caught_where_the_check_itself_fails(monkeypatch):
    assert "five is five" in assert_caught(check_strict, strict, 4)
    with pytest.raises(AssertionError, match="check_strict passes"):
        assert_caught(check_strict, strict, 5)
    monkeypatch.setattr(caught, "_kit", list)
    monkeypatch.setattr(caught, "_asserting", lambda file: "site-packages" not in file)
    elsewhere = types.FunctionType(compile("assert False, 'inside'", "product.py", "exec"), {})
    with pytest.raises(AssertionError, match=r"product.py failed before the check could: inside"):
        assert_caught(check_strict, lambda x: elsewhere(), 5)
    with pytest.raises(TypeError, match="not supported"):
        assert_caught(check_strict, strict, "a")
    assert "not supported" in assert_caught(check_strict, strict, "a", also=TypeError)
