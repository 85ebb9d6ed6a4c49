"""Print the script with which a shell completes commands, recipes, models, runs and keys."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL; the file that the shell reads at its start runs it.

    \b
    echo 'eval "$(sonolux completion bash)"' >> ~/.bashrc
    echo 'eval "$(sonolux completion zsh)"' >> ~/.zshrc
    sonolux completion fish > ~/.config/fish/completions/sonolux.fish
    """
    from click.shell_completion import get_completion_class

    from ..util.messages import print_lines
    from .main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click has no completion for {shell}")
    print_lines(
        *_without_space(shell, found(cli, {}, "sonolux", "_SONOLUX_COMPLETE").source()).rstrip("\n").split("\n")
    )


def _without_space(shell: str, script: str) -> str:
    """The script, changed so that no space follows a completed `KEY=`; fish does so by itself."""
    if shell == "bash":
        return script.replace("COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace")
    if shell == "zsh":
        keys = '[[ "$completions[1]" == *= ]] && compadd -S "" -U -V unsorted -a completions'
        return script.replace(
            "compadd -U -V unsorted -a completions", f"{keys} || compadd -U -V unsorted -a completions"
        )
    return script
