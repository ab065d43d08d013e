# SPDX-License-Identifier: GPL-2.0-or-later
"""Discards: whole and partial chunks, and members that do not do them."""
import pytest

from levels import EACH_LEVEL, cases, discards_allowed, holds, width
from order import check_order, data_writes
from support import (ReadyWriter, Trace, discard, held, keep_active, mapped_members, on_disk, states,
                     wait_until, write)
from test_bad_blocks import bad_blocks, give_log
from vmtest import DiskOptions

CHUNK = 128                 # sectors
DISK = DiskOptions(size="256M")
pytestmark = pytest.mark.vm(cpus=1, each_disk=(DISK, DISK, DISK, DISK, DISK,
                                               DiskOptions(size="256M", discard=False)))
BLOCK = ("block/block_bio_queue", "block/block_bio_complete")
LEVELS = pytest.mark.parametrize("level, disks", [(1, 2), (10, 4)])


def make(vm, level, disks, members=None, chunk=64, **options):
    """An array that takes discards, and the array sectors that a chunk of its bitmap stands for:
    on RAID5/6 those of a stripe, which is discarded as a whole or not at all."""
    with discards_allowed(vm, level):
        array = vm.create_array(level=level, disks=disks, members=members,
                                chunk=chunk if level in (5, 6) else None, **options)
    return array, CHUNK * width(level, disks)


@LEVELS
def test_whole_chunks(vm, level, disks):
    array = vm.create_array(level=level, disks=disks)
    write(vm, array, 0, 6 * CHUNK)
    with Trace(vm) as trace:
        discard(vm, array, CHUNK, 4 * CHUNK)
        array.flush()
    assert states(array, 0, 6) == ["Clean"] + ["Unwritten"] * 4 + ["Clean"]
    assert trace.chunks("Discard") == [1, 2, 3, 4]
    for event in trace.events("transition", action="Discard"):
        assert event.flags >= {"WHOLE", "DURABLE", "FLUSHED", "ALL_DISCARDED"}
    # durable, too
    for image in on_disk(array):
        assert list(image[:6]) == [1, 0, 0, 0, 0, 1]
    # once more: they are Unwritten, nothing changes
    with Trace(vm) as trace:
        discard(vm, array, CHUNK, 4 * CHUNK)
        array.flush()
    assert trace.events("transition") == []
    # a write makes one live again
    write(vm, array, 2 * CHUNK)
    assert states(array, 1, 3) == ["Unwritten", "Dirty", "Unwritten"]


@LEVELS
def test_large_discard_and_short_last_chunk(vm, level, disks):
    """RAID10 has a path of its own for discards of whole stripes; the array's end counts."""
    array = vm.create_array(level=level, disks=disks, size=61500 if level == 1 else 30720)
    sectors = array.size() // 512
    vm.run(f"dd if=/dev/urandom of={array} bs=1M oflag=direct status=none", check=False)
    vm.run(f"blkdiscard -f -o {8 << 20} {array}")
    array.flush()
    first = (8 << 20) // 512 // CHUNK
    chunks = array.metadata()["chunks"]
    assert (sectors % CHUNK != 0) == (level == 1)
    assert set(states(array, 0, first)) == {"Clean"}
    assert set(states(array, first, chunks - first)) == {"Unwritten"}


@cases("level, disks", (1, 2), (10, 4), long=[(5, 3), (6, 4)])
def test_partial_discard_loses_nothing(vm, level, disks):
    """A member is replaced afterwards: what the discard left must be on the new one. A chunk of the
    bitmap is many stripes of RAID5/6 here."""
    each = width(level, disks)
    array, unit = make(vm, level, disks, chunk=4, assume_clean=False)
    array.wait_sync()
    write(vm, array, 0, 16 * unit, pattern=0x61)
    array.wait_in_sync()                                    # of parity, which is built now
    array.wait_sync()
    array.flush()
    with Trace(vm) as trace:
        for first, sectors in ((32, CHUNK),                         # ends inside chunk 1
                               (4 * CHUNK, 2 * CHUNK + 64),         # ... inside chunk 6
                               (8 * CHUNK + 8, CHUNK - 8),          # the end of chunk 8
                               (10 * CHUNK, CHUNK - 8)):            # the beginning of chunk 10
            discard(vm, array, first * each, sectors * each)
        array.flush()
    assert trace.chunks("Discard") == [4, 5]
    for event in trace.events("transition", action="Startwrite"):
        assert "DISCARD" in event.flags
        assert ("WHOLE" in event.flags) == (set(event.chunks()) <= {4, 5})
    assert trace.chunks("Startwrite") == [0, 1, 4, 5, 6, 8, 10]
    assert states(array, 0, 12) == ["Clean"] * 4 + ["Unwritten"] * 2 + ["Clean"] * 6

    left = vm.disks[0]
    array.fail(left)
    array.remove(left)
    array.add(vm.disks[disks])      # is filled with what the bitmap says is worth it
    array.wait_sync()
    assert array.degraded() == 0
    array.members.remove(left)     # still says that it is a member
    try:
        for begin, end in ((0, 32), (CHUNK + 32, 4 * CHUNK), (6 * CHUNK + 64, 8 * CHUNK + 8),
                           (11 * CHUNK - 8, 16 * CHUNK)):
            holds(array, 0x61, begin * each, (end - begin) * each)
    finally:
        array.members.append(left)


@cases("level, disks, base, count", (1, 2, 0, 8), (10, 2, 0, 8), (1, 2, 3072, 1),
       long=[(5, 3, 0, 8), (5, 3, 3072, 1), (6, 4, 0, 8)])
def test_write_during_a_discard(vm, level, disks, base, count):
    """Its chunk does not become Unwritten; the others do. Chunk 3072 is the first of a page, and a
    discard of one chunk is hit as a whole."""
    hit = base + count // 2 - 1 if count > 1 else base
    members = mapped_members(vm, disks)
    array, unit = make(vm, level, disks, members)
    assert array.metadata()["chunks"] > base + 10
    write(vm, array, base * unit, 10 * unit)
    array.flush()
    late = ReadyWriter(vm, array, hit * unit)
    with held(members, 272, 500000) as gate, Trace(vm, *BLOCK) as trace:
        dropping = vm.spawn(f"blkdiscard -f -o {base * unit * 512} -l {count * unit * 512} {array}")
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue",
                                                                  dev=members[0].number)
                                if "D" in event.rwbs])
        late.go_and_arrive(trace)
        gate.open()
        dropping.wait()
        late.wait()
        array.flush()
    queued = trace.events("block_bio_queue", dev="9,0")
    dropped = max(event.time for event in queued if "D" in event.rwbs)
    wrote = min(event.time for event in queued if "W" in event.rwbs)
    done = min(event.time for event in trace.events("block_bio_complete", dev="9,0")
               if "D" in event.rwbs)
    assert dropped < wrote < done, "they did not overlap"
    found = states(array, base, 10)
    assert found[hit - base] in ("Dirty", "Clean")
    assert found[count:] == ["Clean"] * (10 - count)
    # one range stays whole beside the write; which one is not promised
    assert found.count("Unwritten") >= count // 2 - 1
    assert count == 1 or "Unwritten" in found
    assert sum(array.bits().values()) == array.metadata()["chunks"]
    check_order(trace, members, array)


@EACH_LEVEL
def test_unwritten_only_after_the_members_have_it_durably(vm, level, disks):
    members = mapped_members(vm, disks)
    array, unit = make(vm, level, disks, members)
    write(vm, array, 0, 4 * unit)
    array.flush()
    keep_active(vm, array, 32 * unit)
    for member in members:
        member.delay_writes(500)
    with Trace(vm, *BLOCK) as trace:
        discard(vm, array, 0, 4 * unit)
        array.flush()
    for member in members:
        member.plain()
    data = data_writes(trace, members, array)
    assert data and all("D" in event.rwbs for event in data)
    # Startwrite, durable, first
    check_order(trace, members, array)
    change, = trace.events("transition", action="Discard")
    completed = max(event.time for event in trace.events("block_bio_complete")
                    if "D" in event.rwbs and event.dev in {m.number for m in members})
    for member in members:
        flushes = [event.time for event in trace.events("block_bio_queue", dev=member.number)
                   if event.rwbs.startswith("F") and event.sectors == 0]
        assert any(completed < when < change.time for when in flushes), "not flushed"


@LEVELS
def test_member_without_discard(vm, level, disks):
    """The discard succeeds; one member still has the data: not Unwritten."""
    members = [*vm.disks[:disks - 1], vm.disks[5]]
    array = vm.create_array(level=level, disks=disks, members=members)
    write(vm, array, 0, 4096, pattern=0x44)
    array.flush()
    with Trace(vm) as trace:
        discard(vm, array, 0, 4096)
        array.flush()
    # RAID10: half of the chunks are on members that all did it
    layout = array.layout()
    last = disks - 1
    for chunk in range(32):
        sectors = range(chunk * CHUNK, chunk * CHUNK + CHUNK, 8)
        has_copy = any(role == last for sector in sectors for role, _ in layout.copies(sector))
        if has_copy:
            assert chunk not in trace.chunks("Discard")
    if level == 1:
        assert set(states(array, 0, 32)) == {"Clean"}


@pytest.mark.parametrize("level", [1, 10])
def test_member_that_fails_discards(vm, level):
    members = mapped_members(vm)
    array = vm.create_array(level=level, disks=2, members=members)
    write(vm, array, 0, 8 * CHUNK)
    write(vm, array, 16 * CHUNK, 8 * CHUNK)
    array.flush()
    members[1].fail(272, 500000)
    with Trace(vm) as trace:
        discard(vm, array, 0, 8 * CHUNK)
        vm.run("sleep 0.5")
        before = states(array, 0, 8)
    members[1].plain()
    array.flush()
    assert "faulty" not in array.member_state(members[1])       # a discard is advice
    assert trace.events("transition", action="Discard") == []
    assert before == ["Dirty"] * 8
    # the other way round: the same range, done by both
    discard(vm, array, 0, 8 * CHUNK)
    array.flush()
    assert states(array, 0, 8) == ["Unwritten"] * 8


@cases("level, disks", long=[(5, 3), (6, 4)])
def test_member_with_parity_that_fails_discards(vm, level, disks):
    """What did not take it is a bad block, with a log for those. It is left out when the same range
    is discarded again: that one member still has old data, and the chunk stays what it is."""
    members = mapped_members(vm, disks)
    array, unit = make(vm, level, disks, members, size=65536)
    with discards_allowed(vm, level):
        give_log(vm, array)
    write(vm, array, 0, 16 * unit)
    array.flush()
    members[1].fail(array.member_images()[0].data_offset, 4 * CHUNK)
    with Trace(vm) as trace:
        discard(vm, array, 0, 8 * unit)
        members[1].plain()
        discard(vm, array, 0, 2 * unit)
        array.flush()
    assert array.degraded() == 0 and bad_blocks(array, members[1]) != [""]
    assert trace.chunks("Startwrite") == list(range(8))
    assert trace.events("transition", action="Discard") == []
    # what all did
    discard(vm, array, 8 * unit, 8 * unit)
    array.flush()
    assert states(array, 0, 16) == ["Clean"] * 8 + ["Unwritten"] * 8


@LEVELS
def test_discard_while_degraded(vm, level, disks):
    """The missing member did not do it."""
    array = vm.create_array(level=level, disks=disks)
    write(vm, array, 0, 8 * CHUNK, pattern=0x55)
    array.flush()
    array.fail(vm.disks[0])
    array.remove(vm.disks[0])
    with Trace(vm) as trace:
        discard(vm, array, 0, 4 * CHUNK)
        write(vm, array, CHUNK, pattern=0x66)
        array.flush()
    assert trace.events("transition", action="Discard") == []
    assert states(array, 0, 6) == ["NeedSync"] * 4 + ["Clean"] * 2
    array.re_add(vm.disks[0])
    array.wait_sync()
    assert array.degraded() == 0
    array.flush()
    assert array.unequal() == []
    assert "Unwritten" not in states(array, 0, 8)


def test_discard_of_chunks_to_be_synced(vm):
    """A discard on all members makes them equal without a sync: NeedSync -> Unwritten."""
    array = vm.create_array(level=1, disks=2)
    write(vm, array, 0, 8 * CHUNK)
    array.flush()
    array.set("sync_action", "frozen")
    array.set("llbitmap/mark", "2-3")
    assert states(array, 1, 4) == ["Clean", "NeedSync", "NeedSync", "Clean"]
    with Trace(vm) as trace:
        discard(vm, array, 2 * CHUNK, CHUNK)
        array.flush()
    assert trace.changes() == {"NeedSync->Unwritten Discard": 1}
    array.set("sync_action", "idle")
    array.wait_sync()
    assert states(array, 1, 4)[1] == "Unwritten"
