# SPDX-License-Identifier: GPL-2.0-or-later
"""First writes to Clean chunks share bitmap writes, and a crash among them costs no more for it."""
import contextlib
import os
import random
import statistics

import pytest

import cold
from levels import cases, wrong_sectors
from support import (TRACING, Trace, begin_write, held, keep_active, mapped_members, reboot,
                     wait_until)

pytestmark = pytest.mark.vm(**cold.VM)
EACH_ARRAY = cases("level, disks", cold.ARRAYS[0], long=cold.ARRAYS[1:])
SEED = int(os.environ.get("COLD_SEED") or random.randrange(1 << 30))


@EACH_ARRAY
def test_share_of_bitmap_writes(vm, level, disks):
    """The median of three runs: a busy machine makes fewer writers come together."""
    array = cold.create(vm, level, disks)
    shares = []
    # two runs that agree have decided what the median is
    while max(sum(share <= cold.MOST for share in shares),
              sum(share > cold.MOST for share in shares)) < 2:
        array.flush()       # all Clean again
        bios = cold.count(vm, array)
        assert array.bits()["dirty"] == cold.CHUNKS
        print(f"RAID{level}, {disks} members: one got {bios.bitmap} bitmap writes and {bios.data} "
              f"others: {bios.share:.1f} for 100 of these, "
              f"{100 * bios.bitmap / cold.CHUNKS:.1f} for 100 writes to the array")
        shares.append(bios.share)
    assert sum(share <= cold.MOST for share in shares) == 2, shares


def test_neighbouring_pages_in_one_write(vm):
    """Writers to two pages come while a bitmap write is in flight: one bio with FUA serves both."""
    members = mapped_members(vm)
    array = vm.create_array(level=1, disks=2, members=members)
    keep_active(vm, array, 4096)
    chunks = [8000, 3071, 3072]     # the last of page 0 and the first of page 1, while 2 is written
    writers = []
    with held(members) as gate, Trace(vm, "block/block_bio_queue") as trace:
        for chunk in chunks:
            writers.append(begin_write(vm, array, chunk * 128))
            wait_until(vm, lambda chunk=chunk: trace.recorded("transition", chunk=chunk))
            wait_until(vm, lambda: trace.recorded("writeback", op="begin", page=2))
        gate.open()
        for writer in writers:
            writer.wait()
    assert trace.chunks("Startwrite") == sorted(chunks)
    end, = trace.events("writeback", op="end", page=2)
    assert all(event.time < end.time for event in trace.events("transition")), "too late"
    first, sectors = cold.area(array)
    for member in members:
        bios = [event for event in trace.events("block_bio_queue", dev=member.number)
                if "W" in event.rwbs and first <= event.sector < first + sectors]
        assert [(bio.sector, bio.sectors) for bio in bios] == [(first + 16, 8), (first, 16)]
        assert all("F" in bio.rwbs.partition("W")[2] for bio in bios), bios


@contextlib.contextmanager
def switches(vm, thread):
    """sched_switch events away from one thread, and no others; for Trace."""
    event = f"{TRACING}/events/sched/sched_switch"
    vm.write(f"{event}/filter", f'prev_comm == "{thread}"')
    yield "sched/sched_switch"
    vm.run(f"echo 0 > {event}/enable; echo 0 > {event}/filter")


@pytest.mark.long
def test_lone_writer_waits_for_nobody(vm):
    """Its bitmap write begins at once: the array's thread, which is woken for it, does not sleep
    before. How long it sleeps, beside how long a write takes, says less on a slow machine."""
    array = cold.create(vm, 1, 2)
    load = cold.Load(vm, array)
    load.run()     # many at once before
    array.flush()
    vm.run("cd /run && { head -n 503 cold.iolog; tail -n 1 cold.iolog; } > lone && "
           "mv lone cold.iolog")
    with switches(vm, f"{array.name}_raid1") as slices, Trace(vm, slices) as trace:
        vm.run(load.command(depth=1), timeout=120)
    changed, slept, waits = None, 0, []
    for event in trace.all():
        if event.name == "transition":
            changed, slept = event.time, 0
        elif event.name == "sched_switch" and "prev_state=R" not in event.text:
            slept += 1
        elif event.name == "writeback" and event.op == "begin" and changed:
            waits.append((event.time - changed, slept))
            changed = None
    assert len(waits) == len(trace.chunks("Startwrite")) == 500
    with_sleep = sum(slept > 0 for _, slept in waits)
    print(f"{statistics.median(wait for wait, _ in waits) * 1e6:.0f} us from the transition to the "
          f"bitmap write; of {len(waits)}, {with_sleep} slept before")
    assert with_sleep < len(waits) / 2


@EACH_ARRAY
@pytest.mark.parametrize("share", [pytest.param(0.02, marks=pytest.mark.long), 0.4,
                                   pytest.param(0.8, marks=pytest.mark.long),
                                   pytest.param(None, marks=pytest.mark.long, id="drawn")])
def test_power_cut(vm, level, disks, share):
    """What is synced afterwards is what was written to, and what was about to be."""
    if share is None:
        share = random.Random(f"{SEED} {level} {disks}").uniform(0.02, 0.8)
        print(f"COLD_SEED={SEED}: power fails at {share:.1%}")
    array = cold.create(vm, level, disks)
    load = cold.Load(vm, array, seed=level)
    written, unequal = cold.cut(vm, array, load, share)

    reboot(vm, array)
    with Trace(vm) as trace:
        read = cold.resynced(vm, array)
    synced = set(trace.chunks("Startsync"))
    print(f"RAID{level}, {disks} members: {len(written)} chunks written to, {len(unequal)} of them unequal, "
          f"{len(synced)} resynced: {len(synced) / len(written):.3f}; {read / 65536:.1f} read")
    assert unequal <= synced
    assert len(synced) <= cold.CRASH_MOST * len(written)
    # what the bench takes for it: besides these superblocks and bitmaps are read
    assert len(synced) << 16 <= read < (len(synced) << 16) + (2 << 20)
    assert array.bits()["need sync"] == 0 and array.bits()["syncing"] == 0
    array.settle()
    assert wrong_sectors(array) == []
