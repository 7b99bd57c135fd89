"""Short messages that people send from a car."""

from __future__ import annotations

import random
import re

from openmimo.environments.home.words import PEOPLE

__all__ = ["sample_message"]

_PATTERNS = """
i am {n} minutes late
i'm on my way
i am on my way [home|to you|to the office]
i will be [home|there] [in {n} minutes|at {h}|soon]
[dinner|lunch|breakfast] is [at {h}|ready]
please buy [milk|bread|eggs|apples|coffee|water]
we need [milk|bread|eggs|apples|coffee|water]
the [meeting|train|party|film] starts at {h}
the [meeting|train|party|film] is [late|at {h}|over]
i am at the [station|airport|office|supermarket|gym]
i will pick [you|{p}|the children] up at {h}
can you [call me|wait for me|pick me up|open the door|feed the cat]
{p} is [here|with me|on the way|late]
there is [traffic|snow|ice] on the road
i [have|need] [the keys|the tickets|your bag|more time]
[happy birthday|good night|good luck|see you soon|thank you|call me back]
the car is [charging|ready|at the office|at home]
i love you
the keys are [in the car|at home|with {p}|on the table]
"""
_LINES = [line for line in _PATTERNS.splitlines() if line]


def sample_message(rng: random.Random) -> str:
    """Write a message.

    Args:
        rng: source of randomness.
    Returns:
        Lower-case text without a full stop.
    """
    text = re.sub(r"\[([^\]]*)\]", lambda match: rng.choice(match[1].split("|")), rng.choice(_LINES))
    return text.format(n=5 * rng.randint(1, 9), h=rng.randint(1, 12), p=rng.choice(PEOPLE))
