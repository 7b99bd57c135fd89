"""Replies in progress, so that a server that goes down can end them."""

from typing import Protocol

from openmimo.errors import OpenMiMoError

__all__ = ["Closable", "Lifetime", "ServerEndingError"]


class ServerEndingError(OpenMiMoError):
    """The reply was cancelled because the server is going down."""

    def __init__(self):
        super().__init__("the server is shutting down; send the request again later")


class Closable(Protocol):
    """Something that ends soon after `close`, which may be called more than once."""

    def close(self) -> None:
        """End it."""
        ...


class Lifetime:
    """From the server's start to its end; used on the event loop only.

    Attributes:
        is_ending: the server is going down; streams without an end of their own stop by themselves.
    """

    def __init__(self):
        self.is_ending = False
        self._held: set[Closable] = set()

    def hold(self, reply: Closable) -> None:
        """Remember a reply that has begun."""
        self._held.add(reply)

    def release(self, reply: Closable) -> None:
        """Forget a reply, ended or not; one that has not ended is cancelled."""
        self._held.discard(reply)
        reply.close()

    def cancel_replies(self) -> None:
        """Cancel every reply that still runs; its client is told."""
        for reply in self._held:
            reply.close()
