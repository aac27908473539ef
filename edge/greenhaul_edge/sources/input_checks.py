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
# Receivers speak every second, the sleepiest every ten; finding the rate takes some seconds, too.
_SILENT_S = 30
# A bus with a bad terminator has more error frames than this share.
_ERROR_SHARE_MAX = 0.001
# A unit that is asked while it wakes may miss one.
_UNANSWERED = 3
# By what the system says of a port or bus that cannot be opened.
_REMEDIES = {
    "Permission denied": "`ls -l` tells the port's group (dialout): add the agent's user to it by "
    "usermod -aG, then restart the agent",
    "lock": "another program has the port: stop ModemManager or gpsd, or read gpsd (gpsd://HOST)",
    "busy": "another program has the port: stop ModemManager or gpsd, or read gpsd (gpsd://HOST)",
    "No such file": "plug it in, or set the port; names under /dev/serial/by-id stay",
    "not plugged in": "plug it in; `lsusb` lists vendor and product",
    "Connection refused": "is gpsd running, and listening at this address?",
    "etwork is down": "ip link set CHANNEL up type can bitrate 250000 restart-ms 100",
    "No such device": "is the adapter plugged in and its driver loaded? `ip link` lists interfaces",
    "bus off": "bitrate, terminators and wiring of the bus; restart-ms 100 lets it recover",
}


def check_link(state: State) -> Iterator[Complaint]:
    """The port, socket or bus is open, and we may open it."""
    link = str(state.get("link", ""))
    if link.startswith("gone"):
        remedy = next((text for said, text in _REMEDIES.items() if said in link), None)
        yield f"not open: {link}", remedy or "plug it in; see that the agent may open it"


def check_sentences(state: State) -> Iterator[Complaint]:
    """NMEA comes, at a rate that was found."""
    silent_s = int(state.get("silent_s", 0))
    if silent_s < _SILENT_S or not str(state.get("link")).startswith("open"):
        return
    if state.get("sentences"):
        yield (
            f"no sentence for {silent_s} s (last at {state.get('baud')} baud)",
            "has the receiver power? is its cable whole?",
        )
    elif state.get("noise") or state.get("bad_checksums"):
        yield (
            "bytes come, but no NMEA sentence at any rate that was tried",
            'set baud = "auto", or configure the receiver to speak NMEA',
        )
    else:
        yield "nothing comes", "is this the receiver's port? has it power? TX and RX swapped?"


def check_checksums(state: State) -> Iterator[Complaint]:
    """Sentences arrive whole."""
    bad, good = int(state.get("bad_checksums", 0)), int(state.get("sentences", 0))
    if good and bad > _BAD_SHARE_MAX * (bad + good) and bad > 1:
        yield f"{bad} of {bad + good} sentences are damaged", "check cable, ground and baud rate"


def check_fix(state: State) -> Iterator[Complaint]:
    """The receiver knows where it is."""
    if state.get("sentences") and state.get("unfixed") and not state.get("fixes"):
        yield "NMEA, but never a fix", "is the antenna connected, and under the sky?"


def check_receiver_date(state: State) -> Iterator[Complaint]:
    """The receiver's own date can be."""
    count = int(state.get("by_gateway_clock", 0))
    if count:
        yield f"{count} fixes had a date that cannot be", "update the receiver's firmware"


def check_bus_errors(state: State) -> Iterator[Complaint]:
    """Nothing is wrong on the wire."""
    remedy = "bitrate, terminators and wiring of the bus; a second node must be on it"
    errors, frames = int(state.get("error_frames", 0)), int(state.get("frames", 0))
    if state.get("bus_off"):
        yield f"bus off {state['bus_off']} times", remedy
    elif state.get("bus_state") in ("error-passive", "error-warning"):
        yield f"the controller is {state['bus_state']}, {errors} error frames", remedy
    elif errors > _ERROR_SHARE_MAX * frames:
        yield f"{errors} error frames among {frames} frames", remedy


def check_losses(state: State) -> Iterator[Complaint]:
    """The kernel keeps up."""
    if state.get("kernel_dropped"):
        yield f"{state['kernel_dropped']} frames lost by the kernel", "a faster disk or less load"


def check_adapter(state: State) -> Iterator[Complaint]:
    """What a serial adapter says can be read."""
    if state.get("garbled"):
        yield (
            f"{state['garbled']} lines of the adapter were no frame",
            "another serial rate (channel = PORT@RATE), or another cable",
        )


def check_ids(state: State) -> Iterator[Complaint]:
    """The DBC files are of this bus. Of answers to a tester there are none without one."""
    if state.get("transport") == "isotp":
        return
    if state.get("ids_unknown") and not state.get("ids_known"):
        there = f"{state['ids_unknown']} ids on the bus ({state.get('unknown_ids', '')})"
        yield (
            f"none of {there} is in the DBC files",
            "another bus, another vehicle model, or ids without bit 31 in the DBC file",
        )


def check_never_heard(state: State) -> Iterator[Complaint]:
    """Every mapped message and signal has come."""
    if state.get("never_heard") and state.get("ids_known"):
        yield (
            f"never heard: {state['never_heard']}",
            "take them out of the mapping, or wake the bus",
        )


def check_stale(state: State) -> Iterator[Complaint]:
    """Every field that was heard still is."""
    if state.get("stale"):
        yield f"no longer heard: {state['stale']}", "does the vehicle sleep? then all is well"


def check_polling(state: State) -> Iterator[Complaint]:
    """Whom we ask answers."""
    if state.get("polling") == "held off" and state.get("tester_frames"):
        yield (
            "nothing is asked: a tester is on the bus",
            "unplug it from the diagnostic socket; a minute later asking goes on",
        )
    elif int(state.get("unanswered", 0)) >= _UNANSWERED and not state.get("answered"):
        yield (
            f"{state['unanswered']} requests, none answered",
            "does the vehicle sleep? else another id, another bus, or polling it does not take",
        )


CHECKS: dict[str, Check] = {
    "input-link": check_link,
    "gnss-sentences": check_sentences,
    "gnss-checksums": check_checksums,
    "gnss-fix": check_fix,
    "gnss-date": check_receiver_date,
    "can-errors": check_bus_errors,
    "can-losses": check_losses,
    "can-adapter": check_adapter,
    "can-ids": check_ids,
    "can-never-heard": check_never_heard,
    "can-stale": check_stale,
    "can-polling": check_polling,
}
