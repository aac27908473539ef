"""Why something failed, without what the caller names anyway."""


def reason_of(error: Exception) -> str:
    """The error's own words; the operating system's without number and path."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error)
