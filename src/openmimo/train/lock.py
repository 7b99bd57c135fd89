"""One trainer for each run folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openmimo.errors import TrainingError

__all__ = ["hold_folder"]


@contextmanager
def hold_folder(folder: Path) -> Iterator[str | None]:
    """Keep other trainers away from a run folder.

    The system drops the lock when its process ends, however it ends; process and host stand in the file for people.

    Args:
        folder: run folder.
    Yields:
        who left the lock behind without finishing, if somebody did.
    Raises:
        TrainingError: another process trains there.
    """
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        file.seek(0)
        holder = file.read().strip()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"{folder} is in use by {holder or 'another process'}: end that one, or choose another folder"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield holder or None
        finally:
            file.truncate(0)
