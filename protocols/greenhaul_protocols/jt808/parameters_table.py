"""Terminal parameters of 0x8103 and 0x0104: id to name, layout, unit.

The length byte decides how long a value is, never this table: a value of another length than the
table's keeps its bytes and has no meaning.
"""

from typing import Any

from greenhaul_protocols.jt808.bits_table import ALARM_BITS
from greenhaul_protocols.jt808.layouts import (
    Byte_,
    Bytes,
    ByVersion,
    Dated,
    Dword_,
    FixedBytes,
    Scaled,
    Word_,
)
from greenhaul_protocols.jt808.messages import PLATE_COLOURS
from greenhaul_protocols.jt808.messages_control import GNSS_BITS
from greenhaul_protocols.jt808.messages_records import CAN_ID
from greenhaul_protocols.jt808.notes import BitRanges, Meanings, Spelled
from greenhaul_protocols.jt808.tables import Entry, Table, entries
from greenhaul_protocols.jt808.texts import Text

_TEXT = Text()


def _names(layout: Dated, by_id: dict[int, str]) -> list[Entry]:
    return [
        Entry(parameter_id, name, layout, notes=_NOTES.get(parameter_id, ()))
        for parameter_id, name in by_id.items()
    ]


def _window(wire: bytes) -> str:
    """0x0032: hour and minute, in binary, of start and end."""
    return "{:02d}:{:02d} to {:02d}:{:02d}".format(*wire)


def _can_sampling(wire: bytes) -> str:
    """0x0110 and on: an interval, and bits as in 0x0705."""
    head = CAN_ID.from_wire(int.from_bytes(wire[4:], "big"))
    kind = "extended" if head.is_extended else "standard"
    how = "averaged" if head.is_averaged else "as it is"
    interval_ms = int.from_bytes(wire[:4], "big")
    return f"CAN {head.channel + 1}, {kind} id 0x{head.can_id:X}, {how}, every {interval_ms} ms"


_GNSS_BAUD_RATES = (4800, 9600, 19200, 38400, 57600, 115200)
_CALL_LIMIT = Meanings({0: "no calls", 0xFFFF_FFFF: "no limit"})
# Channels 1 to 5 by bits.
_PHOTO = {(0, 5): "channels_on", (8, 5): "channels_uploading"}
_NOTES: dict[int, tuple[Any, ...]] = {
    0x0020: (Meanings({0: "by time", 1: "by distance", 2: "by both"}),),
    0x0021: (Meanings({0: "by ACC", 1: "by login, then by ACC"}),),
    0x0032: (Spelled(_window),),
    0x0045: (Meanings({0: "automatic", 1: "automatic while ACC is on"}),),
    0x0046: (_CALL_LIMIT,),
    0x0047: (_CALL_LIMIT,),
    **dict.fromkeys(range(0x0050, 0x0055), (ALARM_BITS,)),
    # Times in steps of 4 ms until 2013, of 1 ms since 2019.
    0x005D: (BitRanges({(0, 8): "time", (8, 8): "acceleration_tenths_g"}),),
    0x0064: (BitRanges({**_PHOTO, (16, 1): "in_minutes", (17, 15): "interval"}),),
    0x0065: (BitRanges({**_PHOTO, (16, 1): "in_km", (17, 15): "interval"}),),
    0x0070: (Meanings({1: "best", 10: "smallest"}),),
    0x0084: (PLATE_COLOURS,),
    0x0090: (GNSS_BITS,),
    0x0091: (Meanings(dict(enumerate(f"{rate} Bd" for rate in _GNSS_BAUD_RATES))),),
    0x0092: (Meanings(dict(enumerate(f"{ms} ms" for ms in (500, 1000, 2000, 3000, 4000)))),),
    0x0094: (
        Meanings(
            {
                0x00: "kept",
                0x01: "every so many s",
                0x02: "every so many m",
                0x0B: "once after so many s",
                0x0C: "once after so many m",
                0x0D: "once after so many records",
            }
        ),
    ),
    **dict.fromkeys(range(0x0110, 0x0200), (Spelled(_can_sampling),)),
}


PARAMETERS: Table = entries(
    _names(
        Dword_,
        {
            0x0001: "heartbeat_interval_s",
            0x0002: "tcp_answer_timeout_s",
            0x0003: "tcp_retransmissions",
            0x0004: "udp_answer_timeout_s",
            0x0005: "udp_retransmissions",
            0x0006: "sms_answer_timeout_s",
            0x0007: "sms_retransmissions",
            0x0018: "tcp_port",
            0x0019: "udp_port",
            0x001B: "ic_card_server_tcp_port",
            0x001C: "ic_card_server_udp_port",
            0x0020: "report_strategy",
            0x0021: "report_scheme",
            0x0022: "no_driver_interval_s",
            0x0027: "sleep_interval_s",
            0x0028: "emergency_interval_s",
            0x0029: "default_interval_s",
            0x002C: "default_distance_m",
            0x002D: "no_driver_distance_m",
            0x002E: "sleep_distance_m",
            0x002F: "emergency_distance_m",
            0x0030: "corner_angle_deg",
            0x0045: "call_answering",
            0x0046: "call_duration_max_s",
            0x0047: "call_duration_month_max_s",
            0x0050: "alarm_mask",
            0x0051: "alarm_sms_mask",
            0x0052: "alarm_photo_mask",
            0x0053: "alarm_photo_store_mask",
            0x0054: "alarm_critical_mask",
            0x0055: "speed_max_kmh",
            0x0056: "overspeed_duration_s",
            0x0057: "continuous_driving_max_s",
            0x0058: "daily_driving_max_s",
            0x0059: "rest_min_s",
            0x005A: "parking_max_s",
            0x0064: "timed_photo",
            0x0065: "distance_photo",
            0x0070: "picture_quality",
            0x0071: "picture_brightness",
            0x0072: "picture_contrast",
            0x0073: "picture_saturation",
            0x0074: "picture_chroma",
            0x0093: "gnss_sampling_s",
            0x0095: "gnss_upload_setting",
            0x0100: "can_1_sampling_ms",
            0x0102: "can_2_sampling_ms",
        },
    ),
    _names(Scaled("I", per_unit=10), {0x0080: "odometer_km"}),
    _names(
        Word_,
        {
            0x0031: "fence_radius_m",
            0x005C: "fatigue_warning_s",
            0x005D: "collision_alarm",
            0x005E: "rollover_angle_deg",
            0x0101: "can_1_upload_s",
            0x0103: "can_2_upload_s",
        },
    ),
    _names(Scaled("H", per_unit=10), {0x005B: "overspeed_warning_kmh"}),
    _names(ByVersion({2011: Dword_, 2013: Word_}), {0x0081: "province_id", 0x0082: "city_id"}),
    _names(ByVersion({2011: Dword_, 2013: Byte_}), {0x0084: "plate_colour"}),
    _names(
        Byte_,
        {
            0x0090: "gnss_systems",
            0x0091: "gnss_baud_code",
            0x0092: "gnss_output_code",
            0x0094: "gnss_upload_mode",
        },
    ),
    _names(FixedBytes(4), {0x0032: "illegal_driving_window"}),
    _names(
        FixedBytes(8),
        {can: f"can_id_sampling_{can - 0x0110}" for can in range(0x0110, 0x0200)},
    ),
    _names(
        _TEXT,
        {
            0x0010: "main_apn",
            0x0011: "main_user",
            0x0012: "main_password",
            0x0013: "main_server",
            0x0014: "backup_apn",
            0x0015: "backup_user",
            0x0016: "backup_password",
            0x0017: "backup_server",
            0x001A: "ic_card_server",
            0x001D: "ic_card_backup_server",
            0x0040: "platform_phone",
            0x0041: "reset_phone",
            0x0042: "factory_reset_phone",
            0x0043: "platform_sms_phone",
            0x0044: "sms_alarm_phone",
            0x0048: "listen_in_phone",
            0x0049: "privileged_sms_phone",
            0x0083: "plate",
        },
    ),
    # Reserved until 2019; terminals of 2013 send them too.
    _names(
        _TEXT,
        {
            0x0023: "slave_apn",
            0x0024: "slave_user",
            0x0025: "slave_password",
            0x0026: "slave_server",
        },
    ),
    # JT/T 1078-2016 and T/JSATL 12-2017; their structures stay bytes.
    _names(Dword_, {0x007A: "video_alarm_mask"}),
    _names(Word_, {0x007B: "image_analysis"}),
    _names(
        Bytes(),
        {
            0x0075: "video_settings",
            0x0076: "video_channels",
            0x0077: "video_channel_settings",
            0x0079: "special_recording",
            0x007C: "video_wake_up",
            0xF364: "adas_settings",
            0xF365: "dsm_settings",
            0xF366: "tpms_settings",
            0xF367: "bsd_settings",
        },
    ),
)
