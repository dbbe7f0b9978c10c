"""What must have happened before what, as CUDA and the posts between threads order it.

A node is something that takes place at one time: a call by a thread, or the execution of one
operation on the device. The set of the nodes before a node is a bit mask, which is transitively
closed. Only orders that hold in every run are kept, so a program without a race here has one
result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class History:
    before: list[int] = field(default_factory=list)
    """For each node, the mask of the nodes before it."""
    _accesses: dict[str, list[tuple[int, bool]]] = field(default_factory=dict)

    def add(self, before: int) -> int:
        """A new node after all nodes of the mask; gives its number."""
        self.before.append(before)
        return len(self.before) - 1

    def upto(self, node: int) -> int:
        """The mask of a node and everything before it."""
        return self.before[node] | 1 << node

    def races(self, before: int, reads: Iterable[str], writes: Iterable[str]) -> list[int]:
        """The nodes that a new node after `before` would race with."""
        wrong: list[int] = []
        for name, write in [(r, False) for r in reads] + [(w, True) for w in writes]:
            for node, wrote in self._accesses.get(name, ()):
                if (write or wrote) and not before >> node & 1:
                    wrong.append(node)
        return sorted(set(wrong))

    def touch(self, node: int, reads: Iterable[str], writes: Iterable[str]) -> None:
        """Note the accesses of a node. It must not race (see races), so a write hides the past."""
        for name in reads:
            self._accesses.setdefault(name, []).append((node, False))
        for name in writes:
            self._accesses[name] = [(node, True)]
