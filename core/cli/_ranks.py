"""Commands that run in several processes ("ranks"): starting them, and one voice for all of them."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..training.distributed import Ranks

FAILED, BAD_INPUT, SIGNAL = 1, 2, 128  # exit codes, see `sonolux --help`


@contextmanager
def join(timeout: float) -> Iterator[Ranks]:
    """Join the ranks of this command. Rank 0 prints; a failure is reported by one rank, and ends all of them.

    Args:
        timeout: Seconds after which a rank that does not answer counts as lost.
    """
    from ..training.distributed import RankLost
    from ..training.launched import join_ranks
    from ..util import interrupts
    from ..util.messages import print_lines

    ranks = join_ranks(timeout)
    if ranks.world == 1:
        yield ranks
        return
    interrupts.begin_work()  # a signal has to pass through here
    streams = sys.stdout, sys.stderr
    if not ranks.writes:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # to the end of the process
    try:
        yield ranks
        ranks.leave()
    except BaseException as error:
        interrupts.ignore_signals()  # the launcher sends SIGTERM to the ranks that are left
        sys.stdout, sys.stderr = streams
        first = ranks.is_first_report()
        if ranks.writes if ranks.ends_together else first:
            if not ranks.writes:
                print_lines(f"rank {ranks.rank} of {ranks.world} ends:", err=True)
            raise
        if ranks.ends_together:
            with suppress(RankLost):
                ranks.wait()  # until rank 0 has reported it and ended
        raise click.exceptions.Exit(_exit_code(error)) from error


def _exit_code(error: BaseException) -> int:
    from ..util import interrupts
    from ..util.errors import BadInput

    if isinstance(error, KeyboardInterrupt):
        return SIGNAL + interrupts.received_signal()
    return BAD_INPUT if isinstance(error, BadInput) else FAILED


def process_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that runs in several processes: --nproc and --timeout."""
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(1, 86400),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="Of several processes, one that does not answer for so long is lost, and the others end.",
    )
    count = click.option(
        "--nproc", type=click.IntRange(1, 1024), help="Processes on this machine; they share the work."
    )
    return count(timeout(command))


def repeat_in_processes(context: click.Context) -> None:
    """Run the command again in as many processes as its option --nproc says, and end with their exit code.

    Args:
        context: The command as it was given.

    Raises:
        BadInput: A launcher has started this process already.
    """
    from ..training.launched import is_launched
    from ..util.errors import BadInput

    if is_launched():
        raise BadInput("--nproc starts processes, and torchrun has started some already: leave --nproc out")
    words, arguments = [context.info_name or ""], list[str]()
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if isinstance(parameter, click.Argument):
            arguments += [str(one) for one in (value if parameter.nargs == -1 else [value]) if one is not None]
        elif value is True:
            words.append(parameter.opts[0])
        elif value is not None and value is not False and parameter.name != "nproc":
            words.append(f"{parameter.opts[0]}={value}")
    raise click.exceptions.Exit(launch(context.params["nproc"], [*words, "--", *arguments], context.params["timeout"]))


def launch(count: int, arguments: Sequence[str], timeout: float) -> int:
    """Run a command of sonolux in several processes of this machine, with torch's launcher.

    Args:
        count: Number of processes.
        arguments: Name and arguments of the command.
        timeout: Seconds that the processes have to end after a signal.

    Returns:
        The exit code of the process that ended first without success, or 0.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from ..util.messages import print_lines

    logging.disable()  # of this process, the launcher: the processes that it starts report themselves
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(int(timeout)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", f"{__package__}", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        print_lines(f"rank {rank} of {count} was ended by {failure.signal_name()}", err=True)
        return FAILED
    except SignalException as stop:
        return SIGNAL + stop.sigval
    return 0
