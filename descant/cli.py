"""The command line: `descant COMMAND`, each command a dataclass that says how it is asked for."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from descant.errors import DescantError
from descant.registry import commands, summary

FINE, NO, BAD_INPUT = 0, 1, 2
"""Exit codes: fine; the answer is no (a rule broken, a bar missed); bad input."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = dispatch(arguments)
        sys.stdout.flush()  # where the reader has gone, it shows here and not at exit
        return code
    except DescantError as error:
        print(f"descant {arguments[0]}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # Whoever read our output has gone: say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def dispatch(arguments: Sequence[str]) -> int:
    """Say what there is, or run the command that comes first."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return FINE
    if arguments[0] in ("-V", "--version"):
        from descant.version import __version__

        print(f"descant {__version__}")
        return FINE
    return run(arguments[0], arguments[1:])


def run(name: str, arguments: Sequence[str]) -> int:
    """Parse one command's arguments and run it."""
    import tyro

    command = commands.get(name)
    shape: Any = command.parser(arguments) if hasattr(command, "parser") else command
    told = inspect.getdoc(shape if isinstance(shape, type) else command)
    program, complaint = f"descant {name}", io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(shape, args=together(arguments, "--set"), prog=program, description=told)
    except SystemExit as leaving:
        if not leaving.code:
            return FINE  # --help
        raise DescantError(f"{one_line(complaint.getvalue())}. See: {program} --help") from None
    code: int = parsed.run()
    return code


def together(arguments: Sequence[str], option: str) -> list[str]:
    """Arguments with all values of an option given several times in one place: else only the last would count."""
    rest: list[str] = []
    values: list[str] = []
    place, inside = None, False
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == option:
            inside, place = True, len(rest) if place is None else place
            values += [value] if value else []
        elif inside and not argument.startswith("--"):
            values.append(argument)
        else:
            inside = False
            rest.append(argument)
    return rest if place is None else [*rest[:place], option, *values, *rest[place:]]


def one_line(complaint: str) -> str:
    """What tyro has against some arguments, without its box, title and help."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", complaint)
    rows = [row.strip("│╭╮╰╯ ") for row in plain.splitlines()]
    words = [row for row in rows[1:] if row.strip("-─")]
    ends = (i for i, row in enumerate(words) if row.startswith(("Argument helptext", "For full helptext")))
    return " ".join(words[: next(ends, len(words))]).rstrip(".")


def overview() -> str:
    """What `descant --help` says."""
    lines = [
        "descant: reinforcement learning for sequence generation.",
        "",
        "usage: descant COMMAND [OPTIONS]",
        "",
    ]
    lines += [f"  {name:<10} {summary(commands, name)}" for name in commands.names()]
    lines += [
        "",
        "descant COMMAND --help says more of each, with an example.",
        "Exit codes: 0 fine, 1 the answer is no (a rule broken, a bar missed), 2 bad input.",
    ]
    return "\n".join(lines)
