"""Checks of the outbox and the disk under it."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Remark, well, worth_knowing, wrong
from greenhaul_edge.outbox.asides import asides, size_of
from greenhaul_edge.outbox.schema import open_to_read
from greenhaul_edge.status import days_left

# Kinds of file system that forget, or that do not keep the promises SQLite builds on.
_FORGETFUL = {"tmpfs", "ramfs", "overlay"}
_UNRELIABLE = {"nfs", "nfs4", "cifs", "smb3", "9p", "vfat", "exfat", "fuse.sshfs"}
_INODES_MIN = 100
# A card that needs longer for one sync cannot keep up with terminals.
_SYNC_MS_MAX = 200
_SYNCS = 5
# Cheap flash bears some 3,000 times its size; 2 GB a day wear 8 GB out in 30 years, 20 GB in 3.
_WRITTEN_A_DAY_MAX = 5 << 30
_EMMC_LIFE_BAD = 9  # of 11, in tenths (JEDEC 84-B50, DEVICE_LIFE_TIME_EST)


def check_folder(patient: Patient) -> Iterator[Remark]:
    """The outbox's folder can be written."""
    folder = patient.good.outbox.path
    there = _nearest(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield well(f"{folder} can be written")
    else:
        yield wrong(
            f"{there} cannot be written by uid {os.geteuid()}",
            f"chown it to the agent's user, or set outbox.path; now it is {folder}",
        )


def check_mount(patient: Patient) -> Iterator[Remark]:
    """The disk is not read-only, and of a kind that keeps what it is told to keep."""
    point, kind, options = mount_of(patient.good.outbox.path)
    if "ro" in options.split(","):
        yield wrong(
            f"{point} is mounted read-only",
            "after errors the kernel does that: see dmesg, check the card with fsck, replace it",
        )
    if kind in _FORGETFUL:
        yield wrong(
            f"{point} is a {kind}: the outbox is gone when the power is",
            "set outbox.path to a folder on a disk",
        )
    elif kind in _UNRELIABLE:
        yield worth_knowing(
            f"{point} is a {kind}, which does not keep SQLite's promises",
            "set outbox.path to a folder on ext4 or another file system of Linux",
        )
    else:
        yield well(f"{point} is a {kind}")


def check_room(patient: Patient) -> Iterator[Remark]:
    """The disk has room for all the outbox may hold, and for files at all."""
    folder, size_max = patient.good.outbox.path, patient.good.outbox.size_max_mb << 20
    there = _nearest(folder)
    disk = os.statvfs(there)
    used = patient.good.outbox_file.stat().st_size if patient.good.outbox_file.exists() else 0
    free = disk.f_bavail * disk.f_frsize
    if free < 16 << 20:
        yield wrong(f"{free >> 20} MB left on the disk", "make room; see `du -x` of that disk")
    elif free + used < size_max:
        yield worth_knowing(
            f"outbox.size_max_mb is {size_max >> 20}, the disk has {(free + used) >> 20} for it",
            "lower it to what there is: then the agent knows in time that it is full",
        )
    else:
        yield well(f"{free >> 20} MB free")
    if disk.f_files and disk.f_favail < _INODES_MIN:
        yield wrong(f"{disk.f_favail} files left on the disk", "delete small files there")


def check_owner(patient: Patient) -> Iterator[Remark]:
    """The outbox is this gateway's."""
    owner = patient.outbox.gateway if patient.outbox else ""
    if owner and owner != patient.good.gateway.id:
        yield wrong(
            f"the outbox belongs to gateway {owner!r}, the configuration says "
            f"{patient.good.gateway.id!r}",
            "give this gateway a folder of its own, or its old id back",
        )


def check_file(patient: Patient) -> Iterator[Remark]:
    """The outbox can be read, and SQLite finds nothing wrong with it."""
    path = patient.good.outbox_file
    if not path.exists():
        yield well("no outbox yet: the first run makes it")
        return
    try:
        with closing(open_to_read(path)) as connection:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            vacuum = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
    except sqlite3.Error as error:
        said, vacuum = str(error), 2
    if said != "ok":
        yield wrong(
            f"the outbox is damaged: {said}",
            "`greenhaul-edge outbox repair`, or start the agent: it puts the file aside, salvages "
            "it and goes on",
        )
    elif vacuum != 2:
        yield wrong("the file never shrinks", "it was not made by this program: move it away")
    else:
        yield well("the outbox was verified")


def check_balance(patient: Patient) -> Iterator[Remark]:
    """appended = stored + duplicate + quarantined + dropped + waiting."""
    status = patient.outbox
    if status is None:
        if patient.good.outbox_file.exists():
            yield wrong(
                f"the outbox's account cannot be read: {patient.outbox_fault}",
                "start the agent: it puts the file aside, salvages it and goes on",
            )
        return
    if not status.is_balanced:
        yield wrong(
            "the account of the outbox does not balance",
            "`greenhaul-edge status --proof` shows the lane; please report it, with the file",
        )
    else:
        yield well("the account of the outbox balances")
    dropped = sum(lane.dropped for lane in status.epochs[0].lanes)
    if dropped:
        yield worth_knowing(
            f"{dropped} readings were given up, each named by a record in the cloud",
            "see why in the cloud's list of dropped readings: disk full, too old, damaged?",
        )


def check_fullness(patient: Patient) -> Iterator[Remark]:
    """The outbox has room for days."""
    status = patient.outbox
    if status is None:
        return
    size_max = patient.good.outbox.size_max_mb << 20
    days = days_left(status, size_max)
    if status.waiting_bytes >= size_max * 9 // 10:
        yield wrong(
            f"the outbox is full: {status.waiting_bytes >> 20} of {size_max >> 20} MB wait",
            "terminals are held back and GNSS and CAN evicted: mend the way to the cloud, or raise "
            "outbox.size_max_mb",
        )
    elif days is not None and days < 1:
        yield worth_knowing(
            f"full in {days * 24:.0f} hours at today's rate",
            "mend the way to the cloud, or raise outbox.size_max_mb",
        )
    else:
        yield well("full in " + ("more than ten years" if days is None else f"{days:.0f} days"))


def check_damaged(patient: Patient) -> Iterator[Remark]:
    """No file lies aside that nobody looked at."""
    path = patient.good.outbox_file
    aside, waiting = asides(path), asides(path, "damaged")
    if not aside:
        return
    said = (
        f"{len(aside)} damaged files were put aside, {size_of(aside) >> 10} kB, part of the bound"
    )
    if waiting:
        advice = f"{len(waiting)} wait to be salvaged: start the agent, or `outbox repair`"
    else:
        advice = "all are salvaged; delete them when you have looked (`outbox export --file`)"
    yield worth_knowing(said, f"{advice}; the card may be dying: see dmesg")


def check_speed(patient: Patient) -> Iterator[Remark]:
    """The disk syncs in reasonable time."""
    folder = patient.good.outbox.path
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return
    probe, slowest_ms = folder / ".doctor", 0.0
    try:
        with probe.open("wb", buffering=0) as file:
            for _ in range(_SYNCS):
                began = time.monotonic()
                file.write(bytes(4096))
                os.fdatasync(file.fileno())
                slowest_ms = max(slowest_ms, (time.monotonic() - began) * 1000)
    except OSError as error:
        yield wrong(f"a file cannot be written: {error}", "see dmesg; check or replace the disk")
        return
    finally:
        probe.unlink(missing_ok=True)
    if slowest_ms > _SYNC_MS_MAX:
        yield worth_knowing(
            f"a sync took {slowest_ms:.0f} ms",
            "terminals wait so long for their answer: use an industrial card, or an SSD",
        )
    else:
        yield well(f"a sync takes {slowest_ms:.1f} ms at most")


def check_wear(patient: Patient) -> Iterator[Remark]:
    """The flash is not worn out, and not being worn out."""
    for path in sorted(Path("/sys/block").glob("*/device/life_time")):
        worst = max(int(part, 16) for part in path.read_text().split())
        if worst >= _EMMC_LIFE_BAD:
            yield wrong(
                f"{path.parts[3]} is worn out by its own count ({worst} of 11)", "replace it"
            )
    written = (patient.running or {}).get("written_bytes_a_day")
    if written is not None and written > _WRITTEN_A_DAY_MAX:
        yield worth_knowing(
            f"the agent writes {written >> 20} MB a day",
            "raise outbox.commit_window_s, or the cadence_s of sources",
        )
    elif written is not None:
        yield well(f"the agent writes {written >> 20} MB a day")


def _nearest(folder: Path) -> Path:
    """The folder, or what of its path exists and can be looked at."""
    for one in (folder, *folder.parents):
        with suppress(PermissionError):
            if one.exists():
                return one
    return Path("/")


def mount_of(path: Path) -> tuple[str, str, str]:
    """Mount point, kind and options of the file system a path lies on."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounts = [line.split()[1:4] for line in lines]
    real = str(path.resolve())
    fitting = [one for one in mounts if real == one[0] or real.startswith(one[0].rstrip("/") + "/")]
    # Of two mounts at one point the later one is seen.
    point, kind, options = max(reversed(fitting), key=lambda one: len(one[0]))
    return point, kind, options
