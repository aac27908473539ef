"""CAN frames that terminals upload (0x0705), through the mapping files of a bus of our own."""

from pathlib import Path

from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_state import CanState
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.jt808.messages_records import CanFrame, CanReport

# Only the first frame's time is said: all frames of a report share it, and none is stale.
_AGE_MS_MAX = 0


class FrameReader:
    """Reads 0x0705 by one mapping file. Raises ConfigError."""

    def __init__(self, mapping: Path) -> None:
        self._mapping = load_mapping(mapping)

    def __call__(self, report: CanReport, whole: Reading) -> list[Reading]:
        """One reading for each kind that the frames say something of.

        whole: the report as an event, whose source and times they take. A message shorter than
        eight bytes comes padded: 0x0705 has no length.
        """
        state = CanState(self._mapping, whole.source, _AGE_MS_MAX)
        for frame in report.frames:
            if isinstance(frame, CanFrame):
                head = frame.head
                state.take(head.can_id, head.is_extended, frame.data, whole.device_time_ms)
        return state.readings(whole.device_time_ms, whole.received_time_ms, whole.time_quality)
