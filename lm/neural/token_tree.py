"""Token trees: a prefix that hypotheses have in common is in the model's input once.

The nodes of a tree are in depth-first order, so a node's descendants are the nodes from itself to
its `end`, and that is all the attention mask needs to know.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

LOOKAHEAD = 64  # a batch is closed when this many trees wait because they do not fit


@dataclass(frozen=True)
class Tree:
    """A part of the hypotheses as a forest of n tokens, and its e predictions.

    Attributes:
        token: (n,) int64 ids, depth first.
        depth: (n,) int64 positions in the sequences.
        end: (n,) int64, the number after the node's last descendant.
        source: (e,) int64, ascending: the node that predicts.
        target: (e,) int64 ids that are predicted.
        used: (k,) numbers of the predictions of all sequences, one sequence after the other.
        owner: (k,) the sequence of each of them.
    """

    token: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    source: np.ndarray
    target: np.ndarray
    used: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.token)

    def of(self, owners: np.ndarray) -> Tree:
        """The same tree with other numbers of its sequences."""
        return replace(self, owner=owners[self.owner])

    @classmethod
    def ordered(
        cls,
        nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
        source: np.ndarray,
        target: np.ndarray,
        used: np.ndarray,
        owner: np.ndarray,
    ) -> Tree:
        """A tree with its predictions sorted by source."""
        order = np.argsort(source, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(*nodes, source[order], target[order], place[used], owner)


def best_width(lengths: np.ndarray, hidden: int) -> int:
    """Number of nodes of a tree at which repeated tokens and attention together cost least.

    Where a list is cut, the next tree repeats the prefix that its first sequence shares with the
    last sequence of the tree before, about half a sequence: T / W of the work for trees of W nodes.
    Attention adds W / 6d, as a layer has 12 d² parameters. So the best W is √(6 d T); a quarter
    more was fastest in measurements with lists of 10 and 100.

    Args:
        lengths: (P,) tokens of the sequences.
        hidden: d, the model's width.
    """
    return max(1, round(1.25 * math.sqrt(3 * hidden * float(lengths.mean()))))


def rows_of(trees: Sequence[Tree], limit: int, capacity: int) -> Iterator[list[Tree]]:
    """Batches of rows; each row has as many trees as fit into it, the largest first.

    Args:
        trees: Trees of any size.
        limit: Number of nodes of a batch, padding included.
        capacity: Number of nodes of a row; with a larger tree the rows of its batch get its length.
    """
    waiting = sorted(range(len(trees)), key=lambda i: -len(trees[i]))
    while waiting:
        length = max(capacity, len(trees[waiting[0]]))
        rows: list[list[Tree]] = [[] for _ in range(max(1, limit // length))]
        space = [length] * len(rows)
        left: list[int] = []
        for place, number in enumerate(waiting):
            size = len(trees[number])
            row = next((r for r, free in enumerate(space) if free >= size), None)
            if row is not None:
                rows[row].append(trees[number])
                space[row] -= size
            else:
                left.append(number)
                if len(left) == LOOKAHEAD:
                    left += waiting[place + 1 :]
                    break
        waiting = left
        yield [joined(row) for row in rows if row]


def joined(trees: Sequence[Tree]) -> Tree:
    """Several trees as one forest."""
    if len(trees) == 1:
        return trees[0]
    node = np.cumsum([0, *(len(tree) for tree in trees)])
    edge = np.cumsum([0, *(len(tree.source) for tree in trees)])
    return Tree(
        np.concatenate([tree.token for tree in trees]),
        np.concatenate([tree.depth for tree in trees]),
        np.concatenate([tree.end + n for tree, n in zip(trees, node, strict=False)]),
        np.concatenate([tree.source + n for tree, n in zip(trees, node, strict=False)]),
        np.concatenate([tree.target for tree in trees]),
        np.concatenate([tree.used + e for tree, e in zip(trees, edge, strict=False)]),
        np.concatenate([tree.owner for tree in trees]),
    )


def shared_prefix(ids: Sequence[np.ndarray]) -> int:
    """Number of tokens that all sequences begin with; at most all but the last of any."""
    if not len(ids):
        return 0
    low, high = min(ids, key=_key), max(ids, key=_key)
    length = min(map(len, ids)) - 1
    same = low[:length] == high[:length]
    return int(length if same.all() else same.argmin())


def prefix_trees(
    ids: Sequence[np.ndarray], first: np.ndarray, skipped: int, width: int
) -> Iterator[Tree]:
    """Trees of unique prefixes that hold all sequences.

    Args:
        ids: P sequences of at least two token ids, of which the last is only predicted.
        first: (P,) index of the first token that is scored, at least 1 and above `skipped`.
        skipped: Number of tokens at the start of all sequences that are in the cache.
        width: Largest number of nodes of a tree (see `best_width`); a longer sequence is a tree of
            its own.
    """
    order = sorted(range(len(ids)), key=lambda i: _key(ids[i][:-1]))
    order_ids = [ids[i] for i in order]
    common = [0, *(_common(a[:-1], b[:-1]) for a, b in pairwise(order_ids))]
    lengths = [len(row) - 1 - skipped for row in order_ids]
    common = [max(0, shared - skipped) for shared in common]
    start = 0
    while start < len(order):
        stop = _cut(lengths, common, start, width)
        rows = np.array(order[start:stop])
        yield _prefix_tree([ids[i] for i in rows], first[rows], rows, common[start:stop], skipped)
        start = stop


def _cut(lengths: list[int], common: list[int], start: int, width: int) -> int:
    """The end of the tree that begins at `start`: where least is repeated, in its last third.

    Args:
        lengths: Number of tokens of each sequence.
        common: Number of tokens that it shares with the sequence before.
        start: The tree's first sequence.
        width: Largest number of nodes of a tree.
    """
    nodes = lengths[start]
    best: tuple[int, int] | None = None
    for i in range(start + 1, len(lengths)):
        new = max(0, lengths[i] - common[i])
        if nodes > 2 * width // 3:
            best = min(best or (common[i], -i), (common[i], -i))
        if nodes + new > width:
            return -best[1] if best else i
        nodes += new
    return len(lengths)


def _prefix_tree(
    rows: list[np.ndarray], first: np.ndarray, owners: np.ndarray, common: list[int], skipped: int
) -> Tree:
    """The tree of sequences that are sorted by all but their last tokens."""
    lengths = np.array([len(row) - 1 for row in rows])  # without the token that is only predicted
    columns = np.arange(lengths.max())
    ids = np.zeros((len(rows), len(columns) + 1), dtype=np.int64)
    for number, sequence in enumerate(rows):
        ids[number, : len(sequence)] = sequence
    shared = skipped + np.array([0, *common[1:]])
    new = (columns >= shared[:, None]) & (columns < lengths[:, None])
    # Numbers grow along rows, so a prefix's node is the highest so far in its column.
    path = np.maximum.accumulate(np.where(new, np.cumsum(new).reshape(new.shape) - 1, 0), axis=0)
    row, depth = new.nonzero()
    token = ids[row, depth]
    count = len(token)
    parent = np.where(depth > skipped, path[row, depth - 1], -1)
    # A prediction for every node, numbered like it, and one for each sequence's last token.
    last = np.arange(len(rows))
    source = np.concatenate([parent, path[last, lengths - 1]])
    target = np.concatenate([token, ids[last, lengths]])
    wanted = (columns >= first[:, None]) & (columns < lengths[:, None])
    scored = wanted.sum(axis=1)
    used = np.insert(path[wanted], np.cumsum(scored), count + last)
    owner = np.repeat(owners, scored + 1)
    needed, used = np.unique(used, return_inverse=True)
    nodes = (token, depth, _ends(parent))
    return Tree.ordered(nodes, source[needed], target[needed], used, owner)


def merged_tree(ids: Sequence[np.ndarray], first: np.ndarray, history: int) -> Tree:
    """The tree of one N-best list in which sequences with equal last tokens share what follows.

    A node is identified by the `history` tokens that end with it (as soon as the text has that
    many) and by how often the sequence has had these tokens. Its parent is that of the first
    sequence with this node. So the first sequence keeps its own context throughout.

    Args:
        ids: P sequences of at least two token ids, the first pass's best first, all with the same
            context before `first`.
        first: (P,) index of the first token that is scored.
        history: k, the number of tokens that must agree.
    """
    known: dict[object, int] = {}
    edges: dict[tuple[int, int], int] = {}
    token: list[int] = []
    depth: list[int] = []
    parent: list[int] = []
    used: list[int] = []
    owner: list[int] = []
    for number, (sequence, begin) in enumerate(zip(ids, first.tolist(), strict=True)):
        tokens = sequence.tolist()
        node = -1
        times: Counter[tuple[int, ...]] = Counter()
        for t, current in enumerate(tokens):
            if t >= begin:
                used.append(edges.setdefault((node, current), len(edges)))
                owner.append(number)
            if t == len(tokens) - 1:
                break
            key: object = (node, current)
            if t - history + 1 >= begin:
                recent = tuple(tokens[t - history + 1 : t + 1])
                times[recent] += 1
                key = (recent, times[recent])
            found = known.get(key)
            if found is None:
                found = known[key] = len(token)
                token.append(current)
                depth.append(0 if node < 0 else depth[node] + 1)
                parent.append(node)
            node = found
    place, end = _depth_first(parent)
    order = np.argsort(place)
    nodes = (np.array(token)[order], np.array(depth)[order], end)
    source, target = np.array(list(edges)).T
    return Tree.ordered(nodes, place[source], target, np.array(used), np.array(owner))


def _depth_first(parent: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Each node's place in depth-first order, and the ends in that order; parents come first."""
    size = [1] * len(parent)
    for node in range(len(parent) - 1, -1, -1):
        if parent[node] >= 0:
            size[parent[node]] += size[node]
    place = [0] * len(parent)
    free = [0] * len(parent)  # the next place below each node
    top = 0
    for node, above in enumerate(parent):
        if above < 0:
            place[node], top = top, top + size[node]
        else:
            place[node] = free[above]
            free[above] += size[node]
        free[node] = place[node] + 1
    places = np.array(place, dtype=np.int64)
    end = np.empty(len(parent), dtype=np.int64)
    end[places] = places + np.array(size)
    return places, end


def _ends(parent: np.ndarray) -> np.ndarray:
    """The number after each node's last descendant, for nodes in depth-first order."""
    return _depth_first(parent.tolist())[1]


def _key(ids: np.ndarray) -> bytes:
    """A key that sorts like the ids: big-endian, so that bytes compare like the numbers."""
    return ids.astype(">u4").tobytes()


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
