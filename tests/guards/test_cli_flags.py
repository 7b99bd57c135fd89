"""The program's options are pinned in cli_flags.txt, so that none comes, goes or changes unnoticed."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from openmimo.cli import _parser

PINNED = Path(__file__).parent / "cli_flags.txt"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a program's commands, by name."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def lines(program: argparse.ArgumentParser, above: str = "") -> Iterator[str]:
    for name, parser in subcommands(program).items():
        command = f"{above}{name}"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from lines(parser, f"{command} ")
            elif not isinstance(action, argparse._HelpAction):
                names = " ".join(action.option_strings) or action.dest.upper()
                choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
                default = "" if action.default is None or action.default is False else f" = {action.default}"
                yield f"{command} {names}{choices}{default}"


def test_the_options_are_the_pinned_ones():
    now = "\n".join(lines(_parser())) + "\n"
    assert now == PINNED.read_text(encoding="utf-8"), f"if the change is meant, {PINNED.name} must become:\n{now}"
