"""RSA bodies (bits 10-12 of the attributes: 001), with the keys of 0x8A00 and 0x0A00.

The standard names the method and the key sizes (e of four bytes, n of 128) and no padding; this is
PKCS #1 v1.5 (RFC 8017, 7.2): a body is a row of blocks of 128 bytes that carry up to 117 each.
"""

from collections.abc import Callable
from dataclasses import dataclass

from greenhaul_protocols.errors import DecodeError, EncodeError

BLOCK_SIZE = 128
# 00 02, eight bytes or more of padding, 00.
DATA_SIZE_MAX = BLOCK_SIZE - 11


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a peer says of its key."""

    modulus: int
    exponent: int


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Our own key; never sent, never logged."""

    modulus: int
    exponent: int  # the private one
    public_exponent: int = 65_537

    @property
    def public(self) -> PublicKey:
        """What a peer may know of it."""
        return PublicKey(self.modulus, self.public_exponent)

    def __repr__(self) -> str:
        return "PrivateKey(…)"


def encrypt(body: bytes, key: PublicKey, random_bytes: Callable[[int], bytes]) -> bytes:
    """The blocks that carry a body. random_bytes gives so many bytes nobody can guess."""
    if key.modulus.bit_length() != 8 * BLOCK_SIZE:
        raise EncodeError(f"RSA: a modulus of {key.modulus.bit_length()} bits, 1024 are wanted")
    blocks = []
    for at in range(0, len(body), DATA_SIZE_MAX):
        data = body[at : at + DATA_SIZE_MAX]
        padding = _nonzero(BLOCK_SIZE - 3 - len(data), random_bytes)
        number = int.from_bytes(b"\0\2" + padding + b"\0" + data, "big")
        blocks.append(pow(number, key.exponent, key.modulus).to_bytes(BLOCK_SIZE, "big"))
    return b"".join(blocks)


def decrypt(wire: bytes, key: PrivateKey) -> bytes:
    """The body in the blocks. Raises DecodeError if they were not made for this key."""
    if len(wire) % BLOCK_SIZE:
        raise DecodeError(f"RSA: {len(wire)} bytes are no blocks of {BLOCK_SIZE}")
    body = bytearray()
    for at in range(0, len(wire), BLOCK_SIZE):
        number = int.from_bytes(wire[at : at + BLOCK_SIZE], "big")
        if number >= key.modulus:
            raise DecodeError("RSA: a block beyond the modulus, another key made it")
        block = pow(number, key.exponent, key.modulus).to_bytes(BLOCK_SIZE, "big")
        end = block.find(b"\0", 2)
        if block[:2] != b"\0\2" or end < 10:
            raise DecodeError("RSA: padding: another key made it, or another method")
        body += block[end + 1 :]
    return bytes(body)


def _nonzero(size: int, random_bytes: Callable[[int], bytes]) -> bytes:
    found = b""
    while len(found) < size:
        found += random_bytes(size - len(found)).replace(b"\0", b"")
    return found
