# SPDX-License-Identifier: GPL-2.0-or-later
"""Writers: promises 1, 2, 10 and 11. Members behind dm-delay make every window wide."""

import pytest

from levels import EACH_LEVEL_WHOLE, cases, first_sector, width
from order import check_order, data_writes
from support import (ReadyWriter, Trace, begin_flush, begin_write, delayed, discard, disk_prefix,
                     errno_of, held, keep_active, mapped_members, on_disk, somebody_is_in, states,
                     wait_until, write)
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="128M"))

BLOCK = ("block/block_bio_queue", "block/block_bio_complete")
LEVELS = pytest.mark.parametrize("level", [1, 10])
MIRRORS_AND_PARITY = cases("level, disks", (1, 2), (10, 2), long=[(5, 3), (6, 4)])
# A drain gives up after 5 s, and on a busy host it takes its time to do something meanwhile: as
# often it is tried again.
DRAINS = 4

NOWAIT = """
import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
data = mmap.mmap(-1, 4096)
try:
    print(os.pwritev(fd, [data], int(sys.argv[2]) * 512, os.RWF_NOWAIT))
except OSError as error:
    print(errno.errorcode[error.errno])
"""

NOW_AND_THEN = """
import mmap, os, sys, time
# one process, for none is started in time for sure: 4 KiB to one of ten chunks, again and again
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
data = mmap.mmap(-1, 4096)
chunk = 0
while True:
    chunk = chunk % 10 + 1
    os.pwrite(fd, data, chunk * int(sys.argv[2]) * 512)
    time.sleep(0.3)
"""


@pytest.fixture
def slow(vm):
    """make(level) -> an array on mapped members, settled."""
    def make(level, count=2, **options):
        members = mapped_members(vm, count)
        array = vm.create_array(level=level, disks=count, members=members, **options)
        keep_active(vm, array, 4096)
        return array, members
    return make


@LEVELS
def test_dirty_is_on_disk_before_the_data(vm, slow, level):
    array, members = slow(level)
    with delayed(members, 700), Trace(vm, *BLOCK) as trace:
        write(vm, array, 128)
    change, = trace.events("transition")
    assert (change.chunk, change.source, change.to) == (1, "Clean", "Dirty")
    check_order(trace, members, array)
    assert len(data_writes(trace, members, array)) == 2
    durable = trace.events("writeback", op="end")[0]
    assert durable.error == 0 and durable.seq >= change.seq
    assert durable.time - change.time > 0.5, "the members were not slow"


@LEVELS
def test_second_plugged_writer_waits(vm, slow, level):
    """Dirty in memory is not Dirty on disk: pitfall seen with the area behind dm-delay."""
    array, members = slow(level)
    late = ReadyWriter(vm, array, 264, 8)
    with held(members) as gate, Trace(vm, *BLOCK) as trace:
        first = begin_write(vm, array, 256)
        wait_until(vm, lambda: trace.recorded("writeback", op="begin"))
        late.go_and_arrive(trace)
        gate.open()
        first.wait()
        late.wait()
    change, = trace.events("transition")
    begin, end = trace.events("writeback")[:2]
    assert change.chunk == 2 and end.op == "end" and end.seq >= change.seq
    second = [event for event in trace.events("block_bio_queue", dev="9,0")
              if event.task.startswith("python3") and "W" in event.rwbs]
    assert len(second) == 8
    assert all(begin.time < event.time < end.time for event in second), "too late for the window"
    assert len(data_writes(trace, members, array)) == 2 * 9
    check_order(trace, members, array)
    array.settle()
    assert array.unequal() == []


@MIRRORS_AND_PARITY
def test_change_while_its_page_is_written(vm, slow, level, disks):
    """It is in no write yet: it waits for another one, which must come."""
    array, members = slow(level, disks)
    with held(members) as gate, Trace(vm, *BLOCK) as trace:
        first = begin_write(vm, array, first_sector(array, 2))
        wait_until(vm, lambda: trace.recorded("writeback", op="begin"))
        second = begin_write(vm, array, first_sector(array, 9))
        wait_until(vm, lambda: trace.recorded("transition", chunk=9))
        gate.open()
        first.wait()
        second.wait()
    one, two = trace.events("transition")
    begin, end = trace.events("writeback")[:2]
    assert (one.chunk, two.chunk) == (2, 9)
    assert begin.time < two.time < end.time, "too late for the window"
    assert one.seq <= end.seq < two.seq
    check_order(trace, members, array)
    for content in on_disk(array):
        assert (content[2], content[9]) == (2, 2)


@LEVELS
def test_many_chunks_are_one_event_and_one_write(vm, level):
    array = vm.create_array(level=level, disks=2)
    keep_active(vm, array, 4096)
    with Trace(vm) as trace:
        write(vm, array, 0, 512)
    change, = trace.events("transition")
    assert (change.chunk, change.count) == (0, 4)
    assert [event.op for event in trace.events("writeback")] == ["begin", "end"]


def test_whole_stripes_are_discarded_behind_the_bitmap(vm, slow):
    """raid10 parks no such discard, so it has to wait before it goes out."""
    array, members = slow(10, 4, chunk=64)
    with delayed(members, 700), Trace(vm, *BLOCK) as trace:
        discard(vm, array, 512, 2048)
    # the members were given whole stripes at once, not array chunks
    assert max(event.sectors for event in data_writes(trace, members, array)) == 1024
    check_order(trace, members, array)
    durable = trace.events("writeback", op="end")[0]
    assert durable.time - trace.events("transition")[0].time > 0.5, "the members were not slow"


@pytest.mark.parametrize("level, disks", [(1, 3), (10, 4)])
def test_order_under_load(vm, slow, level, disks):
    """Every write and discard of a random load, with the daemon cleaning behind its back."""
    array, members = slow(level, disks, size=65536)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    with delayed(members, 20), Trace(vm, *BLOCK) as trace:
        cleaner = vm.spawn(f"while :; do echo 1 > {array.sysfs}/llbitmap/flush; sleep 0.3; done")
        vm.run(f"fio --name=w --filename={array} --rw=randwrite --bsrange=4k-256k --size=60M "
               f"--direct=1 --ioengine=libaio --iodepth=8 --iodepth_batch_submit=4 "
               f"--number_ios=500 --randseed=7 & "
               f"fio --name=t --filename={array} --rw=randtrim --bs=256k --size=60M --direct=1 "
               f"--number_ios=60 --randseed=8; wait", timeout=120)
        cleaner.signal(9)
        cleaner.wait(check=False)
        array.flush()
    changes = trace.changes()
    assert changes["Clean->Dirty Startwrite"] > 50 and changes["Dirty->Clean Daemon"] > 50
    assert len(data_writes(trace, members, array)) > 500
    cleaned = trace.events("transition", action="Daemon")
    assert any(event.time > cleaned[0].time for event in data_writes(trace, members, array)), \
        "nothing was cleaned behind its back"
    check_order(trace, members, array)


@LEVELS
def test_steady_writes_are_free(vm, level):
    """Promise 11: no event, no bitmap write, and out of the writer's own context."""
    array = vm.create_array(level=level, disks=2)
    array.set("llbitmap/daemon_sleep", 3600)
    keep_active(vm, array)
    write(vm, array, 128, 128)
    content = on_disk(array)
    with Trace(vm, "block/block_bio_queue") as trace:
        vm.run(f"fio --name=steady --filename={array} --rw=randwrite --bs=4k --offset=64k "
               f"--size=64k --io_size=256k --direct=1 --randseed=1")
    assert trace.events("transition") == [] and trace.events("writeback") == []
    assert trace.events("barrier") == []
    disks = disk_prefix(vm)
    tasks = {event.task for event in trace.events("block_bio_queue")
             if event.dev.startswith(disks) and "W" in event.rwbs and event.sectors}
    queued = {event.task for event in trace.events("block_bio_queue", dev="9,0")
              if "W" in event.rwbs}
    assert tasks == queued and len(queued) == 1
    assert on_disk(array) == content


def test_reads_change_nothing(vm):
    array = vm.create_array(level=10, disks=4, assume_clean=False)
    array.wait_sync()
    with Trace(vm) as trace:
        vm.run(f"dd if={array} of=/dev/null bs=1M iflag=direct status=none")
    assert trace.events("transition") == []


# -- the daemon ---------------------------------------------------------------------------------

@pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="320M"))
@EACH_LEVEL_WHOLE
def test_daemon_cleans_idle_pages_only(vm, level, disks):
    """Page 0 is written to all the time, page 1 once; afterwards nothing runs any more."""
    array = vm.create_array(level=level, disks=disks, chunk=None if level == 1 else 64)
    sectors = 128 * width(level, disks)         # of the array, for each chunk
    assert array.metadata()["chunks"] > 3072 + 100
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 8)

    def writes_now():
        return [event for event in trace.recorded("block_bio_queue", dev="9,0")
                if "W" in event.rwbs]

    with Trace(vm, "block/block_bio_queue") as trace:
        # the other page is written to before this one begins to be idle, and after it was cleaned
        writer = vm.spawn(["python3", "-c", NOW_AND_THEN, array, sectors])
        wait_until(vm, writes_now)
        write(vm, array, (3072 + 50) * sectors)
        wait_until(vm, lambda: [event for event in trace.recorded("transition", action="Daemon")
                                if (event.chunk + 1024) // 4096 == 1])
        so_far = len(writes_now())
        wait_until(vm, lambda: len(writes_now()) > so_far)
        writer.signal(9)
        writer.wait(check=False)
        array.wait_bits(lambda bits: bits["dirty"] == 0)
        wait_until(vm, lambda: trace.recorded("daemon")[-1].op == "end")    # and it is stored
    writes = [event for event in trace.events("block_bio_queue", dev="9,0") if "W" in event.rwbs]
    cleaned = {0: [], 1: []}
    for event in trace.events("transition", action="Daemon"):
        assert (event.source, event.to) == ("Dirty", "Clean")
        assert event.flags >= {"DRAINED", "FLUSHED"} and "DEGRADED" not in event.flags
        page = (event.chunk + 1024) // 4096
        cleaned[page].append(event)
        assert [one.op for one in trace.events("barrier", page=page)
                if one.time <= event.time][-1] == "suspend"
    for event in trace.events("barrier", op="suspend"):
        # a writer that the host let stop for so long makes an idle page as well
        begin = event.time - event.ns / 1e9
        before = [write.time for write in writes if write.time < begin and
                  (write.sector // sectors + 1024) // 4096 == event.page]
        assert begin - max(before) >= 7.9, "a busy page was drained"
    first, last = writes[0].time, writes[-1].time
    assert any(first < event.time < last for event in cleaned[1]), "page 1 waited for page 0"
    assert cleaned[0] and cleaned[0][-1].time > last
    assert any(event.skipped for event in trace.events("daemon", op="end"))

    # the timer stops
    with Trace(vm) as trace:
        vm.run("sleep 4")
    assert trace.events("daemon") == [] and trace.events("writeback") == []
    # and the Clean bytes are on the members
    assert [set(content) for content in on_disk(array)] == [{1}] * disks


def flush_among_writers(vm, array, members):
    """One writer before a flush, one after it began; the first one's data are held until then."""
    write(vm, array, 0)
    second = ReadyWriter(vm, array, 16)
    with held(members, 272 + 4096, 65536) as gate, Trace(vm, *BLOCK) as trace:
        first = begin_write(vm, array, first_sector(array, 64))
        wait_until(vm, lambda: data_writes_now(trace, members))
        flush = begin_flush(vm, trace, array)
        second.go_and_arrive(trace)
        gate.open()
        flush.wait()
        for process in (first, second):
            process.wait()
    return trace


@MIRRORS_AND_PARITY
def test_clean_is_drained_and_flushed(vm, slow, level, disks):
    """A flush while data are on their way waits for them, and holds up new writers only."""
    array, members = slow(level, disks)
    for _ in range(DRAINS):
        trace = flush_among_writers(vm, array, members)
        if not trace.events("barrier", op="timeout"):
            break

    daemon = trace.events("transition", action="Daemon")
    assert daemon and all(event.flags >= {"DRAINED", "FLUSHED"} for event in daemon)
    numbers = {member.number for member in members}
    written = [event.time for event in trace.events("block_bio_complete")
               if event.dev in numbers and event.sector >= 272 and "W" in event.rwbs
               and event.sectors and event.time < daemon[0].time]
    assert written, "Clean before any data were on the members"
    done = max(written)
    arrived, = [event.time for event in trace.events("block_bio_queue", dev="9,0", sector=16)
                if "W" in event.rwbs]
    assert done > arrived, "the members were not slow"
    for member in members:
        flushes = [event for event in trace.events("block_bio_queue", dev=member.number)
                   if event.rwbs.startswith("F") and event.sectors == 0]
        assert any(done < event.time < daemon[0].time for event in flushes), "caches not flushed"
    # the second writer came while the page was suspended, and was let go
    wait, = trace.events("barrier", op="wait")
    suspend, = trace.events("barrier", op="suspend", page=wait.page)
    resume, = trace.events("barrier", op="resume", page=wait.page)
    assert suspend.time < resume.time <= wait.time
    assert wait.ns > resume.ns - suspend.ns, "it came after the drain"
    check_order(trace, members, array)


@EACH_LEVEL_WHOLE
def test_member_fails_while_the_page_drains(vm, slow, level, disks):
    """degraded-keep: tested after the drain, not at the start of the pass."""
    array, members = slow(level, disks)
    for _ in range(DRAINS):
        with held(members[1:], 272 + 4096, 65536) as gate, Trace(vm, *BLOCK) as trace:
            first = begin_write(vm, array, first_sector(array, 64))
            wait_until(vm, lambda: data_writes_now(trace, members[1:]))
            flush = begin_flush(vm, trace, array)
            vm.write(f"{array.sysfs}/dev-{members[0].device[5:]}/state", "faulty")
            failed = len(trace.now())
            gate.open()
            first.wait()
            flush.wait()
        if not trace.events("barrier", op="timeout"):
            break
        array.remove(members[0])
        array.re_add(members[0])
        array.wait_sync()
        array.wait_in_sync()
    assert not any(event.name == "barrier" and event.op == "suspend"
                   for event in trace._events[:failed]), "the drain was over before"
    assert trace.events("barrier", op="suspend")
    assert trace.events("transition", action="Daemon") == []
    assert array.bits()["dirty"] == 2


def data_writes_now(trace, members):
    numbers = {member.number for member in members}
    return [event for event in trace.now() if event.name == "block_bio_queue" and
            event.dev in numbers and event.sector >= 272 and "W" in event.rwbs]


@EACH_LEVEL_WHOLE
def test_drain_that_times_out(vm, slow, level, disks):
    """It resumes, wakes its waiters, changes nothing, a flush says so, and it is tried again."""
    array, members = slow(level, disks)
    last = first_sector(array, 64)
    write(vm, array, 0)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    with held(members, 272 + 4096, 65536) as gate, Trace(vm, *BLOCK) as trace:
        first = begin_write(vm, array, last)
        wait_until(vm, lambda: trace.recorded("barrier", op="timeout"), 20)
        begin_write(vm, array, 16).wait()       # writers of the page go on at once
        assert errno_of(vm, f"{array.sysfs}/llbitmap/flush", "1") == "ETIMEDOUT"
        between = trace.now()
        gate.open()
        first.wait()
        array.wait_bits(lambda bits: bits["dirty"] == 0, timeout=20)
    timeouts = trace.events("barrier", op="timeout")
    assert timeouts
    done = [event for event in between if event.name == "block_bio_complete" and event.dev == "9,0"
            and "W" in event.rwbs]
    assert [event.sector for event in done] == [16], "the page stayed suspended"
    for timeout in timeouts:
        assert any(event.time >= timeout.time for event in trace.events("barrier", op="resume"))
    assert any("drain" in event.text for event in trace.events("error"))
    written = max(event.time for event in trace.events("block_bio_complete", dev="9,0")
                  if "W" in event.rwbs and event.sector == last)
    for event in trace.events("transition", action="Daemon"):
        if 64 in event.chunks():
            assert event.time > written
    assert states(array, 64, 1) == ["Clean"]


def test_write_behind_is_waited_for(vm, slow):
    """Its submitter has long been told that it is complete."""
    array, members = slow(1, size=65536)
    array.set(f"dev-{members[1].device[5:]}/state", "writemostly")
    array.set("bitmap/backlog", "64")
    assert array.get("bitmap/backlog") == "64"
    write(vm, array, 0)
    with held(members[1:2], 272 + 4096, 65536) as gate, Trace(vm, *BLOCK) as trace:
        write(vm, array, 8192)              # or it would not come back
        flush = begin_flush(vm, trace, array)
        gate.open()
        flush.wait()
        array.flush()                   # that one may have come to the end of its patience
    told = max(event.time for event in trace.events("block_bio_complete", dev="9,0"))
    behind, = [event for event in trace.events("block_bio_complete", dev=members[1].number)
               if event.sector >= 8192 and "W" in event.rwbs and event.sectors]
    assert behind.time > told, "it was no write-behind"
    daemon = trace.events("transition", action="Daemon")
    assert daemon and all(event.time > behind.time for event in daemon)

    # and before the bitmap goes away
    members[1].delay_writes(1500, 272 + 4096, 65536)
    write(vm, array, 16384, pattern=0x77)
    array.stop()
    members[1].plain()
    vm.run("sync")
    image = array.member_images()[1]
    assert image.data(16384, 8) == b"\x77" * 4096
    assert set(image.bitmap().states()) == {1}
    array.assemble()


def test_stop_with_slow_members(vm, slow):
    """The states and their Clean are written by a stop that has to wait for every write."""
    array, members = slow(1, size=65536)
    for member in members:
        member.delay_writes(400)
    write(vm, array, 0, 1024)
    array.stop()
    for member in members:
        member.plain()
    assert [set(content) for content in on_disk(array)] == [{1}, {1}]
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("load")[0].decision == "reload"
    assert array.bits()["clean"] == 1024


# -- REQ_NOWAIT ---------------------------------------------------------------------------------

def nowait(vm, array, sector):
    return vm.run(["python3", "-c", NOWAIT, str(array), str(sector)], timeout=30).stdout.strip()


@MIRRORS_AND_PARITY
def test_nowait(vm, level, disks):
    array = vm.create_array(level=level, disks=disks)
    array.set("llbitmap/daemon_sleep", 3600)
    write(vm, array, 0)
    assert nowait(vm, array, 0) == "4096"               # nothing to wait for
    sector = first_sector(array, 10)
    with Trace(vm) as trace:
        assert nowait(vm, array, sector) == "EAGAIN"    # its byte would have to be written
    assert trace.events("transition") == []
    assert states(array, 10, 1) == ["Clean"]
    write(vm, array, sector)
    assert nowait(vm, array, sector + 8) == "4096"


@LEVELS
def test_nowait_and_a_blocked_member(vm, level):
    """Until somebody says that it is not, which is longer than while its failure is recorded."""
    array = vm.create_array(level=level, disks=2)
    keep_active(vm, array)
    member = array.members[1]
    state = f"dev-{str(member).rpartition('/')[2]}/state"
    array.set(state, "blocked")
    writer = vm.spawn(["python3", "-c", NOWAIT, array, 0])
    wait_until(vm, lambda: writer.output()[0] or somebody_is_in(vm, "md_wait_for_blocked_rdev"))
    told = writer.output()[0].strip()
    array.set(state, "-blocked")
    writer.wait()
    assert told == "EAGAIN"
    assert nowait(vm, array, 0) == "4096"
    array.fail(member)                                  # and nothing of the refused write holds it
    wait_until(vm, lambda: vm.run(["mdadm", array, "--remove", member], check=False).rc == 0)
