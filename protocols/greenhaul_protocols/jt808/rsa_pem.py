"""RSA private keys as `openssl genrsa 1024` writes them: PEM, PKCS #1 or PKCS #8, no passphrase.

PKCS #8:  SEQUENCE { 0, algorithm, OCTET STRING { PKCS #1 } }            (RFC 5208)
PKCS #1:  SEQUENCE { 0, modulus, public exponent, private exponent, … }  (RFC 8017, A.1.2)
"""

import binascii
import re

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808.rsa import BLOCK_SIZE, PrivateKey

_PEM = re.compile(r"-----BEGIN ((?:RSA )?PRIVATE KEY)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30


def private_key_of(pem: str) -> PrivateKey:
    """The key in a PEM text. Raises DecodeError that says what is wrong, and nothing of the key."""
    found = _PEM.search(pem)
    if found is None:
        raise DecodeError("no PEM private key without passphrase")
    try:
        der = binascii.a2b_base64("".join(found[2].split()), strict_mode=True)
    except binascii.Error:
        raise DecodeError("the key's base64 is damaged") from None
    fields = _elements(_only(der, _SEQUENCE))
    if found[1] == "PRIVATE KEY":
        octets = next((content for tag, content in fields if tag == _OCTETS), b"")
        fields = _elements(_only(octets, _SEQUENCE))
    numbers = [int.from_bytes(content, "big") for tag, content in fields if tag == _INTEGER]
    if len(numbers) < 4:
        raise DecodeError("no RSA key")
    _, modulus, public_exponent, exponent = numbers[:4]
    if modulus.bit_length() != 8 * BLOCK_SIZE:
        raise DecodeError(f"a key of {modulus.bit_length()} bits, JT/T 808 wants {8 * BLOCK_SIZE}")
    if public_exponent >= 1 << 32 or pow(pow(2, public_exponent, modulus), exponent, modulus) != 2:
        raise DecodeError("the key's numbers do not belong together")
    return PrivateKey(modulus, exponent, public_exponent)


def _only(der: bytes, wanted: int) -> bytes:
    """The content of the one element there is."""
    found = _elements(der)
    if len(found) != 1 or found[0][0] != wanted:
        raise DecodeError("the key's DER is damaged")
    return found[0][1]


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of elements in a row."""
    found, at = [], 0
    while at < len(der):
        head = der[at : at + 2]
        size = head[1] if len(head) == 2 else 0
        at += 2
        if size & 0x80:
            long_form = size & 0x7F
            size = int.from_bytes(der[at : at + long_form], "big")
            at += long_form
        if len(head) < 2 or at + size > len(der):
            raise DecodeError("the key's DER is damaged")
        found.append((head[0], der[at : at + size]))
        at += size
    return found
