# SPDX-License-Identifier: GPL-2.0-or-later
"""mdadm --grow --size: the bitmap follows, within its capacity, and is never asked beyond it."""
import json
import re

import pytest

from levels import (EACH_LEVEL_WHOLE, PARITY, cases, discards_allowed, first_sector, litter, width,
                    wrong_sectors)
from support import (AREA_BEGIN, HEADER, Content, Trace, begin_flush, errno_of, held, is_in, keep_active,
                     mapped_members, on_disk, states, wait_until, write)
from vmtest import DiskOptions
from vmtest.parity import ParityLayout

pytestmark = pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="400M"), memory="1G")

CHUNK = 128
QUEUED = "block/block_bio_queue"        # for Trace
LEVELS = cases("level, disks", (1, 2), long=[(10, 4)])


def resize(array, kib, check=True):
    """Of each member, in KiB; the resync of nothing that md starts is over."""
    result = array.vm.run(f"mdadm --grow {array} --size={kib}", check=check)
    array.wait_sync()
    return result


def chunks(array):
    return array.size() // 512 // CHUNK


def covered(array):
    """Sectors that the bitmap has to cover: of the array, with parity of a member."""
    if array.member_images()[0].level in PARITY:
        return int(array.get("component_size")) * 2
    return array.size() // 512


def check_geometry(array):
    """Array, bitmap in memory and bitmap on disk are of one size."""
    count = -(-covered(array) // CHUNK)
    assert array.metadata()["chunks"] == count
    assert sum(array.bits().values()) == count
    # the superblocks after the one that carries the size tell the bitmap's
    array.set("llbitmap/daemon_sleep", 3600)
    array.settle()
    for image in array.member_images():
        assert image.bitmap().sync_size >= covered(array)


@LEVELS
def test_grow_and_shrink(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, size=40960)
    array.set("llbitmap/daemon_sleep", 3600)    # what is Dirty stays so
    content = Content(array, mib=1)
    content.write(20 * CHUNK)
    array.flush()
    content.write(30 * CHUNK)
    old = chunks(array)
    before = states(array)

    with Trace(vm) as trace:
        resize(array, 102400)
    new = chunks(array)
    assert new == old * 102400 // 40960
    event, = trace.events("resize")
    assert f"chunks={old}->{new} of 128 sectors" in event.text
    inits = trace.events("transition", action="Init")
    assert all((init.source, init.to) == ("None", "Unwritten") for init in inits)
    assert trace.chunks("Init") == list(range(old, new))
    assert all(init.seq > event.seq for init in inits)
    check_geometry(array)
    assert states(array) == before + ["Unwritten"] * (new - old)
    for image in on_disk(array):
        assert set(image[old:new]) == {0}

    content.write((new - 1) * CHUNK, CHUNK)
    content.write((old + 5) * CHUNK)
    array.flush()
    assert content.wrong() == []
    assert states(array, old + 5, 1) + states(array, new - 1, 1) == ["Clean", "Clean"]

    with Trace(vm) as trace:
        resize(array, 40960)
    event, = trace.events("resize")
    assert f"chunks={new}->{old} of 128 sectors" in event.text
    assert not [change for change in trace.events("transition")
                if change.chunk + change.count > old]
    check_geometry(array)
    assert len(states(array)) == old
    content.forget(old * CHUNK)
    content.write((old - 1) * CHUNK)

    # what comes back begins anew, whatever its bytes were
    resize(array, 102400)
    assert states(array, old) == ["Unwritten"] * (new - old)
    for image in on_disk(array):
        assert set(image[old:new]) == {0}
    array.stop()
    array.assemble()
    assert len(states(array)) == new
    resize(array, 40960)
    array.stop()
    assert {image.bitmap().sync_size for image in array.member_images()} == {old * CHUNK}
    array.assemble()
    resize(array, 102400)
    assert states(array, old) == ["Unwritten"] * (new - old)
    assert array.unequal() == []
    assert content.wrong() == []


def test_sizes_that_are_no_multiple_of_a_chunk(vm):
    """What stays keeps its state, what is added is Unwritten, and nothing else changes. On RAID1
    that holds for a last chunk that gains something, too. Each size assembles."""
    array = vm.create_array(level=1, disks=2, size=40964)
    write(vm, array, 40964 * 2 - 8, 8)
    array.flush()
    for kib in (40968, 41020, 41024, 41028, 40960, 40964, 4, 41024):
        before = states(array)
        old, new = len(before), -(-kib // 64)
        assert set(before) <= {"Unwritten", "Clean"} and before[-1] == "Clean"
        with Trace(vm) as trace:
            resize(array, kib)
        assert array.size() == kib * 1024
        assert array.metadata()["chunks"] == new
        event, = trace.events("resize")
        assert f"chunks={old}->{new} of 128 sectors" in event.text
        assert trace.changes() == ({"None->Unwritten Init": new - old} if new > old else {})
        assert trace.chunks("Init") == list(range(old, new))
        assert states(array) == before[:new] + ["Unwritten"] * (new - old)
        write(vm, array, kib * 2 - 8, 8)
        array.stop()
        array.assemble()
        array.readwrite()
        array.wait_sync()
        assert array.metadata()["chunks"] == new
    assert array.unequal() == []


def test_over_bitmap_pages(vm):
    """Pitfall: beyond the first bitmap page it was an oops. Page 0 has 3072 chunks."""
    array = vm.create_array(level=1, disks=2, size=3071 * 64)
    array.set("llbitmap/daemon_sleep", 3600)
    content = Content(array)
    for count in (3072, 3073, 5000, 3072, 1, 3073, 6000):
        resize(array, count * 64)
        assert array.metadata()["chunks"] == count
        content.forget(count * CHUNK)
        content.write((count - 1) * CHUNK, CHUNK, pattern=count % 100 + 1)
        assert states(array, count - 1, 1) == ["Dirty"]
    assert len(states(array)) == 6000
    array.flush()
    array.stop()
    array.assemble()
    assert len(states(array)) == 6000
    assert states(array, 5999, 1) == ["Clean"]
    assert array.unequal() == []
    assert content.wrong() == []


def make(vm, level, disks, chunks):
    """An array of so many chunks, all Clean, the array sectors for each, and its members."""
    members = mapped_members(vm, disks)
    with discards_allowed(vm, level):
        array = vm.create_array(level=level, disks=disks, members=members, size=chunks * 64,
                                chunk=64 if level != 1 else None)
    array.wait_sync()
    return array, CHUNK * width(level, disks), members


@EACH_LEVEL_WHOLE
def test_new_space_waits_for_its_bytes(vm, level, disks):
    """Promise 6: nobody can write there before the bytes are on the members. They are in page 1,
    which nothing else writes; what an earlier, larger array left there is not Unwritten."""
    array, unit, members = make(vm, level, disks, 3072)
    keep_active(vm, array)
    small = array.size()
    resize(array, 4000 * 64)
    write(vm, array, 3500 * unit, unit)
    resize(array, 3072 * 64)
    left = {image.bitmap().raw[HEADER + 3500] for image in array.member_images()}
    assert left == ({3} if level in PARITY else {2})
    with held(members, AREA_BEGIN + 8, 8) as gate, Trace(vm, QUEUED) as trace:
        grow = vm.spawn(f"echo {4000 * 64} > {array.sysfs}/component_size; echo grown")

        def arrived(member):
            return [event for event in trace.recorded("block_bio_queue", dev=member.number)
                    if "W" in event.rwbs and event.sector == AREA_BEGIN + 8]

        wait_until(vm, lambda: all(map(arrived, members)) or array.size() != small)
        vm.run("sleep 1")
        assert array.size() == small, "the space is there, its bytes are not on the members"
        assert grow.output()[0] == ""
        gate.open()
        grow.wait()
    assert array.size() == small // 3072 * 4000
    for image in on_disk(array):
        assert len(image) == 4000 and set(image[3072:]) == {0}


def held_end(array, members):
    """held(): writes to the last 1 MiB of 640 chunks of each member."""
    return held(members, array.member_images()[0].data_offset + 2 * 40960 - 2048, 2048)


def begin(vm, trace, array, sector, command):
    """A writer or discarder in the background; it has got as far as the array."""
    process = vm.spawn(command)
    wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev="9,0")
                            if event.sector == sector and event.rwbs[0] in "WD"])
    return process


def write_at_end(vm, trace, array):
    block = array.size() // 4096 - 1
    return begin(vm, trace, array, 8 * block, f"dd if=/dev/zero of={array} bs=4k seek={block}"
                 " count=1 oflag=direct conv=notrunc status=none && echo written")


@cases("level, disks, discards", long=[(1, 2, False), (1, 2, True), (10, 2, True), (5, 3, False),
                                       (5, 3, True), (6, 4, True)])
def test_writes_in_flight_when_it_shrinks(vm, level, disks, discards):
    """They complete before their chunks go, and what goes is no discard's any more."""
    array, unit, members = make(vm, level, disks, 640)
    write(vm, array, 0, 8)
    write(vm, array, 638 * unit, 2 * unit)
    keep_active(vm, array)
    with held_end(array, members) as gate, Trace(vm, QUEUED) as trace:
        late = write_at_end(vm, trace, array)
        if discards:
            more = begin(vm, trace, array, 636 * unit,
                         f"blkdiscard -f -o {636 * unit * 512} -l {2 * unit * 512} {array}")
        shrink = vm.spawn(f"echo 20480 | tee {array.sysfs}/component_size")
        wait_until(vm, lambda: is_in(vm, "tee", "size_store") or trace.recorded("resize"))
        vm.run("sleep 0.6")
        assert not trace.recorded("resize"), "chunks go while they are written to"
        gate.open()
        shrink.wait()
        assert late.wait().stdout == "written\n"
        if discards:
            more.wait()
    assert array.metadata()["chunks"] == 320
    event, = trace.events("resize")
    suspends = [one for one in trace.events("barrier") if one.op == "suspend"
                and one.time <= event.time]
    assert max(one.ns for one in suspends) > 500_000_000, "nobody waited for the write"
    assert not [change for change in trace.events("transition") if change.seq > event.seq
                and change.chunk + change.count > 320]
    write(vm, array, 0, 8)
    resize(array, 40960)
    assert states(array, 320) == ["Unwritten"] * 320


@cases("level, disks", long=[(1, 2), (10, 2), (5, 3), (6, 4)])
def test_write_in_flight_when_it_grows(vm, level, disks):
    """Its end leaves the page that its start has entered, and until then nothing of it is Clean:
    also of a page that has more chunks since, with another page behind it."""
    array, unit, members = make(vm, level, disks, 640)
    write(vm, array, 638 * unit, 2 * unit)
    keep_active(vm, array)
    data = array.member_images()[0].data_offset
    written = PARITY.get(level, disks - 1) + 1      # members: all copies, or data and parity
    with held_end(array, members) as gate, Trace(vm, QUEUED) as trace:
        late = write_at_end(vm, trace, array)
        # a gate has it, not the bitmap's write
        wait_until(vm, lambda: written == sum(
            any("W" in event.rwbs and event.sector == data + 2 * 40960 - 8
                for event in trace.recorded("block_bio_queue", dev=member.number))
            for member in members))
        vm.run(f"echo {4000 * 64} > {array.sysfs}/component_size")
        assert array.metadata()["chunks"] == 4000
        flush = begin_flush(vm, trace, array)
        vm.run("sleep 1")
        assert not [change for change in trace.recorded("transition") if change.to == "Clean"
                    and 639 in change.chunks()], "Clean while it is written to"
        gate.open()
        assert late.wait().stdout == "written\n"
        flush.wait()
    array.flush()
    assert states(array, 639, 1) == ["Clean"]
    assert wrong_sectors(array) == []


def test_shrinking_gives_up(vm):
    """Writes that do not complete: refused, nothing changed, and it goes on."""
    array, _, members = make(vm, 1, 2, 640)
    keep_active(vm, array)
    with held_end(array, members) as gate:
        with Trace(vm, QUEUED) as trace:
            late = write_at_end(vm, trace, array)
        mark = vm.log.size()
        assert errno_of(vm, f"{array.sysfs}/component_size", "20480") == "EBUSY"
        assert "refused: writes to the array's end do not complete" in vm.dmesg(mark)
        assert (array.size(), array.metadata()["chunks"]) == (40960 * 1024, 640)
        write(vm, array, 8, 8)
        gate.open()
        assert late.wait().stdout == "written\n"
    resize(array, 20480)
    assert array.metadata()["chunks"] == 320


LOAD = r"""
set -eu
exec >&2
md=/sys/block/{name}/md
rm -f /run/over
while [ ! -e /run/over ]; do
	fio --name=checked --filename={array} --rw=randrw --bs=16k --direct=1 --ioengine=libaio \
		--iodepth=8 --size=24M --io_size=12M --verify=crc32c --verify_backlog=64 --randseed=3 \
		--output=/dev/null || exit
done &
load=$!
for n in 1 2; do
	for size in 163840 32768 196608 28672 256000 40960; do
		for i in $(seq 50); do mdadm --grow {array} --size=$size && break; sleep 0.2; done
		end=$(blockdev --getsz {array})
		dd if=/dev/urandom of={array} bs=$(({unit} * 512)) seek=$((end / {unit} - 4)) count=4 \
			oflag=direct conv=notrunc status=none
		[ $((n % 2)) = 0 ] ||
			blkdiscard -f -o $(((end - 3 * {unit}) * 512)) -l $(({unit} * 512)) {array}
		echo 1 > $md/llbitmap/flush
	done
done
touch /run/over
wait $load
"""


def audited_load(array, unit):
    """LOAD: data compared by fio, every transition verified. `unit` array sectors are a chunk."""
    array.set("llbitmap/barrier_idle", 0)
    array.set("llbitmap/daemon_sleep", 1)
    script = LOAD.format(array=array, name=array.name, unit=unit)
    audit = array.vm.run(["llbitmapctl", "audit", "--json", "-a", array.name, "--", "bash", "-c",
                          script], timeout=240, check=False)
    verdict = json.loads(audit.stdout)
    assert "verdict" in verdict, audit.stdout + audit.stderr
    assert (audit.rc, verdict["verdict"]) == (0, "pass"), audit.stdout[-3000:] + audit.stderr[-2000:]
    assert "ended with status" not in audit.stderr, audit.stderr[-2000:]
    assert verdict["events"]["resize"] >= 12
    array.flush()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    check_geometry(array)
    assert array.bits()["need sync"] == 0


@LEVELS
def test_under_load(vm, level, disks):
    """Copies are equal in the end."""
    array = vm.create_array(level=level, disks=disks, size=40960)
    audited_load(array, CHUNK)
    assert array.unequal() == []


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(4, 3), (5, 3), (6, 4)])
def test_under_load_with_parity(vm, level, disks):
    """Parity is right in the end wherever a chunk says so, and nowhere else: it was wrong before."""
    litter(vm, vm.disks[:disks], mib=64)
    with discards_allowed(vm, level):
        array = vm.create_array(level=level, disks=disks, size=40960, chunk=64, assume_clean=False)
    array.wait_sync()
    audited_load(array, CHUNK * width(level, disks))
    found = states(array)
    array.settle()
    images = array.member_images()
    layout = ParityLayout.of_member(images[0])
    wrong = {state: [chunk for chunk, name in enumerate(found) if name == state and
                     layout.wrong_parity(images, chunk * CHUNK, chunk * CHUNK + CHUNK - 1)]
             for state in set(found)}
    assert set(wrong) == {"Clean", "Unwritten"}
    assert wrong["Clean"] == []
    # else nothing was compared: of what nobody wrote to, only what was discarded has parity
    assert found.count("Clean") > 100
    assert len(wrong["Unwritten"]) > found.count("Unwritten") / 2


# -- refused ------------------------------------------------------------------------------------

def facts(array, asked_by_mdadm=False):
    """All there is, but for times, event counts and what depends on them. Before mdadm asks the
    array, it tells each member how much may be used of it (data_size)."""
    array.settle()
    supers = []
    for image in array.member_images():
        with open(image.path, "rb") as file:
            file.seek(4096)
            raw = bytearray(file.read(4096))
        raw[216:220] = raw[192:208] = b""   # checksum; utime, events
        if asked_by_mdadm:
            raw[136:144] = b""              # data_size
        bitmap = bytearray(image.bitmap().raw)
        bitmap[24:40] = b""                 # events, events_cleared
        supers.append((bytes(raw), bytes(bitmap)))
    return supers, array.size(), array.get("component_size"), array.metadata(), array.bits()


MOST = 130048       # chunks, of 64 KiB here


@pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="10G"), memory="1G")
# copies: of the array that a member's size counts for; more: the least that a member can grow by
@cases("level, disks, copies, more", (1, 2, 1, 4),
       long=[(10, 4, 2, 64), (5, 3, 1, 64), (6, 4, 1, 64)])
def test_beyond_the_capacity(vm, level, disks, copies, more):
    """Refused before anything changes, by mdadm and by hand."""
    full = MOST * 64 // copies
    array = vm.create_array(level=level, disks=disks, size=(1 << 20) // copies,
                            chunk=64 if level != 1 else None)
    array.set("llbitmap/daemon_sleep", 3600)
    write(vm, array, 0, 8 * CHUNK)
    array.flush()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    vm.run(f"mdadm --wait-clean {array}", check=False)
    assert array.metadata()["chunks"] == 16384
    mark = vm.log.size()
    before = facts(array)
    assert errno_of(vm, f"{array.sysfs}/component_size", str(full + more)) == "ENOSPC"
    assert facts(array) == before
    before = facts(array, asked_by_mdadm=True)
    for kib in (full + more, 9000000):
        assert vm.run(f"mdadm --grow {array} --size={kib}", check=False).rc != 0, kib
        assert facts(array, asked_by_mdadm=True) == before, kib
    log = vm.dmesg(mark)
    beyond = 2 * (full + more) * copies
    assert re.search(rf"refused: {beyond} sectors are {-(-beyond // CHUNK)} chunks, the bitmap has "
                     rf"room for {MOST}: remove it first \(mdadm --grow --bitmap=none\)", log), log
    write(vm, array, 8 * CHUNK)
    # and what fits, fits
    unwritten = array.bits()["unwritten"]
    resize(array, full)
    assert array.metadata()["chunks"] == MOST
    write(vm, array, first_sector(array, MOST - 1))
    assert states(array, MOST - 1, 1) == ["NeedSync" if level in PARITY else "Dirty"]
    array.stop()
    array.assemble()
    assert array.metadata()["chunks"] == MOST
    assert array.bits()["unwritten"] == unwritten + MOST - 16384 - 1


@pytest.mark.long
@pytest.mark.vm(disks=4, cpus=2, disk=DiskOptions(size="10G"), memory="1G")
@pytest.mark.parametrize("level, disks, copies", [(1, 2, 1), (10, 4, 2), (5, 3, 1)])
def test_beyond_the_capacity_without_the_bitmap(vm, level, disks, copies):
    """What the refusal advises: the bitmap goes, and the array grows to where it was not let."""
    array = vm.create_array(level=level, disks=disks, size=(128 << 10) // copies,
                            chunk=64 if level != 1 else None)
    content = Content(array, mib=8)
    content.write(array.size() // 512 - CHUNK, CHUNK)
    array.flush()
    kib = 9000000
    grow = f"mdadm --grow {array} --size={kib}"
    before, mark = array.size(), vm.log.size()
    assert vm.run(grow, check=False).rc != 0
    assert "remove it first (mdadm --grow --bitmap=none)" in vm.dmesg(mark)
    assert array.size() == before
    array.remove_bitmap()
    assert not array.has("llbitmap")
    array.wait_sync()
    vm.run(f"{grow} --assume-clean")        # the members are empty; a resync would take minutes
    array.wait_sync()
    for _ in range(2):
        assert int(array.get("component_size")) == kib
        assert array.size() == before // ((128 << 10) // copies) * kib
        content.write(before // 512, CHUNK)
        content.write(array.size() // 512 - CHUNK, CHUNK)
        assert content.wrong() == []
        array.stop()
        array.assemble()
    assert content.wrong() == []


def test_while_a_sync_runs(vm):
    """md does not do it then, and nothing changes."""
    array = vm.create_array(level=1, disks=2, size=102400)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=80 oflag=direct status=none")
    array.flush()
    array.set("sync_speed_max", 500)
    array.set("sync_speed_min", 100)
    array.set("llbitmap/mark", "0-1200")
    wait_until(vm, lambda: array.get("sync_action") == "resync")
    for kib in (204800, 40960):
        assert errno_of(vm, f"{array.sysfs}/component_size", str(kib)) == "EBUSY"
    assert array.get("sync_action") == "resync"
    assert (array.size(), array.metadata()["chunks"]) == (102400 * 1024, 1600)
    array.set("sync_speed_max", 1000000)
    array.set("sync_speed_min", 1000000)
    array.wait_sync()
    resize(array, 204800)
    array.flush()
    assert array.bits()["need sync"] == 0
    assert array.metadata()["chunks"] == 3200
    assert array.unequal() == []


def test_degraded(vm):
    """A member that is away misses the change of size, and is given all it missed."""
    array = vm.create_array(level=1, disks=3, size=40960)
    content = Content(array, mib=5)
    array.flush()
    array.fail(vm.disks[2])
    array.remove(vm.disks[2])
    content.write(4 * CHUNK)
    resize(array, 102400)
    content.write(1000 * CHUNK, CHUNK)
    content.write(1599 * CHUNK, CHUNK)
    assert states(array, 1000, 1) == ["NeedSync"]
    array.re_add(vm.disks[2])
    wait_until(vm, lambda: array.degraded() == 0, timeout=60)
    array.wait_sync()
    array.flush()
    bitmaps = on_disk(array)
    assert len(bitmaps) == 3 and bitmaps[0] == bitmaps[1] == bitmaps[2]
    assert array.unequal() == []
    assert content.wrong() == []
    array.fail(vm.disks[2])
    array.remove(vm.disks[2])
    resize(array, 20480)
    content.forget(320 * CHUNK)
    content.write(300 * CHUNK, CHUNK)
    array.re_add(vm.disks[2])
    wait_until(vm, lambda: array.degraded() == 0, timeout=60)
    array.wait_sync()
    array.flush()
    assert array.unequal() == []
    assert content.wrong() == []


@EACH_LEVEL_WHOLE
def test_bitmap_that_tells_of_less(vm, level, disks):
    """A bitmap superblock that covers less than the array: the rest is synced, not believed."""
    array = vm.create_array(level=level, disks=disks, size=40960)
    write(vm, array, 0, 8)
    array.flush()
    array.stop()
    for image in array.member_images():
        with open(image.path, "r+b") as file:
            file.seek((image.super_offset + image.bitmap_offset) * 512 + 40)
            file.write((600 * CHUNK).to_bytes(8, "little"))
    vm.run(["blockdev", "--flushbufs", *array.members])
    with Trace(vm) as trace:
        array.bring_up()
    assert [chunk for event in trace.events("transition", action="Stale")
            for chunk in event.chunks()] == list(range(600, 640))
    assert trace.chunks("Endsync") == list(range(600, 640))
    assert array.bits()["need sync"] == 0
    array.stop()
    assert {image.bitmap().sync_size for image in array.member_images()} == {640 * CHUNK}
