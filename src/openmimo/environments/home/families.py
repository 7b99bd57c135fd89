"""Read every arrangement of words people use here from the tables of a language: `language/en/families/*.txt`.

A table is lines of text. `# ...` is a comment, `== turn_on` begins an intent (or several that share their lines), any
other line is one family, and an empty line ends a *generation*: families that were written later come in a generation
of their own below the older ones, so that writing them moves no older family between training and evaluation.

In a family, `[a|b]` picks one; `{d}` is the device with its article ("the kitchen light"), `{n}` without ("kitchen
light"), `{v}` a value with its unit, `{a}` an area with its preposition ("in the kitchen"), `{w}` an area alone
("kitchen"), `{s}` a state word, `{c}` a choice such as "on or off", `{q}` the plural of an area request ("lights"). A
leading `?` marks a question.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FAMILIES", "LISTS", "Generations", "read_tables"]

Generations = tuple[tuple[str, ...], ...]
"""The families of one intent, oldest generation first."""

LANGUAGE = "en"


def read_tables(folder: Path) -> dict[str, Generations]:
    """Read all tables of a folder.

    Args:
        folder: holds `.txt` files.
    Returns:
        The families of every intent.
    Raises:
        ValueError: an intent comes twice.
    """
    found: dict[str, Generations] = {}
    for path in sorted(folder.glob("*.txt")):
        for section in path.read_text(encoding="utf-8").split("\n== ")[1:]:
            heading, _, text = section.partition("\n")
            generations = tuple(filter(None, (_lines(block) for block in text.split("\n\n"))))
            for intent in heading.split():
                if intent in found:
                    raise ValueError(f"{path.name}: {intent!r} comes twice: put its families under one heading")
                found[intent] = generations
    return found


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line for line in block.split("\n") if line and not line.startswith("#"))


_FOLDER = Path(__file__).with_name("language") / LANGUAGE

LISTS: dict[str, tuple[str, ...]] = {name: sum(parts, ()) for name, parts in read_tables(_FOLDER / "lists").items()}
"""Words that fill slots or stand before and after a request; they are all known to training."""

FAMILIES: dict[str, Generations] = read_tables(_FOLDER / "families")
"""The families of every intent."""
