"""Photos, sound and video: events, data, commands, what is stored."""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import Record, message
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte,
    Byte_,
    Bytes,
    ByVersion,
    Counted,
    Dword,
    Dword_,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.messages_location import Location
from greenhaul_protocols.jt808.notes import IfLeft, Meanings, equals

MEDIA_TYPES = Meanings({0: "image", 1: "audio", 2: "video"})
MEDIA_FORMATS = Meanings({0: "JPEG", 1: "TIF", 2: "MP3", 3: "WAV", 4: "WMV"})
MEDIA_EVENTS = Meanings(
    {
        0: "command",
        1: "timed",
        2: "robbery",
        3: "collision or rollover",
        4: "door opened",
        5: "door closed",
        6: "doors closed, above 20 km/h",
        7: "distance",
    }
)
RESOLUTIONS = Meanings(
    {
        1: "320×240",
        2: "640×480",
        3: "800×600",
        4: "1024×768",
        5: "176×144",
        6: "352×288",
        7: "704×288",
        8: "704×576",
        0xFF: "highest",
    }
)
STORE_OR_UPLOAD = Meanings({0: "upload", 1: "store"})
KEEP_OR_DELETE = Meanings({0: "keep", 1: "delete"})
SOUND_RATES = Meanings({0: "8 kHz", 1: "11 kHz", 2: "23 kHz", 3: "32 kHz"})


@message(0x0800, clause="8.51")
@dataclass(frozen=True, slots=True)
class MediaEvent:
    """Something was recorded (多媒体事件信息上传)."""

    media_id: Dword
    media_type: Annotated[Byte, MEDIA_TYPES]
    media_format: Annotated[Byte, MEDIA_FORMATS]
    event: Annotated[Byte, MEDIA_EVENTS]
    channel: Byte


@message(0x0801, clause="8.52")
@dataclass(frozen=True, slots=True)
class MediaData:
    """A recording (多媒体数据上传). Nearly always split.

    2011 numbers its packets in the body and has no location.
    """

    media_id: Dword
    media_type: Annotated[Byte, MEDIA_TYPES]
    media_format: Annotated[Byte, MEDIA_FORMATS]
    event: Annotated[Byte, MEDIA_EVENTS]
    channel: Byte
    packet_total: Annotated[int | None, ByVersion({2011: Dword_, 2013: None})]
    packet_number: Annotated[int | None, ByVersion({2011: Dword_, 2013: None})]
    location: Annotated[Location | None, ByVersion({2013: Record(Location)})]
    data: Annotated[bytes, Bytes()]

    def is_plausible(self, _revision: int, _body_size: int) -> bool:
        """Whether the numbers of 2011 are numbers of a packet, not the location of later ones."""
        if self.packet_total is None or self.packet_number is None:
            return True
        return 1 <= self.packet_number <= self.packet_total


@message(0x8800, clause="8.53")
@dataclass(frozen=True, slots=True)
class MediaAnswer:
    """The recording is here, or packets of it are missing (多媒体数据上传应答)."""

    answer_serial: Annotated[int | None, ByVersion({2011: Word_, 2013: None})]
    media_id: Dword
    numbers: Annotated[tuple[int, ...] | None, Counted(Byte_, Word_), IfLeft()] = None


@message(0x8801, clause="8.54")
@dataclass(frozen=True, slots=True)
class PhotoCommand:
    """Take photos or a video (摄像头立即拍摄命令)."""

    channel: Byte
    command: Annotated[Word, Meanings({0: "stop", 0xFFFF: "video"})]  # else so many photos
    interval_s: Word
    storage: Annotated[Byte, STORE_OR_UPLOAD]
    resolution: Annotated[Byte, RESOLUTIONS]
    quality: Byte  # 1 least loss, 10 least bytes
    brightness: Byte
    contrast: Byte
    saturation: Byte
    chroma: Byte


@message(0x0805, clause="8.55", since=2013)
@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What came of 0x8801 (摄像头立即拍摄命令应答)."""

    answer_serial: Word
    result: Annotated[Byte, Meanings({0: "ok", 1: "failed", 2: "no such channel"})]
    # Printed at offset 4, really at 5.
    media_ids: Annotated[tuple[int, ...] | None, Counted(Word_, Dword_), equals("result", 0)] = None


@message(0x8802, clause="8.56")
@dataclass(frozen=True, slots=True)
class MediaSearch:
    """Asks what is stored (存储多媒体数据检索). Times of zeros: any."""

    media_type: Annotated[Byte, MEDIA_TYPES]
    channel: Byte  # 0: all
    event: Annotated[Byte, MEDIA_EVENTS]
    start_time: Annotated[str, Bcd(6)]
    end_time: Annotated[str, Bcd(6)]


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """One recording of 0x0802. 2011 gives it no id."""

    media_id: Annotated[int | None, ByVersion({2013: Dword_})]
    media_type: Annotated[Byte, MEDIA_TYPES]
    channel: Byte
    event: Annotated[Byte, MEDIA_EVENTS]
    location: Annotated[Location, Record(Location)]


@message(0x0802, clause="8.57")
@dataclass(frozen=True, slots=True)
class MediaSearchAnswer:
    """What is stored (存储多媒体数据检索应答)."""

    answer_serial: Word
    media: Annotated[
        tuple[StoredMedia, ...],
        ByVersion(
            {
                2011: Counted(Word_, Record(StoredMedia), packet_count=Word_),
                2013: Counted(Word_, Record(StoredMedia)),
            }
        ),
    ]


@message(0x8803, clause="8.58")
@dataclass(frozen=True, slots=True)
class MediaUpload:
    """Upload what is stored (存储多媒体数据上传命令)."""

    media_type: Annotated[Byte, MEDIA_TYPES]
    channel: Byte
    event: Annotated[Byte, MEDIA_EVENTS]
    start_time: Annotated[str, Bcd(6)]
    end_time: Annotated[str, Bcd(6)]
    deletion: Annotated[Byte, KEEP_OR_DELETE]


@message(0x8804, clause="8.59")
@dataclass(frozen=True, slots=True)
class SoundCommand:
    """Record sound (录音开始命令)."""

    command: Annotated[Byte, Meanings({0: "stop", 1: "start"})]
    duration_s: Word  # 0: until stopped
    storage: Annotated[Byte, STORE_OR_UPLOAD]
    rate: Annotated[Byte, SOUND_RATES]


@message(0x8805, clause="8.60", since=2013)
@dataclass(frozen=True, slots=True)
class SingleMediaUpload:
    """Upload one recording (单条存储多媒体数据检索上传命令)."""

    media_id: Dword
    deletion: Annotated[Byte, KEEP_OR_DELETE]
