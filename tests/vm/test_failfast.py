# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that are to fail rather than to be waited for (mdadm --failfast)."""
import pytest

from support import (AREA_BEGIN, AREA_SECTORS, HOLD, TRACING, Content, Trace, keep_active,
                     mapped_members, on_disk, states, wait_until, write)
from vmtest import DiskOptions

CHUNK = 128
SUPER = 8                   # sector of md's superblock
FAILFAST = 3 << 8           # REQ_FAILFAST_DEV | REQ_FAILFAST_TRANSPORT
PROBE = ("t:probes/queued block_bio_queue flags=bio->bi_opf:u32 where=bio->bi_iter.bi_sector:u64 "
         "device=bio->bi_bdev->bd_dev:u32")
pytestmark = pytest.mark.vm(disks=3, cpus=1, disk=DiskOptions(size="96M"))
LEVELS = pytest.mark.parametrize("level", [1, 10])


@pytest.fixture
def probe(vm):
    """Flags of requests, which the block layer's own events do not show."""
    vm.write(f"{TRACING}/dynamic_events", PROBE)
    yield "probes/queued"
    vm.run(f"cd {TRACING} && echo 0 > events/probes/enable && "
           f"echo '-:probes/queued' >> dynamic_events")


def bitmap_writes(trace, member):
    """Whether each write of a bitmap page to the member was one that fails fast."""
    major, minor = map(int, member.number.split(","))
    return [bool(event.flags & FAILFAST) for event in trace.events("queued")
            if event.device == major << 20 | minor and event.flags & 1
            and AREA_BEGIN <= event.where < AREA_BEGIN + AREA_SECTORS]


def failfast_array(vm, level):
    members = mapped_members(vm)
    array = vm.create_array(level=level, disks=2, members=["--failfast", *members], size=65536)
    for member in members:
        assert "failfast" in array.member_state(member)
    keep_active(vm, array, 4096)
    return array, members


@LEVELS
def test_data_write_fails(vm, probe, level):
    """The member goes at once; what it lacks is synced when it is back."""
    array, members = failfast_array(vm, level)
    content = Content(array)
    with Trace(vm, probe) as trace:
        content.write(10 * CHUNK, pattern=0x21)
    assert [bitmap_writes(trace, member) for member in members] == [[True], [True]]
    array.flush()
    members[1].fail(2048, members[1].sectors - 2048)
    content.write(11 * CHUNK, pattern=0x22)
    wait_until(vm, lambda: "faulty" in array.member_state(members[1]))
    array.flush()
    members[1].plain()
    assert states(array, 11, 1)[0] in ("Dirty", "NeedSync")
    assert on_disk(array)[0][11] in (2, 3)
    array.remove(members[1])
    array.re_add(members[1])
    array.wait_sync()
    array.wait_in_sync()
    array.flush()
    assert array.degraded() == 0
    assert array.unequal() == []
    assert content.wrong() == []


@LEVELS
def test_bitmap_write_fails(vm, probe, level):
    """A member that others make up for goes; the last one is asked a second time, patiently."""
    array, members = failfast_array(vm, level)
    members[1].fail()
    with Trace(vm, probe) as trace:
        write(vm, array, 12 * CHUNK, pattern=0x23)
    wait_until(vm, lambda: "faulty" in array.member_state(members[1]))
    assert bitmap_writes(trace, members[1]) == [True]
    assert all(bitmap_writes(trace, members[0]))

    array.wait_sync()           # md has nothing more to write about that
    mark = vm.log.size()
    members[0].fail()
    with Trace(vm, probe) as trace:
        write(vm, array, 13 * CHUNK, pattern=0x24)
    assert bitmap_writes(trace, members[0])[:2] == [True, False]
    tries = trace.events("writeback", op="end")
    assert [bool(event.error) for event in tries] == [True, True]
    assert "going on without the bitmap" in vm.dmesg(mark)
    assert "in_sync" in array.member_state(members[0])
    for member in members:
        member.plain()


@LEVELS
def test_superblock_is_written_twice(vm, level):
    """The last member fails the fast write of the one that carries a smaller size, so md writes it
    again: the bitmap tells of the larger size until the member has had it, as a cut may come."""
    array, members = failfast_array(vm, level)
    last = members[0]
    array.fail(members[1])
    array.remove(members[1])
    size = array.member_images()[0].size
    vm.run(["dmsetup", "create", "bad", "--table", f"0 {last.sectors} error"])
    try:
        minor = vm.run("dmsetup info -c --noheadings -o minor bad").stdout.strip()
        last.load((SUPER, 8, "delay", f"{last.disk} {SUPER} 0 /dev/dm-{minor} {SUPER} {HOLD} "
                                      f"{last.disk} {SUPER} 0"))
        with Trace(vm, "block/block_bio_queue") as trace:
            def supers():
                return [event for event in trace.recorded("block_bio_queue", dev=last.number)
                        if event.sector == SUPER and "W" in event.rwbs]

            shrink = vm.spawn(f"echo 32768 > {array.sysfs}/component_size")
            wait_until(vm, lambda: len(supers()) == 1)
            last.delay_writes(HOLD, SUPER, 8)       # what is held goes to `bad` nevertheless
            wait_until(vm, lambda: len(supers()) == 2)
            image, = [image for image in array.member_images() if image.path == last.path]
            assert image.size == size, "it is on the member already"
            assert image.bitmap().sync_size >= size, "the bitmap tells of less than the member has"
            last.plain()
            shrink.wait()
    finally:
        last.plain()
        vm.run("dmsetup remove bad", check=False)
    assert array.metadata()["chunks"] == 32768 // 64
    array.settle()
    assert array.member_images()[0].size == 65536
