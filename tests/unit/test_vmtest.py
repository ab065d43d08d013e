# SPDX-License-Identifier: GPL-2.0-or-later
"""Those parts of the VM harness that need no VM."""
import os
import struct
import subprocess

import pytest

from vmtest import kernel_log, logwrites
from vmtest.disks import parse_size
from vmtest.environment import TOP, forget_unused
from vmtest.geometry import Layout
from vmtest.judge import Watch
from vmtest.qemu import accelerator_options, placement

# -- logs of writes -------------------------------------------------------------------------------

def write_log(path, entries, sector_size=512, count=None):
    """entries: (sector, sectors, flags, data), sectors in units of sector_size."""
    def pad(data):
        return data + bytes(-len(data) % sector_size)

    count = len(entries) if count is None else count
    raw = pad(struct.pack("<QQQI", 0x6a736677736872, 1, count, sector_size))
    for sector, sectors, flags, data in entries:
        mark = data if flags & logwrites.MARK else b""
        raw += pad(struct.pack("<QQQQ", sector, sectors, flags, len(mark)) + mark)
        raw += b"" if mark else data
    path.write_bytes(raw)
    return path


ENTRIES = [
    (8, 1, 0, b"a" * 512),
    (0, 0, logwrites.FLUSH, b""),
    (9, 2, logwrites.FUA, b"b" * 512 + b"c" * 512),
    (0, 0, logwrites.MARK, b"here"),
    (9, 1, logwrites.DISCARD, b""),
]


def test_log_entries(tmp_path):
    with logwrites.LogWrites(write_log(tmp_path / "log", ENTRIES)) as log:
        found = list(log)
        assert [(e.sector, e.sectors, e.flags) for e in found] == [e[:3] for e in ENTRIES]
        assert [log.data(e) for e in found] == [e[3] for e in ENTRIES]
        assert [e.is_write() for e in found] == [True, False, True, False, False]


def test_log_with_large_sectors_counts_in_512_bytes(tmp_path):
    path = write_log(tmp_path / "log", [(2, 1, 0, b"x" * 4096), (3, 1, 4, b"")], sector_size=4096)
    with logwrites.LogWrites(path) as log:
        assert [(e.sector, e.sectors) for e in log] == [(16, 8), (24, 8)]


def test_log_applied_gives_the_disk(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(bytes(16 * 512))
    with logwrites.LogWrites(write_log(tmp_path / "log", ENTRIES)) as log, \
            open(image, "r+b") as target:
        for entry in log:
            log.apply(entry, target.fileno())
    expected = bytes(8 * 512) + b"a" * 512 + bytes(512) + b"c" * 512 + bytes(5 * 512)
    assert image.read_bytes() == expected


@pytest.mark.parametrize("damage, message", [
    (lambda raw: b"", "too short"),
    (lambda raw: b"x" + raw[1:], "no log of writes"),
    (lambda raw: raw[:24] + b"\7" + raw[25:], "sector size"),
    (lambda raw: raw[:512 * 2], "data of entry 0 is cut off"),
    (lambda raw: raw[:512 * 3], "entry 1 is cut off"),
])
def test_damaged_log(tmp_path, damage, message):
    path = write_log(tmp_path / "log", ENTRIES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        list(logwrites.LogWrites(path))


# -- kernel log -----------------------------------------------------------------------------------

@pytest.mark.parametrize("line", [
    "WARNING: CPU: 0 PID: 1 at drivers/md/md.c:1 md_stop+0x1/0x2 [md_mod]",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "kernel BUG at drivers/md/raid1.c:1!",
    "Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "INFO: task md0_raid1:77 blocked for more than 120 seconds.",
    "WARNING: possible recursive locking detected",
    "Oops: general protection fault, probably for non-canonical address",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 26s!",
    "BUG: KASAN: slab-use-after-free in llbitmap_timer",
    "refcount_t: underflow; use-after-free.",
])
def test_trouble_is_seen(line):
    text = f"[1.0] md0: stopped\n[2.0] {line}\n[3.0] after\n"
    assert kernel_log.find_trouble(text).splitlines()[0].endswith(line)
    assert "after" in kernel_log.find_trouble(text)
    assert not kernel_log.find_trouble(text, [line[:12]])


@pytest.mark.parametrize("line", [
    "md/raid1:md0: Disk failure on vdb, disabling device.",
    "md_mod: loading out-of-tree module taints kernel.",
    "md0: detected capacity change from 0 to 129024",
    "workqueue: blk_mq_run_work_fn hogged CPU for >10000us 4 times",
    "debugfs: mounted",
])
def test_ordinary_lines_are_no_trouble(line):
    assert not kernel_log.find_trouble(f"[1.0] {line}\n")


def test_expected_warning_excuses_its_trace_and_nothing_else():
    text = ("[1.0] WARNING: CPU: 0 at a.c\n[1.0] Call Trace:\n[1.0] ---[ end trace 0 ]---\n"
            "[2.0] WARNING: CPU: 0 at b.c\n[2.0] Call Trace:\n")
    assert "b.c" in kernel_log.find_trouble(text, [r"at a\.c"])
    assert not kernel_log.find_trouble(text, [r"at a\.c", r"at b\.c"])
    assert kernel_log.missing(text, [r"at a\.c", r"at c\.c"]) == [r"at c\.c"]


KCSAN = """[ 1.0] before
[ 2.0] ==================================================================
[ 2.0] BUG: KCSAN: data-race in first [md_mod] / second [raid1]
[ 2.1] write to 0xffff1234 of 8 bytes by task 7 on cpu 0:
[ 2.1]  first+0x1/0x2 [md_mod]
[ 2.1]  kthread+0x1/0x2
[ 2.1] read to 0xffff1234 of 8 bytes by task 8 on cpu 1:
[ 2.1]  second+0x1/0x2 [raid1]
[ 2.1] Call Trace:
[ 2.2] ==================================================================
[ 3.0] after
"""
RACE = "write 8 first", "read 8 second", "it is counted roughly"


@pytest.fixture
def explain(tmp_path, monkeypatch):
    """Races that are explained from now on: (one side, other side, why)."""
    def explain(*rows):
        path = tmp_path / f"known-{len(list(tmp_path.iterdir()))}.tsv"
        path.write_text("# a comment\n" + "".join("\t".join(row) + "\n" for row in rows))
        monkeypatch.setenv("LLBITMAP_KNOWN", str(path))
    return explain


def test_explained_reports_of_a_sanitizer(explain, monkeypatch):
    explain(("write 8 first", "read 8 third", "no"), RACE)
    assert not kernel_log.find_trouble(KCSAN)
    assert "WARNING" in kernel_log.find_trouble(KCSAN + "[ 4.0] WARNING: at a.c\n")
    # the second report, not the first
    assert "third" in kernel_log.find_trouble(KCSAN + KCSAN.replace("first", "third")).splitlines()[0]
    assert kernel_log.find_trouble(KCSAN.replace("of 8", "of 1") + KCSAN)
    assert kernel_log.find_trouble(KCSAN.replace("KCSAN: data-race", "KASAN: use-after-free"))
    monkeypatch.delenv("LLBITMAP_KNOWN")
    assert "KCSAN" in kernel_log.find_trouble(KCSAN)


def test_an_explained_report_hides_nothing_that_another_cpu_says_meanwhile(explain):
    explain(RACE)
    before, rule, after = KCSAN.rpartition("[ 2.2]")
    for line in ("WARNING: CPU: 1 at a.c", "BUG: KASAN: use-after-free in b", "list_add corruption."):
        assert line in kernel_log.find_trouble(f"{before}[ 2.15] {line}\n{rule}{after}")
    assert "a.c" in kernel_log.find_trouble(f"{before}[ 2.15] WARNING: at a.c\n")   # it ends there
    # its own stack
    frame = "[ 2.15]  kcsan_setup_watchpoint+0x18f/0x3d0\n[ 2.15]  ? kcsan_a.part.0+0x1/0x2 [md_mod]\n"
    assert not kernel_log.find_trouble(f"{before}{frame}{rule}{after}")


class Watched:
    """A VM of which nothing else is wrong."""
    log = kernel_log.KernelLog("/nowhere")
    healthy = True

    def __init__(self, error=None):
        self.error = error

    def usable(self):
        return True

    def clean_up(self):
        pass

    def dmesg(self, _):
        return ""

    def check_watching(self):
        if self.error:
            raise self.error


def test_a_debug_kernel_must_still_watch_in_the_end():
    assert Watch(Watched()).finish([]) == ""
    asleep = Watched(AssertionError("debug_locks: 0"))
    assert "no longer watches: debug_locks: 0" in Watch(asleep).finish([])
    assert not asleep.healthy


# -- geometry -------------------------------------------------------------------------------------

def test_near_copies_are_side_by_side():
    layout = Layout(disks=4, size=4096, chunk=128, near=2)
    assert layout.sectors == 8192
    assert layout.copies(0) == [(0, 0), (1, 0)]
    assert layout.copies(128 + 5) == [(2, 5), (3, 5)]
    assert layout.copies(256) == [(0, 128), (1, 128)]


def test_near_copies_wrap_around_an_odd_number_of_disks():
    layout = Layout(disks=3, size=4096, chunk=128, near=2)
    assert layout.copies(128) == [(2, 0), (0, 128)]


def test_far_copies_are_in_the_second_half():
    layout = Layout(disks=2, size=4096, chunk=128, far=2)
    assert layout.copies(0) == [(0, 0), (1, 2048)]
    assert layout.copies(128) == [(1, 0), (0, 2048)]


def test_unequal_reports_runs():
    class Side:
        def __init__(self, role, data):
            self.role = role
            self.bytes = data

        def active(self):
            return self.role < 3

        def data(self, sector, sectors):
            return self.bytes[sector * 512:(sector + sectors) * 512]

    zero = bytes(300 * 512)
    changed = bytearray(zero)
    for sector in (5, 6, 127, 128, 299):
        changed[sector * 512 + 100] = 1
    layout = Layout(disks=2, size=300, chunk=0)
    sides = [Side(0, zero), Side(1, bytes(changed)), Side(0xffff, b"\1" * 300 * 512)]
    assert layout.unequal(sides) == [(5, 6), (127, 128), (299, 299)]
    assert layout.unequal(sides, 6, 127) == [(6, 6), (127, 127)]


@pytest.mark.parametrize("text, size", [("512", 512), (1024, 1024), ("64M", 64 << 20),
                                        ("2G", 2 << 30)])
def test_parse_size(text, size):
    assert parse_size(text) == size
    with pytest.raises(ValueError):
        parse_size(f"{text}x")


def test_disk_files_are_sparse(tmp_path):
    from vmtest.disks import Disk, DiskOptions
    disk = Disk(0, tmp_path, DiskOptions(size="1G"))
    disk.create()
    assert disk.path.stat().st_size == 1 << 30
    assert disk.path.stat().st_blocks < 100
    assert os.stat(disk.snapshot(tmp_path / "copy")).st_blocks < 100


def test_the_cache_forgets_what_was_not_used(tmp_path):
    old, new = tmp_path / "modules-old", tmp_path / "modules-new"
    for tree in (old, new):
        (tree / "updates").mkdir(parents=True)
    os.utime(old, (0, 0))
    forget_unused([old, new, tmp_path / "modules-gone"])
    assert (old.exists(), new.exists()) == (False, True)


# -- QEMU -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("accelerator, icount, cpus, version, pinned", [
    ("tcg", False, 2, (7, 2), True), ("tcg", True, 1, (10, 0), True), ("tcg", False, 1, (10, 0), True),
    ("tcg", False, 2, (8, 1), False), ("kvm", False, 1, (7, 2), False)])
def test_emulation_without_barriers_gets_one_cpu(accelerator, icount, cpus, version, pinned):
    before = placement(accelerator_options(accelerator, icount, cpus, version), cpus)
    assert bool(before) is pinned
    if pinned:
        cpu, = subprocess.run([*before, "nproc"], capture_output=True, check=True, text=True
                              ).stdout.split()
        assert cpu == "1"
