# SPDX-License-Identifier: GPL-2.0-or-later
"""Promises 1, 9, 10 and 11 on parity levels: a stripe waits for the bitmap write that covers it, and
for no other."""
import pytest

from order import check_order, data_writes
from levels import cases
from support import (ReadyWriter, Trace, begin_write, held, keep_active, mapped_members, on_disk, states,
                     superblock_is_first, wait_until, write)
from test_parity import all_comes_back, perform, plan
from test_write import BLOCK, NOWAIT
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="96M"))

LEVELS = cases("level, disks", (5, 3), long=[(6, 4)])


@pytest.fixture
def slow(vm):
    """make(level, disks) -> an array on mapped members; a chunk far away is written to."""
    def make(level, disks, **options):
        members = mapped_members(vm, disks)
        array = vm.create_array(level=level, disks=disks, members=members, chunk=64, size=24576,
                                **options)
        array.wait_sync()
        keep_active(vm, array, 40960)
        return array, members
    return make


@LEVELS
@pytest.mark.parametrize("assume_clean", [True, False])
def test_bitmap_before_data_and_parity(vm, slow, level, disks, assume_clean):
    array, members = slow(level, disks, assume_clean=assume_clean)
    for member in members:
        member.delay_writes(700)
    with Trace(vm, *BLOCK) as trace:
        write(vm, array, 8)
    for member in members:
        member.plain()
    change, = trace.events("transition")
    assert (change.chunk, change.count) == (0, 1)
    assert (change.source, change.to) == (("Clean", "Dirty") if assume_clean else
                                          ("Unwritten", "NeedSync"))
    assert "PARITY" in change.flags
    check_order(trace, members, array)
    assert len(data_writes(trace, members, array)) == (3 if level == 6 else 2)
    durable = trace.events("writeback", op="end")[0]
    assert durable.error == 0 and durable.seq >= change.seq
    assert durable.time - change.time > 0.5, "the members were not slow"


@LEVELS
def test_second_writer_waits(vm, slow, level, disks):
    """In the same chunk, other stripes of it, while the bitmap write is on its way. The array's own
    thread waits for that one, but stripes may have other threads. One stripe is whole: it needs no
    reads, and its neighbours are not, so that it is not handled together with one that waits."""
    array, members = slow(level, disks)
    array.set("group_thread_cnt", 1)
    late = ReadyWriter(vm, array, 264, 17)
    with held(members) as gate, Trace(vm, *BLOCK) as trace:
        first = begin_write(vm, array, 504)
        wait_until(vm, lambda: trace.recorded("writeback", op="begin"))
        late.go_and_arrive(trace)
        vm.run("sleep 1")               # time to go on, for those that do not wait
        gate.open()
        first.wait()
        late.wait()
    begin, end = trace.events("writeback")[:2]
    second = [event for event in trace.events("block_bio_queue", dev="9,0")
              if event.task.startswith("python3") and "W" in event.rwbs]
    assert len(second) == 17
    assert all(begin.time < event.time < end.time for event in second), "too late for the window"
    check_order(trace, members, array)


@LEVELS
def test_steady_writes_do_not_wait(vm, slow, level, disks):
    """Nothing new to make durable: no bitmap write, no event."""
    array, members = slow(level, disks)
    write(vm, array, 512, 64)
    with Trace(vm, *BLOCK) as trace:
        for sector in (512, 520, 528, 512):
            write(vm, array, sector)
    assert trace.events("transition") == [] and trace.events("writeback") == []
    assert len(data_writes(trace, members, array)) >= 8


@LEVELS
def test_whole_stripes_in_a_batch(vm, slow, level, disks):
    """Stripes that are handled together, and lie in several chunks of the bitmap."""
    array, members = slow(level, disks)
    for member in members:
        member.delay_writes(300)
    with Trace(vm, *BLOCK) as trace:
        vm.run(f"dd if=/dev/urandom of={array} bs=512k count=4 oflag=direct status=none")
    for member in members:
        member.plain()
    check_order(trace, members, array)
    array.set("sync_action", "check")
    array.wait_sync()
    assert int(array.get("mismatch_cnt")) == 0


def test_nowait(vm, slow):
    array, _ = slow(5, 3)
    assert vm.run(["python3", "-c", NOWAIT, str(array), "1024"]).stdout.strip() == "EAGAIN"
    assert states(array, 4, 1) == ["Clean"]
    write(vm, array, 1024)
    assert vm.run(["python3", "-c", NOWAIT, str(array), "1024"]).stdout.strip() == "4096"


@LEVELS
def test_member_that_fails_bitmap_writes(vm, slow, level, disks):
    """It leaves, that is recorded, and then the stripes go on."""
    array, members = slow(level, disks, assume_clean=False)
    members[0].fail()
    with Trace(vm, "block/block_bio_queue") as trace:
        write(vm, array, 0, 256)        # a whole stripe: nothing is read for it, which takes time
    assert superblock_is_first(trace, members[1:], trace.events("error")[0].time), \
        "a power cut would have found that member trusted"
    assert array.degraded() == 1 and "faulty" in array.member_state(members[0])
    first = plan(array, 70, count=60)
    perform(array, first)
    members[0].plain()
    role, = {0, 1, 2, 3} & {image.role for image in array.member_images()
                            if image.path == members[0].path}
    all_comes_back(array, first.wanted(), (role,))
    contents = on_disk(array)
    assert len({contents[i] for i in range(len(contents)) if i != role}) == 1
