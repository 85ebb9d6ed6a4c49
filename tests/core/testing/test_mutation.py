"""Planted errors: what each mutation makes of a function, that it is undone, and when it is refused."""

import ast
import functools
import inspect
import types

import pytest
from sonolux.core.testing import mutation
from sonolux.core.testing.mutation import (
    argument,
    attribute,
    call,
    caught,
    condition,
    constant,
    drop_call,
    drop_statement,
    mutant,
    mutate,
    negate,
    planted,
    replace,
    rewrite,
    scale,
    set_argument,
    swap,
    swap_arguments,
    swap_attribute,
    swap_call,
    swap_constant,
    swap_name,
    swap_sides,
    take_left,
    take_right,
    variable,
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
    (swap(ast.Add, ast.Sub), (1, 2), 1 - 2 - 3),
    (swap(ast.Sub, ast.Add), (1, 2), 6),
    (swap(ast.Add, ast.Sub, at=1), (5, 2), 4 - 5),  # += comes second
    (swap(ast.Gt, ast.Lt), (1, 2), 2),
    (swap(ast.Gt, ast.Lt, at=-1), (9, 2), 8.5),
    (swap(ast.And, ast.Or), (1, 2), 2),
    (swap_constant(50, -1), (1, 2), -1),
    (swap_constant(0.5, 2.0), (100, 2), 398.0),
    (swap_name("a", "b"), (1, 2), 1),
    (swap_call("max", "min"), (5, 2), 6),
    (swap_sides(ast.Sub), (9, 2), 1),
    (drop_call("min"), (30, 40), 67),
    (drop_call("max", near="key"), (5, -9), -2),
    (set_argument("min", 1, "a"), (1, 9), 1),
    (set_argument("max", "key", "lambda v: -v"), (5, 2), 6),
    (scale(variable("a"), 10), (1, 2), 9),
    (scale(argument("max", 0), 2), (5, 2), 14),
    (replace(argument("min", -1), "a"), (1, 9), 1),
    (negate(condition()), (1, 2), 2),
    (negate(variable("c"), at=0), (1, 2), 6),
    (take_left(ast.Sub), (1, 2), 3),
    (take_right(ast.Add), (1, 2), -1),
    (take_right(ast.And), (1, 2), 2),
    (replace(call("max"), "7 + _"), (5, 2), 16),
    (drop_statement(call("max")), (5, 2), 4),
    (drop_statement(ast.If), (5, 2), 4),
    (rewrite("always b", constant(50), lambda _: ast.Name("b", ast.Load())), (5, 1), 1),
]


@pytest.mark.parametrize(("change", "given", "expected"), CASES)
def test_each_mutation(change, given, expected):
    before = example(*given)
    assert mutate(example, change)(*given) == expected != before
    with planted(inspect.getmodule(example), "example", change):
        assert example(*given) == expected
    assert example(*given) == before


def quotient(a: tuple[int, int], b) -> tuple[int, int]:
    c: list[int] = [a, b]
    return divmod(*(c[0], c[1]))[0]


def split(a, b):
    return divmod(a, b)[0]


def test_two_arguments_change_places():
    assert (split(9, 3), mutate(split, swap_arguments("divmod"))(9, 3)) == (3, 0)


def test_annotations_are_no_code():
    assert mutate(quotient, replace(ast.Tuple, "(9, 2)"))(9, 3) == 4
    assert mutate(quotient, swap_constant(0, 1))(9, 3) == 1


def test_the_order_of_the_source_counts():
    assert mutate(power, swap_attribute("real", "imag"))
    assert mutate(power, swap_constant(2, 3))(2) == 10
    assert mutate(power, drop_call("abs"), swap(ast.Add, ast.Sub))(-2) == 4 + 2
    with planted(inspect.getmodule(power), "power", drop_call("abs")):
        assert power(-2) == 2
        with planted(inspect.getmodule(power), "power", swap(ast.Add, ast.Mult)):
            assert power(-2) == -8, "a second error comes on top of the first"
        assert power(-2) == 2
    assert power(-2) == 6


@pytest.mark.parametrize(
    "change",
    [
        swap(ast.Div, ast.Mult),
        swap(ast.Add, ast.Add),
        swap(ast.Add, ast.Sub, at=2),
        swap_constant(0.25, 1),
        swap_constant(50.0, 1),
        drop_call("absent"),
        swap_name("a", "b", near="absent"),
        replace(attribute("absent"), "0"),
        scale(variable("docstring"), 2),
    ],
)
def test_a_mutation_that_changes_nothing_is_refused(change):
    with pytest.raises(ValueError, match="nothing is planted"):
        mutate(example, change)
    with pytest.raises(ValueError, match="nothing is planted"), planted(inspect.getmodule(example), "example", change):
        pass
    assert example(1, 2) == 0


def test_what_has_no_source_is_refused():
    for owner, word in ((types, "SimpleNamespace"), (Base, "order")):
        with pytest.raises(ValueError, match="plant a replacement"), planted(owner, word, swap(ast.Add, ast.Sub)):
            pass
    with pytest.raises(ValueError, match="already"), planted(Base, "order", 1):
        pass
    with pytest.raises(AttributeError, match="absent"), planted(Base, "absent", 1):
        pass


def test_methods_properties_and_super():
    with planted(Base, "area", swap_constant(2, 3)):
        assert (Base(2).area(), Derived(2).area()) == (6, 16)
    with planted(Derived, "area", swap(ast.Add, ast.Sub)):
        assert (Base(2).area(), Derived(2).area()) == (4, -6)
    with planted(Base, "twice", swap(ast.Add, ast.Mult)), planted(Base, "half", swap_constant(2, 4)):
        assert (Base.twice(3), Base(2).half) == (9, 1)
    with planted(Base, "made", swap_constant(1, 5)), planted(Derived, "third", swap_constant(3, 1)):
        assert (Base.made(1).area(), Derived(2).third) == (12, 14)
    with planted(Base, "other", swap(ast.Sub, ast.Add)):
        assert Base(2).other().area() == 6
    with planted(Base, "order", 2):
        assert Derived.order == 2
    with planted(Derived, "order", 3):
        assert (Base.order, Derived.order) == (1, 3)
    assert (Base(2).area(), Derived(2).area(), Base.twice(3), Base(2).half) == (4, 14, 6, 2)
    assert Derived.order == 1 and "order" not in vars(Derived)


def test_a_mutant_is_a_subclass_of_the_right_one():
    for word, change, was, now in (("area", swap_constant(10, 0), 14, 4), ("half", swap_constant(2, 7), 7, 2)):
        wrong = mutant(Derived, word, change)
        read = (lambda o: o.area()) if word == "area" else (lambda o: o.half)
        assert (read(Derived(2)), read(wrong(2))) == (was, now) and issubclass(wrong, Derived)
        assert wrong.__name__ == "Derived"
    assert mutant(Base, "twice", swap(ast.Add, ast.Sub)).twice(3) == 0
    assert mutant(Base, "area", swap_constant(2, 5), order=4).order == 4


def test_closures_and_defaults_are_kept():
    function = closing(3)
    assert mutate(function, swap(ast.Mult, ast.Add))(1) == 1 + 5 + 1
    assert mutate(function, take_left(ast.Add, at=-1))(1) == 7, "a free variable that is no longer read"
    assert mutate(example, swap(ast.Add, ast.Sub)).__kwdefaults__ == {"c": 3}


def test_caches_are_emptied():
    assert slow(1) == 2
    with planted(inspect.getmodule(power), "slow", swap(ast.Add, ast.Sub)):
        assert slow(1) == 0
    assert slow(1) == 2


def test_a_replaced_function_is_replaced_for_its_importers(monkeypatch):
    here = types.ModuleType("sonolux.made_for_this_test")
    here.mutate = mutation.mutate
    monkeypatch.setitem(__import__("sys").modules, here.__name__, here)
    with planted(mutation, "mutate", lambda f: f):
        assert here.mutate is mutation.mutate is not mutate
    assert here.mutate is mutation.mutate is mutate


def test_every_planted_error_is_announced(monkeypatch):
    heard = []
    monkeypatch.setattr(mutation, "LISTENERS", [heard.append])
    with planted(Base, "area", swap_constant(2, 3)), planted(Base, "order", 5):
        mutate(example, swap(ast.Add, ast.Sub))
    assert [h.split(": ", 1)[1] for h in heard] == ["2 -> 3", "1  ->  5", "a + b -> a - b"]


def strict(x):
    assert x > 0, "x is positive"
    return x


def check_strict(function, x):
    assert function(x) == 5, "five is five"


def test_an_error_counts_as_caught_where_the_check_itself_fails(monkeypatch):
    assert "five is five" in caught(check_strict, strict, 4)
    with pytest.raises(AssertionError, match="check_strict passes"):
        caught(check_strict, strict, 5)
    monkeypatch.setattr(mutation, "_kit", list)
    monkeypatch.setattr(mutation, "_asserting", lambda file: "site-packages" not in file)
    elsewhere = types.FunctionType(compile("assert False, 'inside'", "product.py", "exec"), {})
    with pytest.raises(AssertionError, match=r"product.py failed before the check could: inside"):
        caught(check_strict, lambda x: elsewhere(), 5)
    with pytest.raises(TypeError, match="not supported"):
        caught(check_strict, strict, "a")
    assert "not supported" in caught(check_strict, strict, "a", also=TypeError)
