"""What asks for nothing: a greeting, thanks, or the question what there is to ask for."""

from __future__ import annotations

from openmimo.environments.home.answers import courtesy_answer
from openmimo.environments.home.kinds.base import Draft, Scene

__all__ = ["courtesy"]


def courtesy(scene: Scene) -> Draft:
    """Say hello, give thanks, ask for help."""
    intent = scene.rng.choice(("hello", "thanks", "help"))
    return scene.phrase(intent, {}, rows=[], answer=courtesy_answer(intent))
