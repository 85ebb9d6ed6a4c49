"""Plants an error in a sampler's formula: in a method of its class, or in a helper that it uses."""

from contextlib import contextmanager

from ..samplers import _coefficients, _exponential, _moves, _numbers, _paths, _stages, plan, solver
from .mutation import planted

MODULES = (_coefficients, _exponential, _moves, _numbers, _paths, _stages, plan, solver)


@contextmanager
def faulty(cls, where, *errors):
    """Within the block, `where` (a method or attribute of the class, or a function of a helper) contains the errors."""
    owners = [cls, __import__(cls.__module__, fromlist=["_"]), *MODULES]
    owner = next(owner for owner in owners if hasattr(owner, where) and (owner is cls or where in vars(owner)))
    with planted(owner, where, *errors):
        yield cls
