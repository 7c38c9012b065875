"""A permutation of range(n), computed where it is asked: the order of an epoch, of which nothing is stored.

It is that of grain's `index_shuffle` (0.2.18, 4 rounds) for a whole array at a time, so orders are what they were when
grain drew them: the Simon cipher (Beaulieu et al. 2013, eprint.iacr.org/2013/404) of words just wide enough, applied
until the result lies below n. Grain's is no permutation where n - 1 is 2**16, 2**18, ...: it drops the bit above.
"""

import functools

import numpy as np
from jaxtyping import Int64, UInt64

LEAST_BITS = 16  # of a block; with fewer, says grain, patterns show
WORD = 2**32 - 1


def permuted(at_B: Int64[np.ndarray, " B"], n: int, key: int) -> Int64[np.ndarray, " B"]:
    """What stands at each place of the permutation of range(n) that a key of 32 bits names."""
    if n <= 2**LEAST_BITS:
        return whole_permutation(n, key)[at_B]
    half = -(-(n - 1).bit_length() // 2)
    found_B = encrypted(at_B.astype(np.uint64), half, key)
    while len(outside := np.flatnonzero(found_B >= n)):  # of fewer than 4n values, so each pass ends a quarter or more
        found_B[outside] = encrypted(found_B[outside], half, key)
    return found_B.astype(np.int64)


@functools.lru_cache(16)  # of half a megabyte at most
def whole_permutation(n: int, key: int) -> Int64[np.ndarray, " n"]:
    """All of a small one. Its walks may be as long as 2**LEAST_BITS / n steps, so each pass here doubles them."""
    next_of = encrypted(np.arange(2**LEAST_BITS, dtype=np.uint64), LEAST_BITS // 2, key).astype(np.int64)
    stop_of = np.where(np.arange(2**LEAST_BITS) < n, np.arange(2**LEAST_BITS), next_of)
    for _ in range(LEAST_BITS):
        stop_of = stop_of[stop_of]
    return stop_of[next_of[:n]]


def encrypted(block_B: UInt64[np.ndarray, " B"], half: int, key: int) -> UInt64[np.ndarray, " B"]:
    """The Simon cipher on blocks of two words of `half` bits each."""
    mask, shift = np.uint64(2**half - 1), np.uint64(half)

    def rotated(word_B: UInt64[np.ndarray, " B"], by: int) -> UInt64[np.ndarray, " B"]:
        return (word_B << np.uint64(by) | word_B >> np.uint64(half - by)) & mask

    left_B, right_B = block_B >> shift, block_B & mask
    for round_key in round_keys(key):
        mixed_B = rotated(right_B, 1) & rotated(right_B, 8) ^ rotated(right_B, 2)
        left_B, right_B = right_B, left_B ^ mixed_B ^ (np.uint64(round_key) & mask)
    return left_B << shift | right_B


@functools.lru_cache
def round_keys(key: int) -> list[int]:
    """What C++'s std::seed_seq{key} generates (ISO C++ [rand.util.seedseq], for four words and a seed of one)."""
    words = [0x8B8B8B8B] * 4  # one for each round
    for k, added in enumerate([1, 1 + key, 2, 3]):
        mixed = words[k] ^ words[(k + 1) % 4] ^ words[k - 1]
        mixed = 1664525 * (mixed ^ mixed >> 27) & WORD
        words[(k + 1) % 4] = words[(k + 1) % 4] + mixed & WORD
        words[(k + 2) % 4] = words[(k + 2) % 4] + mixed + added & WORD
        words[k] = mixed + added & WORD
    for k in range(4):
        mixed = words[k] + words[(k + 1) % 4] + words[k - 1] & WORD
        mixed = 1566083941 * (mixed ^ mixed >> 27) & WORD
        words[(k + 1) % 4] ^= mixed
        words[(k + 2) % 4] ^= mixed - k & WORD
        words[k] = mixed - k & WORD
    return words
