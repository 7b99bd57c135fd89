"""Who owns which page and which window-cache slot. Plain integers; the memory itself belongs to the back end."""

from collections.abc import Sequence

from openmimo.errors import OpenMiMoError

__all__ = ["Cache"]


class Cache:
    """Free lists of pages and slots, and who owns the rest.

    Args:
        num_slots: window-cache slots of the back end.
        num_pages: pages of the back end.
        page_size: positions in a page.
    """

    def __init__(self, num_slots: int, num_pages: int, page_size: int):
        self.num_slots = num_slots
        self.num_pages = num_pages
        self.page_size = page_size
        self._free_slots = list(range(num_slots - 1, -1, -1))
        self._free_pages = list(range(num_pages - 1, -1, -1))
        self._owned: dict[int, list[int]] = {}

    @property
    def max_positions(self) -> int:
        """Longest sequence that fits when nothing else runs."""
        return self.num_pages * self.page_size

    @property
    def num_free_slots(self) -> int:
        """Slots that nobody owns."""
        return len(self._free_slots)

    def pages_for(self, num_positions: int) -> int:
        """Pages that hold this many positions."""
        return -(-num_positions // self.page_size)

    def has_room(self, num_positions: int, spare: int = 0) -> bool:
        """Whether `reserve` would succeed now.

        Args:
            num_positions: length of the sequence.
            spare: pages that must be free even then.
        Returns: whether it would.
        """
        return bool(self._free_slots) and self.pages_for(num_positions) + spare <= len(self._free_pages)

    def reserve(self, num_positions: int) -> tuple[int, list[int]]:
        """Take a slot and enough pages.

        Args:
            num_positions: length of the sequence.
        Returns: the slot, and the pages in order of position.
        """
        assert self.has_room(num_positions)
        slot = self._free_slots.pop()
        pages = [self._free_pages.pop() for _ in range(self.pages_for(num_positions))]
        self._owned[slot] = pages
        return slot, pages

    def extend(self, slot: int, num_positions: int, spare: int = 0) -> list[int] | None:
        """Take more pages for a slot.

        Args:
            slot: an owned one.
            num_positions: length that the sequence has now.
            spare: pages that must be free even then.
        Returns: all of its pages in order of position, or None if there are not enough; then nothing was taken.
        """
        pages = self._owned[slot]
        num_missing = max(0, self.pages_for(num_positions) - len(pages))
        if num_missing + spare > len(self._free_pages):
            return None
        pages.extend(self._free_pages.pop() for _ in range(num_missing))
        return pages

    def release(self, slot: int) -> None:
        """Give a slot and its pages back."""
        self._free_pages.extend(reversed(self._owned.pop(slot)))
        self._free_slots.append(slot)

    def check_integrity(self) -> None:
        """Check that every page and every slot is either free or owned exactly once.

        Raises:
            OpenMiMoError: the counts do not add up; the message has them.
        """
        owned = [page for pages in self._owned.values() for page in pages]
        _check("pages", self._free_pages, owned, self.num_pages)
        _check("slots", self._free_slots, list(self._owned), self.num_slots)

    def check_idle(self, kept: Sequence[int] = ()) -> None:
        """Check integrity, and that nothing is owned but what was kept on purpose.

        Args:
            kept: slots of finished requests that keep what they have.
        Raises:
            OpenMiMoError: as `check_integrity`, or something else is owned.
        """
        self.check_integrity()
        if sorted(self._owned) != sorted(kept):
            raise OpenMiMoError(
                f"the engine is idle but slots {sorted(self._owned)} are owned, {sorted(kept)} of them on purpose"
            )


def _check(what: str, free: list[int], owned: list[int], total: int) -> None:
    if sorted(free + owned) != list(range(total)):
        twice = sorted({item for item in free + owned if (free + owned).count(item) > 1})
        raise OpenMiMoError(
            f"{what} do not add up: {len(free)} free + {len(owned)} owned, {total} in all, counted twice: {twice}"
        )
