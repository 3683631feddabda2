"""The tree's arithmetic: hashes worked out by hand here, and laws held against the recursive definition of RFC 6962."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.sealing.merkle import (
    EMPTY_ROOT,
    Edge,
    consistency_ranges,
    extend,
    fold,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    proves_consistency,
    proves_inclusion,
    subtrees,
)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


# -- the definition, word by word -------------------------------------------------------------------------------------


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = largest_power_below(len(leaves))
    return sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:]))


def inclusion_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if index < k:
        return [*inclusion_path(index, leaves[:k]), tree_hash(leaves[k:])]
    return [*inclusion_path(index - k, leaves[k:]), tree_hash(leaves[:k])]


def consistency_path(first: int, leaves: list[bytes], *, is_whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if first == len(leaves):
        return [] if is_whole else [tree_hash(leaves)]
    k = largest_power_below(len(leaves))
    if first <= k:
        return [*consistency_path(first, leaves[:k], is_whole=is_whole), tree_hash(leaves[k:])]
    return [*consistency_path(first - k, leaves[k:], is_whole=False), tree_hash(leaves[:k])]


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


# -- worked out by hand -----------------------------------------------------------------------------------------------

A, B, C, D, E, F, G = (sha256(b"\x00" + letter.encode()) for letter in "abcdefg")


def n(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


# The tree of seven leaves of RFC 6962, 2.1.3, with its letters: g and h are complete pairs, k is four leaves, and so on.
PAIR_G, PAIR_H, PAIR_I = n(A, B), n(C, D), n(E, F)
FOUR_K, THREE_L = n(PAIR_G, PAIR_H), n(PAIR_I, G)
ROOTS = [sha256(b""), A, PAIR_G, n(PAIR_G, C), FOUR_K, n(FOUR_K, E), n(FOUR_K, PAIR_I), n(FOUR_K, THREE_L)]


@pytest.mark.parametrize("size", range(8))
def test_roots_of_the_trees_of_the_standard(size: int):
    assert extend(Edge(), [A, B, C, D, E, F, G][:size]).root() == ROOTS[size]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_leaf_and_a_node_are_hashed_apart():
    assert leaf_hash(b"a") == A
    assert node_hash(A, B) == PAIR_G
    assert leaf_hash(A + B) != node_hash(A, B)


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, [B, PAIR_H, THREE_L]),
        (3, [C, PAIR_G, THREE_L]),
        (4, [F, G, FOUR_K]),
        (6, [PAIR_I, FOUR_K]),
    ],
)
def test_inclusion_proofs_of_the_standards_example(index: int, path: list[bytes]):
    leaves = [A, B, C, D, E, F, G]

    assert [tree_hash(leaves[start:end]) for start, end in inclusion_ranges(index, 7)] == path
    assert proves_inclusion(leaves[index], index, 7, path, ROOTS[7])


@pytest.mark.parametrize(
    ("first", "path"),
    [
        (3, [C, D, PAIR_G, THREE_L]),
        (4, [THREE_L]),
        (6, [PAIR_I, G, FOUR_K]),
        (7, []),
    ],
)
def test_consistency_proofs_of_the_standards_example(first: int, path: list[bytes]):
    leaves = [A, B, C, D, E, F, G]

    assert [tree_hash(leaves[start:end]) for start, end in consistency_ranges(first, 7)] == path
    assert proves_consistency(first, 7, path, ROOTS[first], ROOTS[7])


# -- laws -------------------------------------------------------------------------------------------------------------

sizes = st.integers(1, 300)


@given(parts=st.lists(st.integers(0, 70), max_size=8))
def test_a_tree_that_grows_in_parts_is_the_tree_of_all_leaves(parts: list[int]):
    leaves = leaves_of(sum(parts))
    edge, given_so_far = Edge(), 0
    nodes: dict[tuple[int, int], bytes] = {}
    for part in parts:
        edge = extend(
            Edge.from_bytes(edge.size, edge.as_bytes()),  # nothing but its bytes lasts from part to part
            leaves[given_so_far : given_so_far + part],
            lambda level, place, made: nodes.__setitem__((level, place), made),
        )
        given_so_far += part

        assert edge.root() == tree_hash(leaves[:given_so_far])
    assert nodes == {
        (level, place): tree_hash(leaves[place << level : (place + 1) << level])
        for level in range(1, 10)
        for place in range(len(leaves) >> level)
    }


@given(data=st.data(), size=sizes)
def test_every_leaf_is_proved_as_the_standard_says_and_no_other_is(data: st.DataObject, size: int):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    root = tree_hash(leaves)

    path = [tree_hash(leaves[start:end]) for start, end in inclusion_ranges(index, size)]

    assert path == inclusion_path(index, leaves)
    assert proves_inclusion(leaves[index], index, size, path, root)
    assert not proves_inclusion(leaf_hash(b"other"), index, size, path, root)
    assert not proves_inclusion(leaves[index], index, size, [*path, root], root)
    assert not proves_inclusion(leaves[index], index, size, path, leaf_hash(b"other"))
    for place in range(len(path)):
        wrong = [*path[:place], leaf_hash(b"other"), *path[place + 1 :]]
        assert not proves_inclusion(leaves[index], index, size, wrong, root)
        assert not proves_inclusion(leaves[index], index, size, [*path[:place], *path[place + 1 :]], root)
    elsewhere = data.draw(st.integers(0, size - 1))
    assert proves_inclusion(leaves[index], elsewhere, size, path, root) == (elsewhere == index)


@given(data=st.data(), second=sizes)
def test_every_earlier_tree_is_proved_as_the_standard_says_and_no_other_is(data: st.DataObject, second: int):
    leaves = leaves_of(second)
    first = data.draw(st.integers(1, second))
    old, new = tree_hash(leaves[:first]), tree_hash(leaves)

    path = [tree_hash(leaves[start:end]) for start, end in consistency_ranges(first, second)]

    assert path == consistency_path(first, leaves)
    assert proves_consistency(first, second, path, old, new)
    assert not proves_consistency(first, second, path, leaf_hash(b"other"), new)
    assert not proves_consistency(first, second, path, old, leaf_hash(b"other"))
    assert not proves_consistency(first, second, [*path, new], old, new)
    for place in range(len(path)):
        wrong = [*path[:place], leaf_hash(b"other"), *path[place + 1 :]]
        assert not proves_consistency(first, second, wrong, old, new)


@given(data=st.data(), size=sizes)
def test_a_range_of_a_proof_is_cut_into_complete_subtrees(data: st.DataObject, size: int):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))

    for start, end in [(0, size), *inclusion_ranges(index, size), *consistency_ranges(first, size)]:
        parts = [
            tree_hash(leaves[place << level : (place + 1) << level]) for level, place in subtrees(start, end)
        ]

        assert [
            number
            for level, place in subtrees(start, end)
            for number in range(place << level, (place + 1) << level)
        ] == [*range(start, end)]
        assert fold(parts) == tree_hash(leaves[start:end])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index: int, size: int):
    assert not proves_inclusion(A, index, size, [], A)
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_ranges(index, size)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3), (-1, 2)])
def test_there_is_no_proof_of_a_tree_that_is_no_beginning(first: int, second: int):
    assert not proves_consistency(first, second, [], A, A)
    with pytest.raises(ValueError, match="the smaller first"):
        consistency_ranges(first, second)


@pytest.mark.parametrize(("size", "kept"), [(1, b""), (3, A), (-1, b""), (2, A + B)])
def test_an_edge_of_the_wrong_length_is_refused(size: int, kept: bytes):
    with pytest.raises(ValueError, match="not the edge"):
        Edge.from_bytes(size, kept)
