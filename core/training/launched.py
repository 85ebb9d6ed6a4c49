"""Joins the ranks that a launcher has started: torchrun, or another one that sets its variables."""

from __future__ import annotations

import os
from datetime import timedelta

import torch.distributed as dist

from ..types import BadInput
from .distributed import TIMEOUT, JoinedRanks, RankLost, Ranks, first_words

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def join_ranks(timeout: float = TIMEOUT) -> Ranks:
    """Join the ranks that torchrun, or another launcher that sets its variables, has started.

    Args:
        timeout: Seconds after which a rank that does not answer counts as lost.

    Returns:
        The ranks; without a launcher, or if it started one process, this process alone.

    Raises:
        BadInput: This installation of torch cannot communicate.
        RankLost: Not all ranks have started in time.
    """
    if not is_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return Ranks()
    if not dist.is_available() or not dist.is_gloo_available():
        raise BadInput("this installation of torch has no gloo, so that processes cannot work together: start one")
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=timeout)))
    except RuntimeError as error:
        raise RankLost(
            f"not all processes of this run have started within {timeout:g} s ({first_words(error)})"
        ) from error
    # A launcher that restarts the processes may keep its store, with the addresses of those that ended.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return JoinedRanks(PrefixStore(f"attempt_{attempt}", store), rank, world, timeout)


def is_launched() -> bool:
    """Whether a launcher has started this process: the variables of torchrun are set."""
    return all(name in os.environ for name in _VARIABLES)
