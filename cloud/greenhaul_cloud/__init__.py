"""The collector: intake, store, derive, API, console."""
