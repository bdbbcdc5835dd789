"""A standard output that several processes share: every line stays in one piece."""

import io
import os
import select


class WholeLines(io.TextIOBase):
    """Writes at `flush`, whole lines, as many at a time as the kernel keeps together (PIPE_BUF).

    A longer write into a pipe that is full can be mixed with another process's. What cannot be written, since the disk
    is full or nobody reads any more, is dropped: nothing that the hub does depends on its log.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[str] = []

    def fileno(self) -> int:
        """Give the descriptor that is written to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether somebody reads along."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Whether it can be written to: yes."""
        return True

    def write(self, text: str) -> int:
        """Keep text until it is flushed."""
        self._waiting.append(text)
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        text, self._waiting = "".join(self._waiting).encode(errors="replace"), []
        begin = 0
        while begin < len(text):
            end = begin + select.PIPE_BUF
            if end < len(text):
                end = text.rfind(b"\n", begin, end) + 1 or text.find(b"\n", end) + 1 or len(text)
            try:
                begin += os.write(self._descriptor, text[begin:end])
            except OSError:
                return
