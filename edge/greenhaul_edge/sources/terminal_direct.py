"""A line's reports read directly, where a line holds nothing else: most of what ever comes."""

from greenhaul_edge.sources.terminal_delivery import Delivery
from greenhaul_edge.sources.terminal_session import TerminalSession
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.direct_jt808 import DirectReport, read_report
from greenhaul_protocols.fleet_body import WrittenReading
from greenhaul_protocols.jt808 import OK, border

_LOCATION_REPORT = 0x0200
_PHONE_SIZE_2019 = 10


def read_directly(session: TerminalSession, data: bytes, received_time_ms: int) -> Delivery | None:
    """What bytes from delimiter to delimiter ask for; None if the conversation is to read them.

    Only of a session that `is_plain`, and to which no byte before was left over.
    """
    reports: list[DirectReport] = []
    for piece in data.split(b"\x7e"):
        if not piece:
            continue
        report = read_report(piece, received_time_ms)
        if report is None or (reports and report.phone != reports[0].phone):
            return None
        reports.append(report)
    if not reports:
        return None
    phone, is_2019 = reports[0].phone.hex(), len(reports[0].phone) == _PHONE_SIZE_2019
    source = border.source_name(phone)
    if not session.expects(source, is_2019):
        return None
    readings: list[Reading] = [
        WrittenReading(
            source=source,
            device_time_ms=report.device_time_ms,
            received_time_ms=received_time_ms,
            series=series,
        )
        for report in reports
        for series in report.series
    ]
    answers = [
        session.answers.to_packet(phone, is_2019, report.serial, _LOCATION_REPORT, OK)
        for report in reports
    ]
    has_new_alarm = session.note_reports([report.alarms for report in reports], len(readings))
    return Delivery(readings, b"".join(answers), is_alarm=has_new_alarm)
