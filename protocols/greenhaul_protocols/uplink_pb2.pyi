from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Block(_message.Message):
    __slots__ = ("format", "gateway", "epoch", "lane", "first", "count", "boot", "monotonic_ms", "wall_ms", "wall_quality", "asks_receipt", "crc", "body")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_MS_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    WALL_QUALITY_FIELD_NUMBER: _ClassVar[int]
    ASKS_RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    format: int
    gateway: str
    epoch: int
    lane: int
    first: int
    count: int
    boot: int
    monotonic_ms: int
    wall_ms: int
    wall_quality: int
    asks_receipt: bool
    crc: int
    body: bytes
    def __init__(self, format: _Optional[int] = ..., gateway: _Optional[str] = ..., epoch: _Optional[int] = ..., lane: _Optional[int] = ..., first: _Optional[int] = ..., count: _Optional[int] = ..., boot: _Optional[int] = ..., monotonic_ms: _Optional[int] = ..., wall_ms: _Optional[int] = ..., wall_quality: _Optional[int] = ..., asks_receipt: bool = ..., crc: _Optional[int] = ..., body: _Optional[bytes] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("sources", "series")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedScalarFieldContainer[str]
    series: _containers.RepeatedCompositeFieldContainer[Series]
    def __init__(self, sources: _Optional[_Iterable[str]] = ..., series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("source", "kind", "number", "device_time_ms", "time_quality", "columns", "flags", "received_time_ms")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    TIME_QUALITY_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    source: int
    kind: int
    number: _containers.RepeatedScalarFieldContainer[int]
    device_time_ms: _containers.RepeatedScalarFieldContainer[int]
    time_quality: _containers.RepeatedScalarFieldContainer[int]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    flags: int
    received_time_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, source: _Optional[int] = ..., kind: _Optional[int] = ..., number: _Optional[_Iterable[int]] = ..., device_time_ms: _Optional[_Iterable[int]] = ..., time_quality: _Optional[_Iterable[int]] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., flags: _Optional[int] = ..., received_time_ms: _Optional[_Iterable[int]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("field", "present", "values", "blobs")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    field: int
    present: bytes
    values: _containers.RepeatedScalarFieldContainer[int]
    blobs: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, field: _Optional[int] = ..., present: _Optional[bytes] = ..., values: _Optional[_Iterable[int]] = ..., blobs: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("gateway", "epoch", "store_id", "revision", "lanes", "server_time_ms", "hello_ms", "block_format")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    HELLO_MS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FORMAT_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    epoch: int
    store_id: int
    revision: int
    lanes: _containers.RepeatedCompositeFieldContainer[LaneState]
    server_time_ms: int
    hello_ms: int
    block_format: int
    def __init__(self, gateway: _Optional[str] = ..., epoch: _Optional[int] = ..., store_id: _Optional[int] = ..., revision: _Optional[int] = ..., lanes: _Optional[_Iterable[_Union[LaneState, _Mapping]]] = ..., server_time_ms: _Optional[int] = ..., hello_ms: _Optional[int] = ..., block_format: _Optional[int] = ...) -> None: ...

class LaneState(_message.Message):
    __slots__ = ("lane", "settled", "refused", "stored", "duplicate", "quarantined", "dropped", "through")
    LANE_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    lane: int
    settled: _containers.RepeatedCompositeFieldContainer[Range]
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    stored: int
    duplicate: int
    quarantined: int
    dropped: int
    through: int
    def __init__(self, lane: _Optional[int] = ..., settled: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ..., stored: _Optional[int] = ..., duplicate: _Optional[int] = ..., quarantined: _Optional[int] = ..., dropped: _Optional[int] = ..., through: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("range", "reason")
    RANGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    range: Range
    reason: str
    def __init__(self, range: _Optional[_Union[Range, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
