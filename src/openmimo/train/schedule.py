"""Settings that change during a run: constants, steps from one constant to the next, and the learning rate's shape."""

from dataclasses import dataclass

__all__ = ["Piecewise", "Scheduled", "value_at"]


@dataclass(frozen=True)
class Piecewise:
    """A setting that jumps at given points of the run.

    Attributes:
        points: (share of the run done, value from there on), in order; the first share is 0.
    """

    points: tuple[tuple[float, float], ...]


Scheduled = float | Piecewise
"""A number, or one that changes during the run."""


def value_at(setting: Scheduled, progress: float) -> float:
    """Give a setting's value at a point of the run.

    Args:
        setting: constant or scheduled.
        progress: 0 at the first step, 1 after the last.
    Returns:
        its value; Piecewise(((0, 0.3), (0.8, 0.1))) is 0.3 at 0.79 and 0.1 at 0.8.
    """
    if not isinstance(setting, Piecewise):
        return setting
    return [value for start, value in setting.points if start <= progress][-1]
