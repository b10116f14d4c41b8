"""`completion`: completion of commands and options by the Tab key, for a shell."""

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "completion",
        help="print what a shell needs to complete commands by the Tab key",
        description="Print the lines that make a shell complete commands, options, kinds and file names: "
        'put eval "$(attnkit completion bash)" into ~/.bashrc (zsh: ~/.zshrc), for fish write them to '
        "~/.config/fish/completions/attnkit.fish. Needs the package argcomplete (attnkit[completion]).",
        epilog="example: attnkit completion bash",
    )
    command.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join(SHELLS))
    command.add_argument("--json", action="store_true", help="print a JSON string")
    command.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> int:
    """Print the code for a shell."""
    import json

    from attnkit.errors import ConfigError

    try:
        import argcomplete
    except ModuleNotFoundError:
        raise ConfigError("completion: needs the package argcomplete; install attnkit[completion]") from None
    code = argcomplete.shellcode(["attnkit"], shell=arguments.shell)
    print(json.dumps(code) if arguments.json else code)
    return 0
