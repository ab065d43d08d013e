# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID4, RAID5 and RAID6 without all members: degraded from the start, rebuilt, replaced; and what
may be discarded."""
import contextlib
import signal

import pytest

from oracle import Plan
from levels import cases, discards_allowed, litter
from support import Mapped, Trace, discard, held, on_disk, reboot, states, wait_until
from test_parity import (CHUNK, KIB, ORACLE, all_comes_back, assemble, make,
                         parity_is_right, passed, perform, plan, resync, verify)
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=7, disk=DiskOptions(size="96M"), memory="1G")


@cases("level, disks, missing", (5, 5, 1), (6, 5, 1), (6, 5, 2),
       long=[(4, 4, 1), (5, 3, 1), (6, 4, 2)])
def test_degraded_from_the_start(vm, level, disks, missing):
    """Parts of stripes whose parity was never built, and a member that never was."""
    array = make(vm, level, disks, missing)
    assert array.degraded() == missing
    lost = tuple(range(disks - missing, disks))
    first = plan(array, 20)
    perform(array, first)
    verify(array, first)
    all_comes_back(array, first.wanted(), lost)
    bits = array.bits()
    assert bits["unwritten"] > 20 and bits["need sync"] > 20 and not bits["dirty"] + bits["clean"]

    # reads of what nobody ever wrote are stable
    vm.run(f"md5sum {array} >/root/before; echo 3 >/proc/sys/vm/drop_caches;"
           f"md5sum -c /root/before")

    spares = vm.free_disks()[:missing]
    litter(vm, spares, seed=1)
    for spare in spares:
        array.add(spare)
    array.wait_sync()
    wait_until(vm, lambda: array.degraded() == 0)
    all_comes_back(array, first.wanted())
    resync(array)
    parity_is_right(array)
    verify(array, first)
    second = plan(array, 21)
    perform(array, second)
    all_comes_back(array, first.wanted() | second.wanted())


LOW = 2048                  # sectors of a member at its beginning, never written before
CACHED = 2048               # stripes, so that what is recovered above does not push these out


def low(array, seed, count=60):
    return Plan(seed, 0, LOW * (array.size() // (KIB * 1024)), count)


def read_low(array):
    """The stripe cache has these blocks now."""
    vm, width = array.vm, array.size() // (KIB * 1024)
    vm.run(f"dd if={array} of=/dev/null bs=64k count={LOW * width // 128} iflag=direct status=none")


def write_above(array):
    """From LOW on there is something to sync, up to five times LOW."""
    width = array.size() // (KIB * 1024)
    array.vm.run(f"dd if=/dev/urandom of={array} bs=64k oflag=direct status=none "
                 f"seek={LOW * width // 128} count={64 * width}")


def untouched(array, disk):
    """Of a member, where nobody ever wrote."""
    return disk.read(array.member_images()[0].data_offset + 20 * LOW, 1024)


@contextlib.contextmanager
def held_above(array, spare, begin):
    """Begins a recovery. It has left out what is low, and cannot tell yet how far it came, as its
    first write to the spare is held: what it left out is not in-sync."""
    where = array.member_images()[0].data_offset + LOW

    def arrived():
        return any("W" in event.rwbs and event.sector >= where
                   for event in trace.recorded("block_bio_queue", dev=spare.number))
    with held([spare], where, 8):
        with Trace(array.vm, "block/block_bio_queue") as trace:
            begin()
            wait_until(array.vm, arrived)
        yield


def finish(array):
    array.set("sync_max", "max")
    array.wait_sync()
    wait_until(array.vm, lambda: array.degraded() == 0)


def rebuild_with_writes(array, spare, begin):
    """Writes where the recovery has been, and has left out what was never written: parity is
    computed from what the new member really has, not from what the cache thinks."""
    read_low(array)
    write_above(array)
    array.set("sync_max", 4 * LOW)
    with held_above(array, spare, begin):
        first = low(array, 30)
        perform(array, first)
        all_comes_back(array, first.wanted())       # with what the new member has by now
        verify(array, first)
    # now it tells: the new member counts so far
    wait_until(array.vm, lambda: passed(array, 4 * LOW))
    second = low(array, 33)
    perform(array, second)
    wanted = first.wanted() | second.wanted()
    all_comes_back(array, wanted)
    finish(array)
    all_comes_back(array, wanted)
    third = low(array, 31)
    perform(array, third)
    wanted |= third.wanted()
    all_comes_back(array, wanted)
    resync(array)
    parity_is_right(array)
    all_comes_back(array, wanted)
    verify(array, third)


def read_before_rebuilt(array, spare, begin):
    """The cache keeps blocks from before the new member counted, and writes come after that."""
    write_above(array)
    with held_above(array, spare, begin):
        read_low(array)
    finish(array)
    first = low(array, 32)
    perform(array, first)
    all_comes_back(array, first.wanted())
    resync(array)
    parity_is_right(array)


WHEN = pytest.mark.parametrize("when", [rebuild_with_writes, read_before_rebuilt])


def another(vm, array, seed):
    """A member to come, with something on it; and the cache is large enough for all that is low."""
    spare = Mapped(vm, "spare", vm.free_disks()[0])
    litter(vm, [spare.disk], seed=seed)
    array.set("stripe_cache_size", CACHED)
    return spare


@WHEN
@cases("level, disks", (5, 4), long=[(6, 5)])
def test_rebuild_leaves_out_what_was_never_written(vm, level, disks, when):
    array = make(vm, level, disks)
    member, spare = array.members[0], another(vm, array, 5)
    read_low(array)
    array.fail(member)
    array.remove(member)

    def begin():
        array.members.remove(member)
        array.add(spare)
    before = untouched(array, spare)
    try:
        when(array, spare, begin)
    finally:
        array.members.append(member)
    assert untouched(array, spare) == before, "it got what was never written"


@WHEN
@cases("level, disks", (5, 4), long=[(6, 5)])
def test_replacement_leaves_out_what_was_never_written(vm, level, disks, when):
    array = make(vm, level, disks)
    member, spare = array.members[0], another(vm, array, 6)
    read_low(array)
    array.add(spare)
    array.members.remove(member)        # what is looked at is the new one

    def begin():
        vm.run(f"mdadm {array} --replace {member} --with {spare}")
    before = untouched(array, spare)
    try:
        when(array, spare, begin)
        assert "in_sync" in array.member_state(spare)
    finally:
        array.members.append(member)
    assert untouched(array, spare) == before, "it got what was never written"


@pytest.mark.parametrize("level, disks", [(5, 4), (6, 5)])
def test_re_added_member(vm, level, disks):
    array = make(vm, level, disks)
    first = plan(array, 40)
    perform(array, first)
    resync(array)
    array.flush()
    dirty = plan(array, 42, 50)         # when the member leaves
    perform(array, dirty)
    array.fail(array.members[1])
    array.remove(array.members[1])
    second = plan(array, 41)
    with Trace(vm) as trace:
        perform(array, second)
        array.flush()
    # nothing is called Dirty meanwhile, and nothing Clean
    assert set(trace.changes()) == {"Unwritten->NeedSync Startwrite", "Clean->NeedSync Startwrite"}
    array.re_add(array.members[1])
    array.wait_sync()
    wait_until(vm, lambda: array.degraded() == 0)
    all_comes_back(array, first.wanted() | dirty.wanted() | second.wanted())
    resync(array)
    parity_is_right(array)


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(6, 5)])
def test_recovery_of_one_of_two(vm, level, disks):
    """RAID6: one member comes back, then the other; and what a resync has to settle is left to it."""
    array = make(vm, level, disks)
    first = plan(array, 50)
    perform(array, first)
    gone = array.members[:2]
    for member in gone:
        array.fail(member)
        array.remove(member)
    second = plan(array, 51)
    perform(array, second)
    wanted = first.wanted() | second.wanted()
    all_comes_back(array, wanted, (0, 1))
    for role, member in enumerate(gone):
        vm.run(f"mdadm --zero-superblock {member}")
        with Trace(vm) as trace:
            array.add(member)
            wait_until(vm, lambda: array.member_state(member) == ["in_sync"], 60)
            array.wait_sync()
        for event in trace.events("transition", action="Startsync"):
            assert not ({"RECOVERING", "COPIES"} <= event.flags and event.source == "NeedSync")
        # md fills the first slot that is free; who is still out seems to be one, but is not read
        assert [image.role for image in array.member_images()] == list(range(disks))
        missing = tuple(range(role + 1, 2))
        assert array.degraded() == len(missing)
        all_comes_back(array, wanted, missing)
        verify(array, second)
    resync(array)
    parity_is_right(array)


# -- while the array is written to -------------------------------------------------------------------

class Load:
    """Random writes, one after the other, until they have lasted long enough; to a part of the array,
    so that they come to each chunk again and again."""

    def __init__(self, array, seed):
        self.array = array
        self.plan = Plan(seed, 0, array.size() // 512 // 6, 5000)
        self.process = array.vm.spawn(f"exec {ORACLE} write {array} {self.plan.arguments()}")
        self.more()

    def done(self):
        return self.process.output()[0].count("\n")

    def more(self, count=25):
        """Goes on when that many more are done."""
        until = self.done() + count
        wait_until(self.array.vm, lambda: self.done() >= until, 60, "it does not write any more")

    def end(self):
        """What must be there now; of the write that it was interrupted in, maybe."""
        self.more()
        self.process.signal(signal.SIGINT)
        result = self.process.wait(check=False)
        assert "KeyboardInterrupt" in result.stderr, result.stderr
        done = result.stdout.count("\n")
        seed, first, sectors, _, _ = self.plan.numbers
        return Plan(seed, first, sectors, done + 1).wanted(done)


@cases("level, disks", (5, 4), long=[(4, 4), (6, 5)])
def test_members_come_and_go_under_load(vm, level, disks):
    """As many as may be missing leave and come back, leave and others take their place, and one is
    replaced; the daemon cleans meanwhile, and resyncs build parity."""
    array = make(vm, level, disks)
    count = 2 if level == 6 else 1
    spares = vm.free_disks()[:2]
    litter(vm, spares, seed=8)
    array.set("sync_speed_min", 100000)         # a sync does not wait for the writes to end
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    mine = list(array.members)

    def leave(members):
        array.wait_bits(lambda bits: bits["clean"] > 10)
        for member in members:
            array.fail(member)
            array.remove(member)
        assert array.degraded() == len(members)
        load.more()

    def complete(member):
        wait_until(vm, lambda: array.degraded() == 0 and
                   array.member_state(member) == ["in_sync"], 120, "it is not filled")
        load.more()

    with Trace(vm) as trace:
        load = Load(array, 90)
        leave(mine[:count])
        for member in mine[:count]:
            array.re_add(member)
        complete(mine[0])

        leave(mine[1:1 + count])
        # ... to come back with nothing of what they had, or never
        vm.run(f"mdadm --zero-superblock {mine[2]}" if count == 2 else "true")
        for member in [spares[0], mine[2]][:count]:
            array.add(member)
        complete(spares[0])

        array.add(spares[1])
        vm.run(f"mdadm {array} --replace {mine[-1]}")   # --with comes too late: md takes the spare
        load.more(5)
        complete(spares[1])
        wanted = load.end()
    changes = trace.changes()
    array.remove(mine[-1])
    gone = [mine[1], mine[-1]]
    for member in gone:
        array.members.remove(member)
    try:
        assert array.degraded() == 0
        array.wait_sync()
        all_comes_back(array, wanted)
        resync(array)
        parity_is_right(array)
        all_comes_back(array, wanted)
    finally:
        array.members += gone
    # all of it did happen meanwhile
    assert {"Unwritten->NeedSync Startwrite", "NeedSync->Syncing Startsync", "Dirty->Clean Daemon",
            "Clean->NeedSync Startwrite"} <= set(changes), changes


# -- discards ------------------------------------------------------------------------------------------

@pytest.fixture
def discards(vm):
    with discards_allowed(vm, 5):
        yield


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(5, 4), (6, 5), (4, 4)])
def test_discard(vm, discards, level, disks):
    """Whole stripes go; chunks covered as a whole become Unwritten when all members did it."""
    array = make(vm, level, disks, chunk=64)
    width = array.size() // (24576 * 1024)
    stripe = 128 * width
    first = Plan(60, 0, 100 * stripe, 300)
    perform(array, first)
    resync(array)
    array.flush()
    found = states(array)
    assert found[4:20].count("Clean") > 8 and stripe == 384
    with Trace(vm) as trace:
        discard(vm, array, 4 * stripe - 8, 16 * stripe + 16)
        vm.run("sleep 1")
    assert set(trace.chunks("Discard")) == {chunk for chunk in range(4, 20)
                                            if found[chunk] != "Unwritten"}
    assert states(array) == found[:4] + ["Unwritten"] * 16 + found[20:]
    wanted = {sector: numbers for sector, numbers in first.wanted().items()
              if not 4 * stripe <= sector < 20 * stripe}
    all_comes_back(array, wanted)
    second = Plan(61, 0, 100 * stripe, 100)
    perform(array, second)
    all_comes_back(array, wanted | second.wanted())
    resync(array)
    parity_is_right(array)


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(5, 4), (4, 4), (6, 5)])
def test_discarded_is_unwritten_on_disk(vm, discards, level, disks):
    """The daemon takes it to each member, though nothing else is to be written, and nobody asks for
    it: what is left there would be believed after a cut, of parity that nobody keeps any more."""
    array = make(vm, level, disks, chunk=64)
    width = array.size() // (KIB * 1024)
    first = Plan(64, 0, 100 * CHUNK * width, 300)
    perform(array, first)
    resync(array)
    array.flush()
    kept = Plan(65, 0, 8, 1)
    array.set("safe_mode_delay", 0)
    perform(array, kept)        # from now on no page is written for md's superblock
    array.flush()
    assert set(states(array, 0, 20)) == {"Clean"}
    assert {content[4:20] for content in on_disk(array)} == {bytes([1] * 16)}
    with Trace(vm) as trace:
        array.set("llbitmap/daemon_sleep", 1)
        discard(vm, array, 4 * CHUNK * width, 16 * CHUNK * width)
        wait_until(vm, lambda: trace.recorded("transition", action="Discard"))
        wait_until(vm, lambda: {content[4:20] for content in on_disk(array)} == {bytes(16)}, 15,
                   "it is not on the members")
    assert trace.chunks("Discard") == list(range(4, 20))
    assert states(array, 4, 16) == ["Unwritten"] * 16

    # a cut: it is still Unwritten, so the first write to it builds parity
    vm.power_cut()
    reboot(vm, array)
    with Trace(vm) as trace:
        assemble(array)
        array.wait_in_sync()
        array.wait_sync()
    assert states(array, 4, 16) == ["Unwritten"] * 16
    assert not set(range(4, 20)) & set(trace.chunks("Startsync"))
    array.set("llbitmap/daemon_sleep", 3600)
    second = Plan(66, 4 * CHUNK * width, 16 * CHUNK * width, 40)
    with Trace(vm) as trace:
        perform(array, second)
    assert set(trace.changes()) == {"Unwritten->NeedSync Startwrite"}
    wanted = {sector: numbers for sector, numbers in first.wanted().items()
              if not 4 * CHUNK * width <= sector < 20 * CHUNK * width}
    wanted |= kept.wanted() | second.wanted()
    all_comes_back(array, wanted)
    resync(array)
    parity_is_right(array)
    all_comes_back(array, wanted)


@pytest.mark.long
def test_discard_while_degraded(vm, discards):
    array = make(vm, 5, 4, chunk=64)
    width = array.size() // (24576 * 1024)
    first = Plan(62, 0, 12800 * width, 200)
    perform(array, first)
    resync(array)
    array.fail(array.members[2])
    with Trace(vm) as trace:
        discard(vm, array, 0, 128 * width * 8)
        vm.run("sleep 1")
    assert trace.events("transition", action="Discard") == []
    assert "Clean" not in states(array, 0, 8)
    wanted = {sector: numbers for sector, numbers in first.wanted().items()
              if sector >= 128 * width * 8}
    all_comes_back(array, wanted, (2,))


@cases("level, disks", long=[(5, 4), (6, 4)])
@pytest.mark.vm(each_disk=(*[DiskOptions(size="96M")] * 3, DiskOptions(size="96M", discard=False)),
                memory="1G")
def test_member_without_discard(vm, discards, level, disks):
    """It is not thrown out, and the others keep their data as well: parity stays right."""
    array = make(vm, level, disks, chunk=64)
    first = plan(array, 63)
    perform(array, first)
    resync(array)
    array.flush()
    before = states(array)
    with Trace(vm, "block/block_bio_queue") as trace:
        vm.run(f"blkdiscard -f {array}")
        vm.run("sleep 0.5")
    dropped = {event.dev for event in trace.events("block_bio_queue") if "D" in event.rwbs}
    assert dropped == {"9,0"}, "it has to get to the array, and no further"
    assert array.degraded() == 0 and states(array) == before
    all_comes_back(array, first.wanted())
    parity_is_right(array)
