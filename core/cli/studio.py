"""Serve a local page for sampling, editing and watching runs, with REST underneath."""

from __future__ import annotations

import platform
import secrets
import webbrowser
from pathlib import Path
from typing import Any

import click

from ._paths import PathArgument


@click.command("studio")
@click.argument("runs", nargs=-1, type=PathArgument(), metavar="[RUN|CHECKPOINT|MODEL]...")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; others than this machine need a token.")
@click.option(
    "--out", type=PathArgument(), default=Path("studio"), show_default=True, help="Folder of the jobs and their files."
)
@click.option("--data", type=PathArgument(), multiple=True, help="Folder of examples to look at; can be repeated.")
@click.option("--token", help="What a client must show; made by itself for other addresses.")
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
def command(
    runs: tuple[Path, ...],
    port: int,
    host: str,
    out: Path,
    data: tuple[Path, ...],
    token: str | None,
    no_browser: bool,
) -> None:
    """Serve RUNs, checkpoints and packaged models on a local page; without names, all packaged models.

    The page and its REST interface are for this machine only, unless --host names another address.

    \b
    sonolux studio
    sonolux studio runs/shapes text_sfx --data prepared/shapes --out studio
    """
    from ..util.errors import BadInput
    from ..util.messages import print_lines

    try:
        import python_multipart  # noqa: F401
        import uvicorn

        from ..app.server import create_server
    except ImportError as error:
        raise BadInput(f"the studio needs the package {error.name}: python -m pip install 'sonolux[studio]'") from None
    from ..app.security import LOCAL_HOSTS
    from ..app.studio import Studio

    every = host in ("0.0.0.0", "::")  # all addresses of this machine, whose names are not known
    local = host in ("127.0.0.1", "localhost", "::1")
    token = token or (None if local else secrets.token_urlsafe(16))
    studio = Studio.open(out, runs, data)
    with studio.reserve():
        names = LOCAL_HOSTS if local else (*LOCAL_HOSTS, f"[{host}]" if ":" in host else host)
        server = create_server(studio, None if every else names, token)
        config = uvicorn.Config(
            server, host, port, log_level="warning", timeout_graceful_shutdown=2, server_header=False, ws="none"
        )
        listener = _bound(config)
        shown = platform.node() if every else f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
        print_lines(f"studio: {url}", f"files:  {studio.folder}", "Ctrl-C ends it")
        if not no_browser and local:
            webbrowser.open(url)
        uvicorn.Server(config).run(sockets=[listener])


def _bound(config: Any) -> Any:
    """The socket of the server; raises BadInput if the address cannot be used."""
    import socket

    from ..util.errors import BadInput

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(config.backlog)  # from now on a page waits instead of being refused
    except OSError as error:
        listener.close()
        raise BadInput(
            f"{config.host}:{config.port} cannot be used ({error.strerror or error}): name another --port"
        ) from None
    return listener
