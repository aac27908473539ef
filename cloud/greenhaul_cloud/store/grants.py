"""Which sources a gateway may carry: its own inputs, and what it was granted."""

from collections.abc import Collection


def is_granted(gateway: str, patterns: Collection[str], source: str) -> bool:
    """Whether a gateway may carry a source. A final * of a pattern matches any rest."""
    if "*" in patterns or source.startswith(f"{gateway}/"):
        return True
    return any(
        source.startswith(pattern[:-1]) if pattern.endswith("*") else source == pattern
        for pattern in patterns
    )
