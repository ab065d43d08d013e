# SPDX-License-Identifier: GPL-2.0-or-later
"""Stop, power cut, assembly: what is believed of the bitmap on disk, and what is synced."""
import hashlib
import re
import struct

import pytest

from levels import (EACH_LEVEL, EACH_LEVEL_WHOLE, cases, first_sector, make_unequal, width,
                    wrong_on, wrong_sectors)
from support import (HEADER, Trace, errno_of, member_writes, on_disk, outcome_is_stored, reboot,
                     states, wait_until, write)
from vmtest import DiskOptions

CHUNK = 128
pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="96M"))
LEVELS = cases("level, disks", (1, 2), long=[(10, 4)])


def area(image):
    """Byte offset of the bitmap area in the member's file."""
    return (image.super_offset + image.bitmap_offset) * 512


def forge(vm, array, offset, data, members=None):
    """Bytes of the bitmap area, on all members; the array is stopped."""
    for image in array.member_images():
        if members and image.path not in {member.path for member in members}:
            continue
        with open(image.path, "r+b") as file:
            file.seek(area(image) + offset)
            file.write(data)
    forget(vm, array)


def forget(vm, array):
    """What the guest has of the members in its page cache."""
    members = " ".join(map(str, array.members))
    vm.run(f"for d in {members}; do blockdev --flushbufs $d; done; echo 3 > /proc/sys/vm/drop_caches")


def images_hash(array):
    return [hashlib.sha256(disk.path.read_bytes()).hexdigest() for disk in array.members]


@LEVELS
def test_clean_stop(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, assume_clean=False)
    array.wait_sync()
    for chunk in (0, 17, 18, 300):
        write(vm, array, chunk * CHUNK)
    array.stop()
    with Trace(vm) as trace:
        array.assemble()
        array.wait_sync()
    assert trace.events("load")[0].decision == "reload"
    assert trace.events("transition") == []
    found = states(array)
    assert [chunk for chunk, state in enumerate(found) if state == "Clean"] == [0, 17, 18, 300]
    assert found.count("Unwritten") == len(found) - 4


@EACH_LEVEL
def test_power_cut(vm, level, disks):
    """Only the chunks that were Dirty are synced, and they are made equal."""
    array = vm.create_array(level=level, disks=disks)
    array.set("llbitmap/daemon_sleep", 3600)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=40 oflag=direct status=none")
    array.flush()
    dirty = [3, 90, 91, 400]
    for chunk in dirty:
        write(vm, array, first_sector(array, chunk), 16, pattern=chunk % 100 + 20)
    vm.power_cut()
    for content in on_disk(array):
        assert [chunk for chunk, state in enumerate(content) if state == 2] == dirty
    make_unequal(array, 90)
    assert wrong_on(array.member_images()) != []
    reboot(vm, array)
    with Trace(vm) as trace:
        array.bring_up()
    assert trace.events("load")[0].decision == "reload"
    reloaded = trace.events("transition", action="Reload")
    assert {chunk for event in reloaded for chunk in event.chunks()} == set(dirty)
    assert all((event.source, event.to) == ("Dirty", "NeedSync") for event in reloaded)
    assert trace.chunks("Startsync") == trace.chunks("Endsync") == dirty
    copied = sum(member_writes(vm, member) for member in array.members)
    assert copied <= len(dirty) * CHUNK * 2 + 800 * disks
    array.flush()
    assert array.bits()["dirty"] == array.bits()["need sync"] == 0
    assert wrong_sectors(array) == []


@EACH_LEVEL_WHOLE
def test_outdated_bitmap(vm, level, disks):
    """stale-all: every chunk, the Unwritten too, is synced."""
    array = vm.create_array(level=level, disks=disks, size=32768, assume_clean=False)
    array.wait_sync()
    write(vm, array, 0, 8 * CHUNK * width(level, disks))
    array.set("llbitmap/daemon_sleep", 1)
    array.wait_in_sync()                                # of parity, which is built now
    array.wait_sync()
    array.stop()
    events = array.member_images()[0].bitmap().events
    forge(vm, array, 24, struct.pack("<Q", events - 1))
    make_unequal(array, 400)                            # Unwritten
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.bring_up()
    assert "the bitmap is out of date" in vm.dmesg(mark)
    load, = trace.events("load")
    assert (load.decision, load.events, load.array) == ("stale", events - 1, events)
    assert trace.changes()["Unwritten->NeedSync Stale"] == 512 - 8
    assert trace.changes()["Clean->NeedSync Stale"] == 8
    assert trace.chunks("Endsync") == list(range(512))
    # of what is behind the last chunk, nothing, no end is told
    assert [event for event in trace.events("sync")
            if event.op == "abort" or event.sectors <= 0] == []
    assert wrong_sectors(array) == []


@pytest.mark.parametrize("bit", [1, 2])
def test_flagged_bitmap(vm, bit):
    """STALE and WRITE_ERROR on disk mean the same, and go once the outcome is stored."""
    array = vm.create_array(level=1, disks=2, size=4096)
    outcome_is_stored(array)
    array.stop()
    forge(vm, array, 48, struct.pack("<I", 1 << bit))
    with Trace(vm) as trace:
        array.bring_up()
    assert trace.events("load")[0].decision == "stale"
    assert trace.chunks("Endsync") == list(range(64))
    assert [image.bitmap().state for image in array.member_images()] == [0, 0]


@EACH_LEVEL_WHOLE
def test_bad_bytes(vm, level, disks):
    """Bytes of newer kernels (5..7) and nonsense: synced, with an event and a line in the log."""
    array = vm.create_array(level=level, disks=disks, size=32768)
    outcome_is_stored(array)
    array.stop()
    bad = {3: 5, 4: 7, 100: 0x42, 101: 0xff, 511: 6}
    for chunk, byte in bad.items():
        forge(vm, array, HEADER + chunk, bytes([byte]))
    make_unequal(array, 100)
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.bring_up()
    assert "5 bytes of bitmap page 0 are no known states" in vm.dmesg(mark)
    assert any("bad byte" in event.text for event in trace.events("error"))
    loaded = [event for event in trace.events("transition") if "BAD_BYTE" in event.flags]
    assert {chunk for event in loaded for chunk in event.chunks()} == set(bad)
    assert all(event.to == "NeedSync" for event in loaded)
    assert trace.chunks("Startsync") == sorted(bad)
    array.flush()
    assert array.bits()["clean"] == 512
    assert wrong_sectors(array) == []
    assert [set(content) for content in on_disk(array)] == [{1}] * disks


def test_daemon_sleep_out_of_range_on_disk(vm):
    """Pitfall: 0 was accepted once, and the array never assembled again."""
    array = vm.create_array(level=1, disks=2, size=4096)
    outcome_is_stored(array)
    array.stop()
    for value in (0, 3601, 0xffffffff):
        forge(vm, array, 56, struct.pack("<I", value))
        array.assemble()
        assert array.get("llbitmap/daemon_sleep") == "30"
        array.readwrite()
        array.set("llbitmap/daemon_sleep", 7)
        array.stop()
        assert [image.bitmap().daemon_sleep for image in array.member_images()] == [7, 7]


def test_nonsense_in_the_superblock(vm):
    """Refused with the reason; put right, it works again."""
    array = vm.create_array(level=1, disks=2, size=4096)
    outcome_is_stored(array)
    array.stop()
    good = array.member_images()[0].bitmap().raw
    for offset, data, reason in (
            # not 0: mdadm divides by it
            (52, struct.pack("<I", 100), "chunks of 100 sectors"),
            (64, struct.pack("<I", 0), "sectors reserved"),
            (64, struct.pack("<I", 0xffffffff), "sectors reserved"),
            (64, struct.pack("<I", 8192), "data begin at|sectors reserved"),
            (8, bytes(16), "UUID|no member has a good bitmap")):
        forge(vm, array, offset, data)
        mark = vm.log.size()
        array.assemble(check=False)
        assert not vm.exists(f"{array.sysfs}/llbitmap"), (offset, data)
        assert "md/llbitmap" in vm.dmesg(mark)
        assert re.search(reason, vm.dmesg(mark)), (reason, vm.dmesg(mark))
        vm.run(f"mdadm --stop {array}", check=False)
        forge(vm, array, 0, good[:256])
    array.assemble()
    assert array.bits()["clean"] == 64


@cases("level, disks, how", (1, 2, "--readonly"), (1, 2, "auto"),
       long=[(10, 2, "--readonly"), (5, 3, "--readonly"), (6, 4, "auto")])
def test_read_only_assembly_writes_nothing(vm, level, disks, how):
    """Promise 12, with states that ask for a sync."""
    array = vm.create_array(level=level, disks=disks, size=32768)
    outcome_is_stored(array)        # else the members do not know how large a chunk is
    write(vm, array, first_sector(array, 5))
    vm.power_cut()
    make_unequal(array, 5)
    before = images_hash(array)
    reboot(vm, array)
    if how == "auto":
        vm.run("modprobe md-mod; echo 1 > /sys/module/md_mod/parameters/start_ro")
    array.assemble(extra=("--readonly",) if how == "--readonly" else ())
    assert array.get("array_state") == ("readonly" if how == "--readonly" else "read-auto")
    assert array.bits()["need sync"] == 1
    path = f"{array.sysfs}/llbitmap/"
    assert errno_of(vm, path + "flush", "1") == "EROFS"
    assert errno_of(vm, path + "mark", "1") == "EROFS"
    assert errno_of(vm, path + "daemon_sleep", "9") == "EROFS"
    assert errno_of(vm, f"{array.sysfs}/bitmap_set_bits", "1") == "EROFS"
    vm.run(f"dd if={array} of=/dev/null bs=1M iflag=direct status=none; sleep 1")
    assert images_hash(array) == before
    array.stop()
    assert images_hash(array) == before
    array.assemble(extra=("--readonly",) if how == "--readonly" else ())
    with Trace(vm) as trace:
        if how == "auto":
            write(vm, array, first_sector(array, 40))       # the first write makes it read-write
        else:
            vm.run(f"mdadm --readwrite {array}")
        wait_until(vm, lambda: array.bits()["need sync"] == array.bits()["syncing"] == 0)
        array.wait_sync()
    assert trace.chunks("Startsync") == [5]
    array.flush()
    assert wrong_sectors(array) == []


def test_read_only_switch_leaves_clean(vm):
    """A running array becomes read-only, and is not written to any more."""
    array = vm.create_array(level=1, disks=2, size=32768)
    write(vm, array, 5 * CHUNK)
    vm.run(f"mdadm --readonly {array}")
    assert [content[5] for content in on_disk(array)] == [1, 1]
    before = images_hash(array)
    vm.run("sleep 1")
    assert images_hash(array) == before
    vm.run(f"mdadm --readwrite {array}")
    write(vm, array, 6 * CHUNK)
    assert [content[6] for content in on_disk(array)] == [2, 2]


@EACH_LEVEL
def test_states_come_from_an_in_sync_member(vm, level, disks):
    """Not from one that was being filled when the array stopped."""
    array = vm.create_array(level=level, disks=disks)
    first, second, *others = vm.disks[:disks]
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=60 oflag=direct status=none")
    array.flush()
    array.fail(second)
    array.remove(second)
    write(vm, array, first_sector(array, 700))
    vm.run(f"mdadm --zero-superblock {second}")
    array.set("sync_speed_max", 2000)
    array.set("sync_speed_min", 1000)
    array.add(second)
    wait_until(vm, lambda: array.get("sync_action") == "recover")
    vm.run("sleep 1")
    array.stop()
    image, = [i for i in array.member_images() if i.path == second.path]
    assert image.bitmap().version == 6
    forge(vm, array, HEADER, bytes([0x42]) * 900, [second])
    forge(vm, array, 24, struct.pack("<Q", image.bitmap().events + 50), [second])
    mark = vm.log.size()
    array.assemble([second, first, *others])
    array.readwrite()
    array.set("sync_speed_max", "system", check=False)
    array.set("sync_speed_min", "system", check=False)
    assert "no known states" not in vm.dmesg(mark)
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_sync()
    array.flush()
    assert wrong_sectors(array) == []
    contents = on_disk(array)
    assert [set(content) for content in contents] == [{1}] * disks


def test_interrupted_resync_goes_on_with_the_rest(vm):
    array = vm.create_array(level=1, disks=2)
    array.wait_sync()
    array.set("sync_speed_max", 6000)
    array.set("sync_speed_min", 1000)
    array.set("sync_max", 800 * CHUNK)      # it does not end, however late we come
    with Trace(vm) as trace:
        array.set("llbitmap/mark", "0-999")
        wait_until(vm, lambda: array.bits()["syncing"] + array.bits()["dirty"] > 50)
        array.set("sync_action", "frozen")
        wait_until(vm, lambda: array.bits()["syncing"] == 0)
    done = set(trace.chunks("Endsync"))
    assert 20 < len(done) < 900
    assert array.bits()["need sync"] == 1000 - len(done)
    array.set("sync_speed_max", "system")
    array.set("sync_speed_min", "system")
    array.set("sync_max", "max")
    with Trace(vm) as trace:
        array.set("sync_action", "idle")
        array.set("llbitmap/mark", "0")
        array.wait_in_sync()
        array.wait_sync()
    again = set(trace.chunks("Startsync")) - {0}
    assert again == set(range(1000)) - done - {0}, "chunks that were done are synced again"


@EACH_LEVEL_WHOLE
def test_resync_ends_only_what_it_has_passed(vm, level, disks):
    """Now and then it ends chunks, and when it is interrupted: not the one in which it stands."""
    array = vm.create_array(level=level, disks=disks, size=81920)
    outcome_is_stored(array)
    array.stop()
    image = array.member_images()[0]
    size = 4096                                         # a sync request is 128 sectors at most
    forge(vm, array, 52, struct.pack("<I", size))
    forge(vm, array, HEADER, bytes([1]) * (image.size // size))
    array.assemble()
    array.readwrite()
    array.set("sync_speed_max", 4000)
    array.set("sync_speed_min", 1000)
    array.set("sync_max", 38 * size)                    # it does not end, however late we come
    array.set("llbitmap/daemon_sleep", 3600)
    number = vm.read(f"/sys/block/{str(vm.disks[0])[5:]}/dev").replace(":", ",")
    with Trace(vm, "block/block_bio_queue") as trace:
        array.set("llbitmap/mark", "0-39")
        wait_until(vm, lambda: array.bits()["dirty"] > 0)
        vm.run("sleep 1")
        array.set("sync_action", "frozen")
        wait_until(vm, lambda: array.bits()["syncing"] == 0)
    reads = [(event.time, (event.sector - image.data_offset) // size, event.sectors)
             for event in trace.events("block_bio_queue", dev=number) if event.rwbs.startswith("R")
             and event.sector >= image.data_offset]
    ended = trace.events("transition", action="Endsync")
    assert len(ended) > 1 and 40 > len(trace.chunks("Endsync")) > 3, "not now and then"
    for event in ended:
        for chunk in event.chunks():
            assert sum(sectors for time, where, sectors in reads
                       if where == chunk and time < event.time) == size, f"chunk {chunk}"


@cases("level, disks, action", (10, 4, "check"),
       long=[(10, 4, "repair"), (1, 2, "check"), (5, 3, "check"), (6, 4, "check")])
def test_check_and_repair(vm, level, disks, action):
    array = vm.create_array(level=level, disks=disks)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=60 oflag=direct status=none")
    array.flush()
    array.stop()
    array.assemble()
    array.readwrite()
    with Trace(vm) as trace:
        array.set("sync_action", action)
        array.wait_sync()
    assert array.get("mismatch_cnt") == "0"
    if action == "check":
        assert trace.events("transition") == [], "check-is-blind"
    assert array.bits()["clean"] == array.metadata()["chunks"]

    # and it does look
    array.stop()
    make_unequal(array, 11)
    forget(vm, array)
    array.assemble()
    array.readwrite()
    array.set("sync_action", action)
    array.wait_sync()
    assert int(array.get("mismatch_cnt")) > 0
    assert (wrong_sectors(array) == []) == (action == "repair")


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4)])
def test_update_resync_is_a_power_cut(vm, level, disks):
    """What is Clean is believed, as md.rst and README say; `mark` is there for who does not."""
    array = vm.create_array(level=level, disks=disks)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=20 oflag=direct status=none")
    array.flush()
    array.stop()
    make_unequal(array, 11)
    forget(vm, array)
    vm.run("dmesg --clear")
    with Trace(vm) as trace:
        array.assemble(extra=["--update=resync"])
        array.readwrite()
        array.wait_sync()
    assert "resync of RAID array" in vm.run("dmesg").stdout
    assert trace.chunks("Startsync") == [] and states(array, 11, 1) == ["Clean"]
    assert array.unequal() != []

    array.set("llbitmap/mark", "11")
    array.wait_in_sync()
    array.wait_sync()
    assert array.unequal() == []
