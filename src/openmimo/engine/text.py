"""Turns generated tokens into text that can be shown at once: whole characters, and never part of a stop string."""

from openmimo.errors import RequestError
from openmimo.tokenizer import Tokenizer

__all__ = ["StopFilter", "TextStream"]


class StopFilter:
    """Passes text on up to the stop string that is complete first, holding back what might become one.

    Args:
        stop: the stop strings; none passes everything on.
    """

    def __init__(self, stop: tuple[str, ...]):
        self.stop = stop
        self.is_stopped = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Add text.

        Args:
            text: what comes next.
        Returns: what can be shown now; nothing after a stop string was seen.
        """
        if not self.stop:
            return text
        if self.is_stopped:
            return ""
        text = self._held + text
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)[1]]
        hold = self._open_length(text)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def finish(self) -> str:
        """Return the text held back: no more comes, so it was no stop string."""
        held, self._held = self._held, ""
        return held

    def _open_length(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self.stop)) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stop):
                return length
        return 0


class TextStream:
    """Text of one request.

    Args:
        tokenizer: None gives empty text.
        stop: stop strings.
    """

    def __init__(self, tokenizer: Tokenizer | None, stop: tuple[str, ...]):
        self._tokens = tokenizer.stream() if tokenizer is not None else None
        self._filter = StopFilter(stop)

    @property
    def is_stopped(self) -> bool:
        """A stop string was seen."""
        return self._filter.is_stopped

    def push(self, token_id: int) -> str:
        """Add a token.

        Args:
            token_id: the next token of the text.
        Returns: text that can be shown now.
        """
        if self._tokens is None:
            return ""
        try:
            return self._filter.feed(self._tokens.push(token_id))
        except RequestError:  # a row of the embedding that the vocabulary leaves unused
            return ""

    def finish(self) -> str:
        """Return what was held back: incomplete characters (as U+FFFD) and the beginnings of stop strings."""
        if self._tokens is None:
            return ""
        return self._filter.feed(self._tokens.flush()) + self._filter.finish()
