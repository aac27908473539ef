"""pyarrow, which comes with an extra of its own: imported by whoever really needs it."""

from typing import Any

from greenhaul_protocols.errors import ConfigError


def load_arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet. Raises ConfigError when the extra is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'greenhaul[archive]'") from error
    return pa, parquet
