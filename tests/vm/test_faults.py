# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that fail reads or writes at a bad moment: nothing hangs, nothing is taken for good."""
import pytest

from levels import EACH_LEVEL, PARITY, cases, width, wrong_sectors
from support import (AREA_BEGIN, AREA_SECTORS, HEADER, Content, Trace, begin_flush, begin_write,
                     held, hot_add, keep_active, mapped_members, on_disk, reboot, states, wait_until,
                     write)
from vmtest import DiskOptions

CHUNK = 128
FIRST_USE = 8           # in the state of the bitmap's superblock
pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="256M"))


def overwrite(image, sector, data):
    """Changes a member behind the guest's back; the guest reads it without cache."""
    with open(image.path, "r+b") as file:
        file.seek(sector * 512)
        file.write(data)


def test_member_that_md_keeps_refuses_the_bitmap(vm):
    """Its partner is gone, so md does not fail it: others taking the bitmap is not enough."""
    members = mapped_members(vm, 4)
    array = vm.create_array(level=10, disks=4, members=members, size=65536)
    keep_active(vm, array, 4096)
    array.flush()
    layout = array.layout()
    sector = next(sector for sector in range(0, layout.sectors, layout.piece)
                  if {role for role, _ in layout.copies(sector)} == {2, 3})
    array.fail(members[1])
    array.remove(members[1])
    members[0].fail()
    mark = vm.log.size()
    with Trace(vm, "block/block_bio_queue") as trace:
        write(vm, array, sector, pattern=0x4b)
    assert array.member_state(members[0]) == ["in_sync"]
    assert "going on without the bitmap" in vm.dmesg(mark)
    failed = max(event.time for event in trace.events("error") if "no member" in event.text)
    for member in members[2:]:
        queued = trace.events("block_bio_queue", dev=member.number)
        data = min(event.time for event in queued if event.sector > 272 and "W" in event.rwbs)
        assert any(event.sector == 8 and failed < event.time < data for event in queued)

    vm.power_cut()
    array.members = vm.disks[:4]
    reboot(vm, array)
    with Trace(vm) as trace:
        array.assemble([vm.disks[0], *vm.disks[2:]], extra=["--run"])
    assert trace.events("load")[0].decision == "stale"
    found = {chunk: event.state for event in trace.events("snapshot") for chunk in event.chunks()}
    assert found[sector // CHUNK] == "NeedSync"
    array.wait_sync()


@cases("level, disks", (10, 4), (5, 3), long=[(6, 4)])
def test_bitmaps_of_more_members_fail_than_the_array_can_lose(vm, level, disks):
    """md would refuse all writes from then on, or end the array. It is the bitmap that goes."""
    most = PARITY.get(level, 1)
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536)
    keep_active(vm, array, 4096)
    array.flush()
    mark = vm.log.size()
    for member in members[:most + 1]:
        member.fail()
    content = Content(array)
    content.write(5 * CHUNK, pattern=0x61)
    assert array.degraded() == most
    assert "going on without the bitmap" in vm.dmesg(mark)
    content.write(9 * CHUNK, pattern=0x62)
    lost = [member for member in members if "in_sync" not in array.member_state(member)]
    for member in members[:most + 1]:
        member.plain()
    array.stop()
    with Trace(vm) as trace:
        array.assemble([member for member in members if member not in lost], extra=["--run"])
    assert trace.events("load")[0].decision == "stale"
    for member in lost:
        array.add(member)
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_in_sync()
    array.wait_sync()
    assert content.wrong() == []


@cases("level, layout", (1, None), long=[(10, "n3")])
def test_read_error_while_writes_wait_for_the_superblock(vm, level, layout):
    """The array's thread must not freeze the array for ones that only it can let go."""
    members = mapped_members(vm, 3)
    array = vm.create_array(level=level, disks=3, layout=layout, members=members, size=65536)
    keep_active(vm, array, 4096)
    array.flush()
    # is read last; raid10 asks the first of those that have as much to do
    array.set(f"dev-{members[2].device[5:]}/state", "writemostly")
    bad = members[0].bad_range(array.member_images()[0].data_offset + 4096, 8)
    members[0].load(members[0].bad_range(), bad)
    members[1].load(members[1].slow_range(3000), bad)
    members[2].load(members[2].slow_range(3000))
    with Trace(vm) as trace:
        writer = begin_write(vm, array, 5 * CHUNK)
        wait_until(vm, lambda: trace.recorded("writeback", op="begin"))
        reader = vm.spawn(f"dd if={array} bs=4096 skip={4096 * 512} iflag=direct,skip_bytes "
                          f"count=1 status=none | tr -dc Z | wc -c", timeout=20)
        assert reader.wait().stdout.strip() == "4096", "other data than were written"
        writer.wait()
    begin, end = trace.events("writeback")[:2]
    assert end.op == "end" and end.time - begin.time > 2.5, "the members were not slow"
    assert "faulty" in array.member_state(members[0])
    assert "in_sync" in array.member_state(members[2])
    for member in members:
        member.plain()
    image = array.member_images()[-1]
    assert members[2].read(image.data_offset + 5 * CHUNK, 8) == b"A" * 4096


def test_resync_that_can_read_no_copy(vm):
    """raid10 compares nothing then, and the chunk must not count as synced (promise 4)."""
    members = mapped_members(vm, 4)
    array = vm.create_array(level=10, disks=4, members=members, size=65536)
    array.set("llbitmap/daemon_sleep", 3600)        # it does not try again by itself
    write(vm, array, 8 * CHUNK, CHUNK, pattern=0x21)
    array.flush()
    images = array.member_images()
    copies = array.layout().copies(8 * CHUNK)
    assert len(copies) == 2
    role, where = copies[1]
    overwrite(images[role], images[role].data_offset + where + 40, b"different")
    for role, where in copies:
        members[role].fail(images[role].data_offset + where, CHUNK)
    with Trace(vm) as trace:
        array.set("llbitmap/mark", 8)
        wait_until(vm, lambda: trace.recorded("sync", op="start"))
        array.wait_sync()
    assert trace.chunks("Startsync") == [8]
    assert states(array, 8, 1) == ["NeedSync"]
    assert array.degraded() == 0

    for member in members:
        member.plain()
    assert array.unequal() != []
    array.set("llbitmap/mark", 8)
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert states(array, 8, 1) == ["Clean"]
    assert array.unequal() == []


def test_chunk_that_begins_with_a_bad_block(vm):
    """No resync makes it Syncing, so it stays NeedSync; one is enough to find that out."""
    array = vm.create_array(level=10, disks=4, bitmap="none", size=65536)
    write(vm, array, 0, 16 * CHUNK)
    role, where = array.layout().copies(8 * CHUNK)[1]
    image = array.member_images()[role]
    name = f"dev-{str(array.members[role])[5:]}"
    array.set(f"{name}/bad_blocks", f"{image.data_offset + where} 8")
    hot_add(vm, array)
    assert array.get(f"{name}/bad_blocks") == f"{image.data_offset + where} 8"
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    array.flush()
    mark = vm.log.size()
    array.set("llbitmap/mark", "8-9")
    array.wait_bits(lambda bits: bits["need sync"] == 1 and bits["syncing"] == 0)
    vm.run("sleep 6")
    array.wait_sync()
    assert vm.dmesg(mark).count("resync of RAID array") in (1, 2)
    assert states(array, 8, 2) in (["NeedSync", "Clean"], ["NeedSync", "Dirty"])
    assert array.get("sync_action") == "idle"


# -- the array goes clean ---------------------------------------------------------------------------

def in_chunk(number, level, disks):
    """An array sector of that chunk, on arrays as those below."""
    return number * CHUNK * width(level, disks)


def active_for_now(vm, level, disks, **options):
    """Written to once, in chunk 5; md lowers its event count again in go_clean()."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536,
                            chunk=None if level == 1 else 64, **options)
    array.wait_sync()
    array.set("llbitmap/daemon_sleep", 3600)
    wait_until(vm, lambda: array.get("array_state") == "clean")
    array.set("safe_mode_delay", 300)
    write(vm, array, in_chunk(5, level, disks))
    assert array.get("array_state") == "active"
    return members, array


def go_clean(array):
    array.set("safe_mode_delay", 0.2)


@EACH_LEVEL
def test_bitmap_is_given_up_as_the_array_goes_clean(vm, level, disks):
    """md lowers its event count just then: to raise it by one is not enough for the next assembly
    to find the bitmap out of date."""
    members, array = active_for_now(vm, level, disks, assume_clean=False)
    mark = vm.log.size()
    for member in members:
        member.fail()
    go_clean(array)
    wait_until(vm, lambda: "going on without the bitmap" in vm.dmesg(mark))
    wait_until(vm, lambda: array.get("array_state") == "clean")
    write(vm, array, in_chunk(9, level, disks), pattern=0x3e)
    # what the stop would write anyway raises the count
    wait_until(vm, lambda: array.get("array_state") == "clean")
    array.stop()
    assert [content[9] for content in on_disk(array)] == [0] * disks
    for member in members:
        member.plain()
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("load")[0].decision == "stale"
    array.readwrite()
    array.wait_in_sync()
    array.wait_sync()
    assert wrong_sectors(array) == []


@EACH_LEVEL
def test_member_fails_as_the_array_goes_clean(vm, level, disks):
    """Its own superblock is from before md lowered its event count, and calls it in-sync: those
    that tell of the failure have to count further."""
    members, array = active_for_now(vm, level, disks)
    for member in members:
        member.delay_writes(5000, 8, 8)     # what md writes next does not come before the cut
    members[1].fail(8, 8)
    go_clean(array)
    wait_until(vm, lambda: array.degraded() == 1)
    # the superblocks tell of it, and writers may go on
    wait_until(vm, lambda: "blocked" not in array.member_state(members[1]))
    vm.power_cut()
    array.members = vm.disks[:disks]
    images = {image.path: image for image in array.member_images()}
    good, failed, *others = (images[disk.path] for disk in array.members)
    assert all(image.events > failed.events for image in (good, *others))
    reboot(vm, array)
    array.assemble()
    assert array.degraded() == 1


@EACH_LEVEL
def test_member_fails_as_the_array_goes_active(vm, level, disks):
    """md counts on, and a member fails that was not told yet. It missed nothing: the bitmap, flushed
    just then, takes it back."""
    members, array = active_for_now(vm, level, disks)
    go_clean(array)
    wait_until(vm, lambda: array.get("array_state") == "clean")
    assert array.bits()["dirty"] == 1
    events = array.member_images()[1].events
    with held(members) as gate, Trace(vm, "block/block_bio_queue") as trace:
        writer = begin_write(vm, array, in_chunk(5, level, disks))
        wait_until(vm, lambda: {event.dev for event in trace.recorded("block_bio_queue")
                                if event.sector == AREA_BEGIN} >= {m.number for m in members})
        flush = begin_flush(vm, trace, array)
        wait_until(vm, lambda: {event.dev for event in trace.recorded("block_bio_queue")
                                if event.rwbs.startswith("F")} >= {m.number for m in members})
        vm.run("sleep 1")       # what comes next leaves no trace
        array.fail(members[1])
        gate.open()
        writer.wait()
        flush.wait()
    array.remove(members[1])
    assert array.member_images()[1].events == events
    array.re_add(members[1])
    array.wait_in_sync()
    array.wait_sync()
    assert wrong_sectors(array) == []


@pytest.mark.parametrize("held", ["superblock", "bitmap"])
@EACH_LEVEL
def test_cut_as_the_array_goes_clean(vm, level, disks, held):
    """md's event count is lowered, and the bitmap's: whichever is held back, what is on the members
    is no bitmap that is older than its array."""
    members, array = active_for_now(vm, level, disks)
    where = (8, 8) if held == "superblock" else (AREA_BEGIN, AREA_SECTORS)
    events = [image.events for image in array.member_images()]
    for member in members:
        member.delay_writes(60000, *where)
    with Trace(vm, "block/block_bio_queue") as trace:
        go_clean(array)
        wait_until(vm, lambda: {event.dev for event in trace.recorded("block_bio_queue")
                                if event.sector == where[0] and "W" in event.rwbs}
                   >= {member.number for member in members})
    vm.power_cut()
    array.members = vm.disks[:disks]
    if held == "superblock":
        assert [image.events for image in array.member_images()] == events
    for image in array.member_images():
        assert image.bitmap().events >= image.events
    reboot(vm, array)
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("load")[0].decision == "reload"
    array.readwrite()
    array.wait_sync()


@cases("level, disks", (5, 3), long=[(1, 2), (10, 4), (6, 4)])
def test_reboot_while_a_member_fails(vm, level, disks):
    """Who stops the array waits for a write. That waits for the superblock to tell of the member,
    and only who stops the array may write superblocks."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536)
    keep_active(vm, array, 4096)
    array.flush()
    members[0].delay_writes(20000)
    members[-1].fail()
    with Trace(vm) as trace:
        begin_write(vm, array, 5 * CHUNK)
        wait_until(vm, lambda: trace.recorded("writeback", op="begin"))
        assert not trace.recorded("writeback", op="end")
    vm.spawn(["python3", "-c", "import ctypes; ctypes.CDLL(None).reboot(0x1234567)"])
    wait_until(vm, lambda: not vm.running(), 30, "it does not go down")
    images = {image.path: image for image in array.member_images()}
    assert images[members[0].path].events > images[members[-1].path].events
    vm.power_cut()
    array.members = vm.disks[:disks]
    reboot(vm, array)


# -- the bitmap of one member cannot be read ------------------------------------------------------

@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3), (6, 4)])
def test_new_bitmap_that_no_member_takes(vm, level, disks):
    """What mdadm wrote stays there and calls itself new; but the array was written to."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=24576,
                            assume_clean=False, chunk=None if level == 1 else 64,
                            extra=["--readonly"])       # else md stores it at once
    chunks = array.metadata()["chunks"]
    assert array.bits()["unwritten"] == chunks
    for member in members:
        member.fail()
    mark = vm.log.size()
    array.readwrite()
    content = Content(array)
    content.write(5 * CHUNK * width(level, disks))
    assert "going on without the bitmap" in vm.dmesg(mark)
    array.stop()
    for member in members:
        member.plain()
    assert {image.bitmap().state for image in array.member_images()} == {FIRST_USE}
    image = array.member_images()[-1]       # what a cut in the middle of a write leaves
    overwrite(image, image.data_offset + 5 * CHUNK + 64, b"\xa5" * 512)

    array.assemble()
    assert wrong_sectors(array) != []
    assert array.bits()["need sync"] == chunks
    array.readwrite()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert wrong_sectors(array) == []
    assert content.wrong() == []


TWO_PAGES = cases("level, disks", (1, 3), long=[(10, 4), (5, 3), (6, 4)])


def with_two_pages(vm, level, disks):
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members,
                            chunk=None if level == 1 else 64)
    assert array.metadata()["chunks"] > 4096 - HEADER
    write(vm, array, in_chunk(5, level, disks))
    write(vm, array, in_chunk(3500, level, disks))
    array.flush()
    return members, array


@TWO_PAGES
def test_bitmap_is_read_from_one_member(vm, level, disks):
    """Not the pages that one had together with those of another."""
    members, array = with_two_pages(vm, level, disks)
    array.stop()
    for image in array.member_images()[1:]:
        overwrite(image, AREA_BEGIN, image.bitmap().raw[:HEADER + 5] + b"\3" +
                  image.bitmap().raw[HEADER + 6:4096])
    members[0].fail(AREA_BEGIN + 8, 8)
    with Trace(vm) as trace:
        array.assemble()
    assert [event for event in trace.events("error") if "read" in event.text], \
        "another member was asked first"
    found = {chunk: event.state for event in trace.events("snapshot") for chunk in event.chunks()}
    assert found[5] == "NeedSync"
    assert found[3500] == "Clean"
    members[0].plain()
    array.readwrite()
    array.wait_in_sync()
    array.wait_sync()


@TWO_PAGES
def test_other_members_have_no_bitmap_either(vm, level, disks):
    """Theirs are blank: that would say that nothing was ever written."""
    members, array = with_two_pages(vm, level, disks)
    array.stop()
    for image in array.member_images()[1:]:
        overwrite(image, AREA_BEGIN, bytes(2 * 4096))
    members[0].fail(AREA_BEGIN + 8, 8)
    mark = vm.log.size()
    result = array.assemble(check=False)
    assert result.rc != 0
    assert "no member's bitmap can be read" in vm.dmesg(mark)
    members[0].plain()
    array.assemble()
    assert array.bits()["unwritten"] == 0
    assert states(array, 3500, 1) == ["Clean"]
