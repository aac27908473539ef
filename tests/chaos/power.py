"""A disk that loses power: recorded system calls, and every state the files may be found in.

A process runs under strace. Its writes are kept per file until it synchronises them; a power cut
leaves, of what was not synchronised, all, nothing, any part of the writes, or any 512-byte sectors
of them. Names (created, renamed, removed) are kept as a journalling file system keeps them: in
order, and with the next synchronisation of anything. `-shm` files are memory, not disk.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random

SECTOR = 512
_CALLS = (
    "openat,close,pwrite64,write,ftruncate,fdatasync,fsync,unlink,unlinkat,rename,renameat,"
    "renameat2,fallocate,sendto"
)
# strace fills process ids up with blanks, so there may be several.
_LINE = re.compile(r"(\d+) +(<\.\.\. )?(\w+)(?:\(| resumed>)(.*)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_RESULT = re.compile(r"\)\s+= ")  # strings are hexadecimal: nothing else looks like it
_UNFINISHED = " <unfinished ...>"


def traced(command: Sequence[str], trace: Path) -> list[str]:
    """The command, run under strace into a file."""
    options = ["-f", "--seccomp-bpf", "-qq", "-xx", "-s", "400000", "-e", "signal=none"]
    return ["strace", *options, "-e", f"trace={_CALLS}", "-o", str(trace), *command]


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: where it begins to matter is its place in the recording."""

    name: str
    numbers: tuple[int, ...]  # the arguments that are plain numbers
    strings: tuple[bytes, ...]
    result: int


def calls_of(trace: Path) -> Iterator[Call]:
    """Calls in order: those that write when they begin, those that only end when they ended."""
    begun: dict[str, str] = {}
    with trace.open() as lines:
        for line in lines:
            match = _LINE.match(line)
            if not match:
                continue
            thread, is_resumed, name, rest = match.groups()
            rest = rest.rstrip("\n")
            if rest.endswith(_UNFINISHED):
                begun[thread] = rest.removesuffix(_UNFINISHED)
                if name in ("pwrite64", "write", "sendto", "ftruncate"):
                    yield _call(name, begun.pop(thread) + ") = 0")
            elif thread in begun:
                yield _call(name, begun.pop(thread) + rest)
            elif not is_resumed:
                yield _call(name, rest)


def _call(name: str, rest: str) -> Call:
    arguments, result = _RESULT.split(rest, 1) if _RESULT.search(rest) else (rest, "")
    strings = tuple(bytes.fromhex(s.replace("\\x", "")) for s in _STRING.findall(arguments))
    plain = _STRING.sub("", arguments)
    numbers = tuple(int(one) for one in re.findall(r"(?<![\w.])-?\d+(?![\w.])", plain))
    code = re.match(r"-?\d+", result)
    return Call(name, numbers, strings, int(code[0]) if code else -1)


@dataclass(slots=True)
class _File:
    """One file: what is safe, and what was written since. An entry: offset and bytes, or a size."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.safe = _applied(self.safe, self.pending)
        self.pending = []


def _applied(data: bytearray, writes: Sequence[tuple[int, bytes | None]]) -> bytearray:
    data = bytearray(data)
    for at, written in writes:
        if len(data) < at:
            data.extend(bytes(at - len(data)))
        if written is None:
            del data[at:]
        else:
            data[at : at + len(written)] = written
    return data


class Disk:
    """One folder's files as a recording goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fsencode(folder.resolve()) + b"/"
        self._names: dict[bytes, _File] = {}
        self._safe_names: dict[bytes, _File] = {}
        self._pending_names: list[tuple[bytes, _File | None]] = []
        self._open: dict[int, _File] = {}
        self._offsets: dict[int, int] = {}

    def take(self, call: Call) -> bool:
        """Do a call; whether it changed what a power cut would leave."""
        if call.result < 0:
            return False
        match call.name:
            case "openat":
                self._openat(call)
            case "close":
                self._open.pop(call.numbers[0], None)
            case "pwrite64" if call.numbers[0] in self._open:
                self._open[call.numbers[0]].pending.append((call.numbers[-1], call.strings[0]))
                return True
            case "write" if call.numbers[0] in self._open:
                file = call.numbers[0]
                self._open[file].pending.append((self._offsets[file], call.strings[0]))
                self._offsets[file] += len(call.strings[0])
                return True
            case "ftruncate" if call.numbers[0] in self._open:
                self._open[call.numbers[0]].pending.append((call.numbers[1], None))
                return True
            case "fdatasync" | "fsync":
                return self._sync(call.numbers[0])
            case "unlink" | "unlinkat":
                self._rename(call.strings[0], None)
            case "rename" | "renameat" | "renameat2":
                self._rename(*call.strings)
        return False

    def _openat(self, call: Call) -> None:
        path = call.strings[0]
        self._open.pop(call.result, None)
        if path + b"/" == self._folder:
            self._open[call.result] = _File()  # the folder: synchronising it keeps the names
            return
        if not path.startswith(self._folder) or path.endswith(b"-shm"):
            return
        name = path.removeprefix(self._folder)
        if name not in self._names:
            self._names[name] = _File()
            self._pending_names.append((name, self._names[name]))
        self._open[call.result] = self._names[name]
        self._offsets[call.result] = 0

    def _sync(self, file: int) -> bool:
        if file not in self._open:
            return False
        self._open[file].sync()
        for name, named in self._pending_names:
            _name(self._safe_names, name, named)
        self._pending_names = []
        return True

    def _rename(self, old: bytes, new: bytes | None) -> None:
        if not old.startswith(self._folder):
            return
        name = old.removeprefix(self._folder)
        file = self._names.pop(name, None)
        self._pending_names.append((name, None))
        if new is not None and file is not None:
            to = new.removeprefix(self._folder)
            self._names[to] = file
            self._pending_names.append((to, file))

    def after_cut(self, rng: Random) -> dict[str, bytes]:
        """Files as they may be found after a power cut now."""
        names = dict(self._safe_names)
        for name, file in self._pending_names[: rng.randint(0, len(self._pending_names))]:
            _name(names, name, file)
        fate = rng.choice(["all", "none", "subset", "torn"])
        return {
            os.fsdecode(name): bytes(_applied(file.safe, _survivors(file.pending, fate, rng)))
            for name, file in names.items()
        }


def _name(names: dict[bytes, _File], name: bytes, file: _File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _survivors(
    writes: Sequence[tuple[int, bytes | None]], fate: str, rng: Random
) -> list[tuple[int, bytes | None]]:
    match fate:
        case "all":
            return list(writes)
        case "none":
            return []
        case "subset":
            return [write for write in writes if rng.random() < 0.5]
    torn: list[tuple[int, bytes | None]] = []
    for at, data in writes:
        if data is None:
            torn += [(at, None)] * (rng.random() < 0.5)
            continue
        edges = [0, *range(SECTOR - at % SECTOR, len(data), SECTOR), len(data)]
        pieces = pairwise(edges)
        torn += [(at + a, data[a:b]) for a, b in pieces if a < b and rng.random() < 0.5]
    return torn


@dataclass(frozen=True, slots=True)
class Cut:
    """A power cut: the files it left, and what the process had sent by then."""

    files: dict[str, bytes]
    sent: int  # how many of `Recording.sent` were under way or done


class Recording:
    """The calls of one run."""

    def __init__(self, trace: Path, folder: Path) -> None:
        self._calls = list(calls_of(trace))
        self._folder = folder
        # What left the process, by socket or standard output, in order.
        self.sent = [call.strings[0] for call in self._calls if _is_word(call)]

    def cuts(self, rng: Random, count: int) -> Iterator[Cut]:
        """Power cuts at random places, several of them at some."""
        disk = Disk(self._folder)
        probe = Disk(self._folder)
        places = [i for i, call in enumerate(self._calls) if probe.take(call) or _is_word(call)]
        wanted: dict[int, int] = {}
        for place in rng.choices(places, k=count):
            wanted[place] = wanted.get(place, 0) + 1
        sent = 0
        for place, call in enumerate(self._calls):
            disk.take(call)
            sent += _is_word(call)
            for _ in range(wanted.get(place, 0)):
                yield Cut(disk.after_cut(rng), sent)


def _is_word(call: Call) -> bool:
    """Whether a call tells somebody something: standard output, or a frame to a terminal."""
    if call.name not in ("sendto", "write") or not call.strings:
        return False
    return call.numbers[:1] == (1,) or call.strings[0][:1] == b"\x7e"


def run_traced(command: Sequence[str], trace: Path, **options: object) -> None:
    """Run a process that ends by itself under strace; its standard output is in the recording."""
    done = subprocess.run(traced(command, trace), capture_output=True, timeout=120, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-2000:].decode()
