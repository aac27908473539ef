"""What makes two readings the same reading (architecture §5.7).

Identity is (source, kind, device_time, digest). The digest mixes (field number, stored integer)
of the fields present, in field order; texts and blobs enter by a 64-bit hash of their bytes. How a
reading came (gateway, lane, number, received time, flags) is not part of it.

Written out so that any language can do the same, all arithmetic modulo 2^64:

    digest = SEED
    for each present field, in order of its number:
        value  = two's complement of the stored integer, or BLAKE2b-64 (little-endian) of the bytes
        digest = mix(digest xor mix(value + number * GOLDEN))

with `mix` the finaliser of SplitMix64. The result is read as a signed 64-bit integer.
"""

from collections.abc import Sequence
from hashlib import blake2b

from greenhaul_protocols.series import Series, Value

GOLDEN = 0x9E3779B97F4A7C15
SEED = 0x6772_6565_6E68_6175  # "greenhau"
_MASK = 2**64 - 1


def digests(series: Series) -> list[int]:
    """Signed 64-bit digest of every reading of a series; fields of any version take part."""
    columns = sorted(series.columns.items())
    return [digest([(number, column[i]) for number, column in columns]) for i in range(len(series))]


def digest(values: Sequence[tuple[int, Value]]) -> int:
    """Signed 64-bit digest of (field number, stored value) pairs in order of their numbers."""
    state = SEED
    for number, value in values:
        if value is None:
            continue
        word = hash_bytes(value) if isinstance(value, bytes) else value
        state = mix(state ^ mix((word + number * GOLDEN) & _MASK))
    return state - 2**64 if state >= 2**63 else state


def hash_bytes(data: bytes) -> int:
    """64-bit hash of a text's or blob's bytes."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def mix(word: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
    return word ^ (word >> 31)
