"""What a running GNSS or CAN source's figures say to a person at the truck (pure).

Each check takes a source's `state()` and yields what is wrong and what to do about it. `doctor`
asks them of the running agent.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

State = Mapping[str, Any]
Complaint = tuple[str, str]  # what is wrong; what to do
Check = Callable[[State], Iterator[Complaint]]

# More bad checksums than this share of the sentences is no ordinary noise.
_BAD_SHARE_MAX = 0.05


def check_link(state: State) -> Iterator[Complaint]:
    """The port, socket or bus is open."""
    link = str(state.get("link", ""))
    if link.startswith("gone"):
        yield f"not open: {link}", "plug it in; see that the agent may open it"


def check_checksums(state: State) -> Iterator[Complaint]:
    """Sentences arrive whole."""
    bad, good = int(state.get("bad_checksums", 0)), int(state.get("sentences", 0))
    if bad > _BAD_SHARE_MAX * (bad + good) and bad > 1:
        yield f"{bad} of {bad + good} sentences are damaged", "check cable, ground and baud rate"


def check_receiver_date(state: State) -> Iterator[Complaint]:
    """The receiver's own date can be."""
    count = int(state.get("by_gateway_clock", 0))
    if count:
        yield f"{count} fixes had a date that cannot be", "update the receiver's firmware"


def check_bus_errors(state: State) -> Iterator[Complaint]:
    """Nothing is wrong on the wire."""
    if state.get("bus_off"):
        yield f"bus off {state['bus_off']} times", "bitrate, terminators and wiring of the bus"
    elif state.get("error_frames"):
        yield f"{state['error_frames']} error frames", "bitrate, terminators and wiring of the bus"


def check_losses(state: State) -> Iterator[Complaint]:
    """The kernel keeps up."""
    if state.get("kernel_dropped"):
        yield f"{state['kernel_dropped']} frames lost by the kernel", "a faster disk or less load"


def check_ids(state: State) -> Iterator[Complaint]:
    """The DBC files are of this bus."""
    if state.get("frames") and not state.get("readings"):
        yield (
            f"frames, but none that the mapping knows; there are {state.get('unknown_ids', '')}",
            "another bus, another vehicle model, or ids without bit 31 in the DBC file",
        )


def check_never_heard(state: State) -> Iterator[Complaint]:
    """Every mapped message has come."""
    if state.get("never_heard") and state.get("frames"):
        yield (
            f"never heard: {state['never_heard']}",
            "take them out of the mapping, or wake the bus",
        )


def check_stale(state: State) -> Iterator[Complaint]:
    """Every field that was heard still is."""
    if state.get("stale"):
        yield f"no longer heard: {state['stale']}", "does the vehicle sleep? then all is well"


CHECKS: dict[str, Check] = {
    "input-link": check_link,
    "gnss-checksums": check_checksums,
    "gnss-date": check_receiver_date,
    "can-errors": check_bus_errors,
    "can-losses": check_losses,
    "can-ids": check_ids,
    "can-never-heard": check_never_heard,
    "can-stale": check_stale,
}
