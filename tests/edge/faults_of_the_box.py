"""Faults of a gateway itself, to be named by the doctor: settings, clock, agent, disk, outbox."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.edge.doctor_box import Box, Plant

from greenhaul_edge.clock import Clock


def plant_key(box: Box) -> None:
    box.uplink["prot"] = 1


def plant_syntax(box: Box) -> None:
    box.gateway["id"] = "no good id"


def plant_zone(box: Box) -> None:
    box.gateway["timezone"] = "Asia/Nowhere"


def plant_no_sources(box: Box) -> None:
    box.sources.clear()


def plant_refused_reload(box: Box) -> None:
    box.run(configuration={"loaded_at": "2100-01-01T00:00:00Z", "fault": "edge.toml: no"})


def plant_stale_configuration(box: Box) -> None:
    box.run(configuration={"loaded_at": "2020-01-01T00:00:00Z", "fault": ""})


def plant_loose_password(box: Box) -> None:
    box.password.chmod(0o644)


def plant_1970(box: Box) -> None:
    box.clock = Clock(read_system_ms=lambda: 86_400_000)


def plant_2046(box: Box) -> None:
    box.clock = Clock(read_system_ms=lambda: 2_400_000_000_000)


def plant_nobody_tells_time(box: Box) -> None:
    box.clock = Clock(read_is_synchronised=lambda: False)


def plant_slow_answers(box: Box) -> None:
    box.run(clock="unset", clock_error_ms=4_300)


def plant_silence(box: Box) -> None:
    box.run(at="2026-01-01T00:00:00Z")


def plant_hung_stage(box: Box) -> None:
    box.run(idle_ms={"outbox": 45_000})


def plant_no_files(box: Box) -> None:
    box.sources["t"]["connections_max"] = 100_000


def plant_folder_of_others(box: Box) -> None:
    (box.folder / "outbox").chmod(0o755)


def plant_folder_missing(box: Box) -> None:
    box.outbox["path"] = "/proc/1/outbox"


def plant_tmpfs(box: Box) -> None:
    box.outbox["path"] = "/dev/shm/gh-doctor"


def plant_read_only(box: Box) -> None:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    read_only = [one.split()[1] for one in lines if "ro" in one.split()[3].split(",")]
    box.outbox["path"] = f"{(read_only or ['/sys'])[0]}/gh-doctor"


def plant_small_disk(box: Box) -> None:
    box.outbox["size_max_mb"] = 1 << 20


def plant_wear(box: Box) -> None:
    box.run(written_bytes_a_day=20 << 30)


def plant_other_owner(box: Box) -> None:
    box.fill(gateway="gw-b")


def plant_damage(box: Box) -> None:
    box.fill(2_000)
    with box.file.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xaa" * 40_960)


def plant_no_database(box: Box) -> None:
    box.file.write_bytes(b"this is no database at all, but a text" * 200)


def plant_imbalance(box: Box) -> None:
    box.fill()
    with closing(sqlite3.connect(box.file)) as connection:
        connection.execute("UPDATE lane SET stored = 3")
        connection.commit()


def plant_full(box: Box) -> None:
    box.outbox["size_max_mb"] = 4
    box.fill(11_000)


def plant_aside(box: Box) -> None:
    box.file.with_name("outbox.sqlite.damaged-17").write_bytes(b"")


# What is planted, and the check that must name it.
FAULTS: list[tuple[Plant, str]] = [
    (plant_key, "configuration"),
    (plant_syntax, "configuration"),
    (plant_zone, "time-zone"),
    (plant_no_sources, "sources"),
    (plant_refused_reload, "configuration-running"),
    (plant_stale_configuration, "configuration-running"),
    (plant_loose_password, "secrets"),
    (plant_1970, "clock-date"),
    (plant_2046, "clock-date"),
    (plant_nobody_tells_time, "clock-kept"),
    (plant_slow_answers, "clock-kept"),
    (plant_silence, "agent"),
    (plant_hung_stage, "agent-stages"),
    (plant_no_files, "open-files"),
    (plant_folder_of_others, "outbox-folder"),
    (plant_folder_missing, "outbox-folder"),
    (plant_tmpfs, "disk-mount"),
    (plant_read_only, "disk-mount"),
    (plant_small_disk, "disk-room"),
    (plant_wear, "disk-wear"),
    (plant_other_owner, "outbox-owner"),
    (plant_damage, "outbox-verified"),
    (plant_no_database, "outbox-verified"),
    (plant_imbalance, "outbox-account"),
    (plant_full, "outbox-full"),
    (plant_aside, "outbox-damaged"),
]
