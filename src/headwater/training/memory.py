"""What a training learns from its batches beside the weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

Note = tuple[Tensor, ...]
"""What one batch tells."""


class Memory(nn.Module, ABC):
    """A part of a network that remembers batches in its buffers.

    While a step goes on nothing changes: batches only leave notes. When all batches of the step are done,
    `train` hands every process the notes of all of them in the order of the batches, so that the memory
    is the same in each, and the same as in one process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[Note] = []

    def note(self, *told: Tensor) -> None:
        """Leave a note about a batch."""
        self._notes.append(tuple(value.detach().cpu() for value in told))

    def noted(self) -> list[Note]:
        """Give the notes away."""
        notes, self._notes = self._notes, []
        return notes

    def settle(self, notes: Sequence[Note]) -> None:
        """Remember the notes of a step."""
        for note in notes:
            self.take(note)

    @abstractmethod
    def take(self, note: Note) -> None:
        """Remember one batch."""
