"""Phrasings of an environment from its own tables, said in the manner of the home's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from openmimo.environments.base import Split
from openmimo.environments.home.families import read_tables
from openmimo.environments.home.grammar import Family, say, split_tables

__all__ = ["Language"]


class Language:
    """The families of phrasings of one environment, a fifth of each intent held out by hash."""

    def __init__(self, folder: Path):
        self._families = split_tables(read_tables(folder))

    @property
    def intents(self) -> tuple[str, ...]:
        """All intents."""
        return tuple(self._families)

    def families(self, intent: str, split: Split) -> list[Family]:
        """List the families of one intent in one split.

        Args:
            intent: one of `intents`.
            split: "train", or "eval" for the held-out ones.
        Returns:
            The families, in a fixed order.
        """
        return self._families[intent][split]

    def phrase(self, rng: random.Random, intent: str, split: Split, slots: Mapping[str, str]) -> tuple[Family, str]:
        """Write a request.

        Args:
            rng: source of randomness.
            intent: what it asks for.
            split: of the phrasings.
            slots: text for every slot.
        Returns:
            The family and the text.
        """
        family = rng.choice(self._families[intent][split])
        return family, say(rng, family, slots)
