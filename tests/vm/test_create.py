# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new array has: states, bytes on disk, and a bad-block log in the bitmap's way."""
import struct
import subprocess

import pytest

from levels import EACH_LEVEL, EACH_LEVEL_WHOLE, cases, first_sector, wrong_sectors
from support import (AREA_BEGIN, HEADER, Content, Trace, hot_add, on_disk, outcome_is_stored, states,
                     wait_until, write)
from vmtest import DiskOptions
from vmtest.environment import TOP
from vmtest.member import Member

pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="512M"))

MAX_SECTOR = 2 ** 64 - 1
LOG_BEGIN = 24              # member sector of the bad-block log that mdadm 4.6 makes, 8 sectors
LOG_FIRST, LOG_LAST = 3072, 7167    # chunks whose bytes lie there too


def superblock(array, image, chunks, **wanted):
    """The fields of the superblock on one member."""
    bitmap = image.bitmap()
    assert bitmap.version == 6
    assert bitmap.uuid == image.array_uuid.bytes
    assert bitmap.sync_size == array.size() // 512
    assert bitmap.state == 0
    assert bitmap.sectors_reserved == 256
    for field, value in {"chunksize": 128, "daemon_sleep": 30, **wanted}.items():
        assert getattr(bitmap, field) == value, field
    # md may count on, or lower its count, at any moment: the bitmap first, or md's superblock
    wait_until(array.vm, lambda: image.bitmap().events <= Member(image.path).events)
    assert len(bitmap.states()) == chunks
    # mdadm fills the first 4 KiB; what is behind the last chunk is not the kernel's to write
    assert set(bitmap.raw[HEADER + chunks:4096]) <= {0xff}
    assert set(bitmap.raw[max(HEADER + chunks, 4096):]) == {0}
    assert image.super_offset + image.bitmap_offset == AREA_BEGIN


@pytest.mark.parametrize("level, disks", [(1, 2), (1, 3), (10, 4)])
@pytest.mark.parametrize("assume_clean", [True, False])
def test_new_array(vm, level, disks, assume_clean):
    state = "Clean" if assume_clean else "Unwritten"
    with Trace(vm) as trace:
        array = vm.create_array(level=level, disks=disks, assume_clean=assume_clean, size=102400)
        array.wait_sync()
    assert "[llbitmap]" in array.get("bitmap_type")
    chunks = array.metadata()["chunks"]
    assert chunks == array.size() // 65536

    load, = trace.events("load")
    assert (load.level, load.members, load.chunks, load.decision) == (level, disks, chunks,
                                                                      "first use")
    assert trace.changes() == {f"None->{state} Init": chunks}
    for event in trace.events("transition"):
        assert event.flags == ({"ASSUME_CLEAN"} if assume_clean else set())
    assert [event.seq for event in trace.events("transition")] == list(
        range(1, len(trace.events("transition")) + 1))
    # nothing was ever written: nothing to make equal
    assert trace.events("sync", op="start") == []
    assert array.bits()[state.lower()] == chunks == sum(array.bits().values())

    # nobody wrote to the array or stopped it, and all members have the bitmap already
    outcome_is_stored(array)
    for image in array.member_images():
        superblock(array, image, chunks)
        assert image.bitmap().states() == bytes([1 if assume_clean else 0]) * chunks

    # a byte stands where the format says
    last = chunks - 1
    write(vm, array, 0)
    write(vm, array, array.size() // 512 - 8)
    for content in on_disk(array):
        assert (content[0], content[last]) == (2, 2)
        assert set(content[1:last]) == {1 if assume_clean else 0}
    array.stop()
    for image in array.member_images():
        content = image.bitmap().states()
        assert (content[0], content[last]) == (1, 1)
        assert image.resync_offset == MAX_SECTOR
        assert image.bitmap().events == image.events
    array.assemble()


def test_status_is_true(vm):
    """/proc/mdstat and mdadm -D."""
    array = vm.create_array(level=1, disks=2, size=102400)
    text = vm.read("/proc/mdstat")
    assert "[2/2] [UU]" in text and "bitmap: 1/" not in text.replace("bitmap: 1/1 pages", "")
    assert "64KB chunk" in text
    detail = vm.run(["mdadm", "--detail", str(array)]).stdout
    assert "Raid Level : raid1" in detail and "Failed Devices : 0" in detail
    assert "Consistency Policy : bitmap" in detail or "Consistency Policy : llbitmap" in detail


def test_header_and_filler_are_left_alone(vm):
    """What is between the superblock and the first byte, and behind the last one."""
    array = vm.create_array(level=1, disks=2, size=102400)
    before = array.member_images()[0].bitmap().raw
    vm.run(f"fio --name=w --filename={array} --rw=randwrite --bs=64k --size=100M --io_size=20M "
           f"--direct=1 --randseed=3")
    array.flush()
    array.set("llbitmap/mark", "0-9")
    array.wait_sync()
    array.stop()
    for image in array.member_images():
        after = image.bitmap().raw
        chunks = len(image.bitmap().states())
        assert after[256:HEADER] == before[256:HEADER]
        assert after[HEADER + chunks:] == before[HEADER + chunks:]


@EACH_LEVEL
def test_added_to_a_running_array(vm, level, disks):
    """Its chunks are Clean, for there are data: what was written to the members when no bitmap
    told of it is in no volatile cache any more."""
    array = vm.create_array(level=level, disks=disks, bitmap="none", size=102400)
    write(vm, array, 0)
    numbers = {vm.read(f"/sys/block/{str(disk)[5:]}/dev").replace(":", ",")
               for disk in array.members}
    with Trace(vm, "block/block_bio_queue") as trace:
        hot_add(vm, array)
    load, = trace.events("load")
    clean = trace.events("transition", to="Clean")[0]
    assert {event.dev for event in trace.events("block_bio_queue")
            if "F" in event.rwbs and not event.sectors and load.time < event.time < clean.time} \
        == numbers
    assert set(states(array)) == {"Clean"}


@cases("level, disks", long=[(1, 2), (10, 4)])
def test_created_degraded(vm, level, disks):
    """A member that never was: it lacks all that is written, and that is what a new one gets."""
    with Trace(vm) as trace:
        array = vm.create_array(level=level, disks=disks, size=20480, assume_clean=False,
                                members=[*vm.disks[:disks - 1], "missing"])
    load, = trace.events("load")
    assert (load.decision, load.degraded) == ("first use", 1)
    content = Content(array, mib=1)
    content.write(array.size() // 512 - 8)
    last = array.metadata()["chunks"] - 1
    written = [*range(16), last]
    assert [chunk for chunk, state in enumerate(states(array)) if state == "NeedSync"] == written
    assert array.bits()["unwritten"] == last + 1 - len(written)
    # assembled without it as well: what others have both copies of is synced already then
    array.stop()
    with Trace(vm) as trace:
        array.assemble(extra=["--run"])
        array.readwrite()
        assert array.degraded() == 1 and content.wrong() == []
        array.add(vm.disks[disks - 1])
        wait_until(vm, lambda: array.degraded() == 0)
        array.wait_in_sync()
        array.wait_sync()
    assert trace.chunks("Endsync") == written
    array.flush()
    assert array.bits()["clean"] == len(written)
    assert array.unequal() == []
    assert content.wrong() == []


# -- the bad-block log inside the area ------------------------------------------------------------

def log_entries(disk):
    """The log as it stands on the disk, without the free entries."""
    raw = disk.read(LOG_BEGIN, 8)
    return [entry for entry, in struct.iter_unpack("<Q", raw) if entry != 2 ** 64 - 1]


def takes_no_bad_block(array, disk):
    """One that somebody tells by hand has no place."""
    name = f"dev-{str(disk)[5:]}/bad_blocks"
    array.set(name, "1000 8", check=False)
    return array.get(name) == ""


@EACH_LEVEL_WHOLE
def test_empty_bad_block_log_is_switched_off(vm, level, disks):
    mark = vm.log.size()
    array = vm.create_array(level=level, disks=disks)
    assert array.metadata()["chunks"] > LOG_FIRST + 500
    image = array.member_images()[0]
    assert image.super_offset + image.bad_block_offset == LOG_BEGIN, "mdadm places it elsewhere"
    assert vm.dmesg(mark).count("bad-block log lies in the bitmap's area and is empty") == disks

    # bytes there are states and no bad blocks
    outcome_is_stored(array)        # first_sector() looks at the bitmap on disk
    chunk = LOG_FIRST + 400
    sector = first_sector(array, chunk)
    write(vm, array, sector)
    for content in on_disk(array):
        assert content[chunk] == 2
    array.stop()
    array.assemble()
    assert states(array, chunk - 1, 3) == ["Clean"] * 3
    for disk in array.members:
        assert array.get(f"dev-{str(disk)[5:]}/bad_blocks") == ""
    # md must not write its log over the states
    assert takes_no_bad_block(array, vm.disks[0])
    array.fail(vm.disks[1])
    write(vm, array, sector + 8)
    array.stop()
    assert vm.disks[0].read(LOG_BEGIN, 8)[chunk - LOG_FIRST] in (2, 3)
    assert 0xff not in array.member_images()[0].bitmap().states()
    array.assemble()

    # a member that is added has one too
    mark = vm.log.size()
    new = vm.disks[disks]
    array.add(new)
    array.wait_sync()
    assert array.degraded() == 0
    assert wrong_sectors(array) == []
    added, = [image for image in array.member_images() if image.path == new.path]
    # mdadm --add places it elsewhere, or not at all
    log = added.super_offset + added.bad_block_offset
    if added.bad_block_offset and AREA_BEGIN <= log < AREA_BEGIN + 256:
        assert "bad-block log lies in the bitmap's area and is empty" in vm.dmesg(mark)


@EACH_LEVEL_WHOLE
def test_bad_block_log_in_use_is_kept(vm, level, disks):
    """Made with no bitmap, bad blocks found, and only then a bitmap."""
    array = vm.create_array(level=level, disks=disks, bitmap="none")
    first = vm.disks[0]
    # where nobody reads: with parity md writes there what it computes, and no block is bad any more
    array.set(f"dev-{str(first)[5:]}/bad_blocks", "204800 8")
    write(vm, array, 0)         # md writes the log with its superblock
    array.stop()
    log = log_entries(first)
    assert len(log) == 1, "the log does not hold what was told"
    array.assemble()
    array.readwrite()
    array.wait_sync()

    mark = vm.log.size()
    hot_add(vm, array)
    array.wait_sync()
    assert "bad-block log" in vm.dmesg(mark)
    array.stop()
    assert log_entries(first) == log, "the bitmap was written over the bad-block log"
    array.assemble()
    array.wait_sync()
    assert log_entries(first) == log
    assert array.get(f"dev-{str(first)[5:]}/bad_blocks") == "204800 8"
    # a write there is seen to be safe without its byte
    write(vm, array, first_sector(array, LOG_FIRST + 400))
    array.flush()
    array.stop()
    assert log_entries(first) == log
    array.assemble()


# -- the mdadm that README offers to whoever has an older one ---------------------------------------

@pytest.fixture
def built_mdadm(vm):
    """Built with the compiler and libraries of the machine that the tests run on, and what the
    word mdadm means in the guest."""
    subprocess.run(["make", "-s", "-C", TOP, "mdadm"], check=True)
    vm.run("mkdir -p /usr/local/sbin; ln -s /mnt/build/sbin/mdadm /usr/local/sbin/mdadm")
    yield
    vm.run("rm /usr/local/sbin/mdadm")


def test_make_mdadm(vm, built_mdadm):
    # it runs where it was built, which a program of a newer Debian need not
    own = subprocess.run([TOP / "build/sbin/mdadm", "--version"], check=True, capture_output=True,
                         text=True).stderr
    assert vm.run("command -v mdadm; mdadm --version").stdout == "/usr/local/sbin/mdadm\n"
    assert vm.run("mdadm --version").stderr == own
    array = vm.create_array(level=10, disks=4, assume_clean=False, size=102400)
    write(vm, array, 0)
    assert states(array)[:2] == ["Dirty", "Unwritten"]
    array.stop()
    assert {image.bitmap().version for image in array.member_images()} == {6}
    array.assemble()
    assert "[llbitmap]" in array.get("bitmap_type")
    assert states(array)[:2] == ["Clean", "Unwritten"]
