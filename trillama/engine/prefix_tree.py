"""Radix tree of token runs whose KV cells exist once, whoever shares them.

Called by ``kv`` alone. In a unified KV a cell may belong to many sequences, so a node's run of
tokens costs its cells once; ``owners`` are the sequence ids that hold them. A node that no live
sequence owns is idle: evicting its last holder gives its cells back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Tokens: TypeAlias = npt.NDArray[np.int32]


class Node:
    """A run of tokens; children continue it. ``live`` counts the live ones among ``owners``."""

    __slots__ = ("children", "live", "owners", "parent", "tokens")

    def __init__(self, tokens: Tokens, parent: Node | None) -> None:
        self.tokens = tokens
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.owners: set[int] = set()
        self.live = 0

    def path(self) -> Iterator[Node]:
        """This node and its ancestors, the root left out."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent

    @property
    def depth(self) -> int:
        """Tokens from the root to the end of this node."""
        return sum(len(step.tokens) for step in self.path())

    def below(self) -> Iterator[Node]:
        """All descendants."""
        stack = list(self.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())


def common_length(a: Tokens, b: Tokens) -> int:
    """How many leading tokens two runs share."""
    n = min(len(a), len(b))
    if not n:
        return 0
    differs = a[:n] != b[:n]
    first = int(differs.argmax())
    return first if differs[first] else n


class PrefixTree:
    """Trees of prefixes, one root for each cache key, with running counts of their cells.

    Attributes:
        cells: cells of all nodes.
        idle: cells of nodes that no live sequence owns.
    """

    def __init__(self) -> None:
        self.cells = 0
        self.idle = 0
        self._roots: dict[str, Node] = {}

    def root(self, key: str) -> Node:
        """The root for a cache key; empty ones are swept when there are many."""
        if key not in self._roots and len(self._roots) >= 1024:
            self._roots = {k: root for k, root in self._roots.items() if root.children}
        return self._roots.setdefault(key, Node(np.zeros(0, np.int32), None))

    def nodes(self) -> Iterator[Node]:
        """Every node of every tree, roots left out."""
        for root in self._roots.values():
            yield from root.below()

    def match(self, key: str, tokens: Tokens) -> tuple[Node, int]:
        """The node where the longest match of ``tokens`` ends, and its length.

        The match may end inside the node's run.
        """
        node, at = self.root(key), 0
        while at < len(tokens) and (child := node.children.get(int(tokens[at]))):
            same = common_length(child.tokens, tokens[at:])
            node, at = child, at + same
            if same < len(child.tokens):
                break
        return node, at

    def idle_on(self, node: Node, matched: int) -> int:
        """Idle cells among the first ``matched`` positions of the path that ends in ``node``."""
        idle = sum(len(step.tokens) for step in node.path() if not step.live)
        return idle if node.live else idle - (node.depth - matched)

    def split(self, node: Node, at: int) -> Node:
        """Cut a run in two and return the upper part; ``node`` stays the lower one."""
        assert node.parent is not None
        upper = Node(node.tokens[:at], node.parent)
        upper.owners, upper.live = set(node.owners), node.live
        node.parent.children[int(node.tokens[0])] = upper
        node.tokens, node.parent = node.tokens[at:], upper
        upper.children[int(node.tokens[0])] = node
        return upper

    def append(self, node: Node, tokens: Tokens, owner: int, live: bool) -> Node:
        """Continue ``node`` with a run of ``owner``'s and return the node it ends in."""
        own_leaf = node.parent is not None and not node.children and node.owners == {owner}
        self.cells += len(tokens)
        self.idle += 0 if live else len(tokens)
        if own_leaf:
            node.tokens = np.concatenate((node.tokens, tokens))
            return node
        leaf = Node(tokens.copy(), node)
        leaf.owners.add(owner)
        leaf.live = int(live)
        node.children[int(tokens[0])] = leaf
        return leaf

    def add_live(self, node: Node, change: int) -> None:
        """Count live owners up or down."""
        before = node.live
        node.live += change
        if (before == 0) != (node.live == 0):
            self.idle += len(node.tokens) if node.live == 0 else -len(node.tokens)

    def own(self, node: Node, owner: int) -> None:
        """Make a live sequence an owner of a node."""
        node.owners.add(owner)
        self.add_live(node, 1)

    def disown(self, node: Node, holder: int, stop: Node | None = None) -> None:
        """Take a holder off the path up to ``stop``; a node left without owners disappears."""
        for step in list(node.path()):
            if step is stop:
                return
            step.owners.discard(holder)
            if not step.owners:
                self.idle -= len(step.tokens)
                self.detach(step)

    def detach(self, node: Node) -> Node:
        """Take a childless node out of the tree and return its parent."""
        assert node.parent is not None
        del node.parent.children[int(node.tokens[0])]
        self.cells -= len(node.tokens)
        return node.parent
