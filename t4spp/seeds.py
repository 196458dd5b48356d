"""Seeds that follow from what they are for, the same on every machine."""

from __future__ import annotations

import hashlib


def digest_of(*parts: object) -> bytes:
    """SHA-256 of the parts, 32 bytes; any change of one changes it."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()


def seed_from(*parts: object) -> int:
    """A seed below 2**32 that any change of ``parts`` changes."""
    return int.from_bytes(digest_of(*parts)[:4], "big")
