"""Plants an error in a sampler's formula: in a method of its class, or in a helper that it uses."""

from contextlib import contextmanager

from ..samplers import _coefficients, _exponential, _noise_keys, _numbers, _shared_steps, _stages, plan, solver
from .mutation import planted_error

MODULES = (_coefficients, _exponential, _shared_steps, _numbers, _noise_keys, _stages, plan, solver)


@contextmanager
def faulty_sampler(cls, where, *errors):
    """Within the block, `where` (a method or attribute of the class, or a function of a helper) contains the errors."""
    owners = [cls, __import__(cls.__module__, fromlist=["_"]), *MODULES]
    owner = next(owner for owner in owners if hasattr(owner, where) and (owner is cls or where in vars(owner)))
    with planted_error(owner, where, *errors):
        yield cls
