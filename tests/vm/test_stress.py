# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once, with the data compared; memory short; stop in the middle of it."""
import pathlib

import pytest

from levels import EACH_LEVEL, PARITY, cases, discards_allowed, width, wrong_sectors
from support import TRACING, Trace, on_disk, wait_until, write
from vmtest import DiskOptions
from vmtest.environment import build_helper

SHORTAGE = pathlib.Path(__file__).parent / "guest" / "shortage.c"

pytestmark = pytest.mark.vm(disks=5, memory="640M", cpus=2, disk=DiskOptions(size="256M"))

SYSFS = r"""
cd {sysfs}/llbitmap
while :; do
    echo 1 > flush; cat bits metadata table > /dev/null; echo 1 > snapshot
    echo $((RANDOM % 4 + 1)) > daemon_sleep; echo $((RANDOM % 3)) > barrier_idle
    first=$((RANDOM % 500)); echo $first-$((first + RANDOM % 9)) > mark
    echo $((RANDOM % 500)) > ../bitmap_set_bits; echo junk > mark
    cat ../bitmap/* /proc/mdstat > /dev/null
    sleep 0.2
done 2> /dev/null
"""

MEMBERS = r"""
while :; do
    mdadm {array} --fail {member}
    for i in $(seq 20); do mdadm {array} --remove {member} && break; sleep 0.2; done
    sleep 1
    mdadm {array} --re-add {member} || mdadm {array} --add {member}
    for i in $(seq 60); do
        [ "$(cat {sysfs}/degraded)" = 0 ] && break; sleep 0.2
    done
    sleep 1
done > /dev/null 2>&1
"""


@cases("level, disks", (10, 4), long=[(1, 3)])
def test_everything_at_once(vm, level, disks):
    array = vm.create_array(level=level, disks=disks, assume_clean=False)
    array.wait_sync()
    helpers = [vm.spawn(text.format(sysfs=array.sysfs, array=array, member=vm.disks[1]))
               for text in (SYSFS, MEMBERS)]
    # the checked data, discards beside them, and dirty page cache on the array itself
    vm.run(f"fio --direct=1 --ioengine=libaio --runtime=14 --time_based --randseed=11 "
           f"--name=checked --filename={array} --rw=randrw --bs=16k --iodepth=8 "
           f"--size=64M --verify=crc32c --verify_backlog=64 "
           f"--name=trims --filename={array} --offset=64M --size=32M --rw=randtrim --bs=192k "
           f"--iodepth=1 --ioengine=sync "
           f"--name=between --filename={array} --offset=64M --size=32M --rw=randwrite "
           f"--bsrange=4k-128k --verify=0 "
           f"--name=cached --filename={array} --offset=96M --size=100M --direct=0 "
           f"--ioengine=psync --rw=randwrite --bs=16k", timeout=120)
    for helper in helpers:
        helper.signal(9)
        helper.wait(check=False)
    # what they had begun may not be over
    vm.run("while pgrep -x mdadm; do sleep 0.1; done")
    wait_until(vm, lambda: array.get("sync_action") == "idle")
    for member in array.members:
        if not vm.exists(f"{array.sysfs}/dev-{str(member)[5:]}"):
            array.re_add(member, check=False) or array.add(member)
        elif "faulty" in array.member_state(member):
            array.remove(member)
            array.re_add(member, check=False) or array.add(member)
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    bits = array.bits()
    assert bits["dirty"] == bits["need sync"] == bits["syncing"] == 0
    states = on_disk(array)[0]
    chunk = array.metadata()["chunksize"]
    differ = {sector // chunk for first, last in array.unequal()
              for sector in range(first, last + 1)}
    assert {number for number in differ if states[number] == 1} == set(), \
        "copies differ where the bitmap says Clean"
    vm.run(f"fio --direct=1 --ioengine=libaio --randseed=11 --name=checked --filename={array} "
           f"--rw=randread --bs=4k --io_size=4M --size=64M")


def counters(vm):
    """/proc/vmstat"""
    return {name: int(value) for name, value in
            (line.split() for line in vm.read("/proc/vmstat").splitlines())}


CACHED = "0 131072 linear {0} 262144"
HOLE = "0 65536 linear {0} 262144\n65536 8 zero\n65544 65528 linear {0} 327688"


def live_in_shortage(vm, array, cached=CACHED):
    """Swap and dirty page cache are on the array; gives how the program ended, and what
    /proc/vmstat counted meanwhile."""
    program = build_helper("shortage", SHORTAGE)
    # nobody may write to what is in use as swap: a part for each
    vm.run(f"modprobe dm-mod && dmsetup create swap --table '0 262144 linear {array} 0' && "
           f"dmsetup create cached --table '{cached.format(array)}' && "
           f"mkswap /dev/mapper/swap && swapon /dev/mapper/swap")
    before = counters(vm)
    try:
        result = vm.run(f"{program} /dev/mapper/cached 64 48 48 4", timeout=120, check=False)
        after = counters(vm)
    finally:
        if vm.healthy:
            vm.run("swapoff /dev/mapper/swap && dmsetup remove swap cached", timeout=120)
    return result, {name: after[name] - before[name] for name in after}


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3), (6, 4)])
def test_memory_is_short(vm, level, disks):
    """It goes on with no memory left and only the array to get some from (promise 10); what went
    through swap and page cache comes back as it was."""
    array = vm.create_array(level=level, disks=disks)
    # chunks become Clean again and again, so that writes go on to need bitmap writes
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    with Trace(vm) as trace:
        result, happened = live_in_shortage(vm, array)
    assert result, result
    assert happened["pswpout"] > 10000, "there was no shortage"
    assert happened["allocstall_dma32"] + happened["allocstall_normal"] > 10, "nobody waited for it"
    changes = trace.changes()
    assert changes["Clean->Dirty Startwrite"] > 2000 and changes["Dirty->Clean Daemon"] > 1000
    array.flush()
    assert array.bits()["dirty"] == 0
    assert wrong_sectors(array) == []


@pytest.mark.long
def test_what_page_cache_loses_is_seen(vm):
    """One page of it is on a device that keeps nothing."""
    result, _ = live_in_shortage(vm, vm.create_array(level=1, disks=2), HOLE)
    assert result.rc == 1 and f"the block at {65536 * 512} is not that of round" in result.stderr


BIOS = "t:bios/queued block_bio_queue flags=bio->bi_opf:u32 set=bio->bi_pool:u64"
WRITE, META = 1, 1 << 12                # REQ_OP_WRITE, REQ_META


@EACH_LEVEL
def test_bitmap_writes_take_no_bio_of_swap(vm, level, disks):
    """With swap on this array, all that are left of its set can wait for a bitmap write."""
    array = vm.create_array(level=level, disks=disks)
    swaps = int(vm.run("grep ' fs_bio_set$' /proc/kallsyms").stdout.split()[0], 16)
    vm.write(f"{TRACING}/dynamic_events", BIOS)
    try:
        with Trace(vm, "bios/queued") as trace:
            for _ in range(3):
                # through the page cache, which takes them from there as well
                vm.run(f"dd if=/dev/zero of={array} bs=64k count=4 conv=notrunc,fsync status=none")
                array.flush()
    finally:
        vm.run(f"cd {TRACING} && echo 0 > events/bios/enable && "
               "echo '-:bios/queued' >> dynamic_events")
    assert trace.changes()["Dirty->Clean Daemon"] == 3 * 4
    sets = {"bitmap": [], "data": []}
    for event in trace.events("queued"):
        if event.flags & WRITE:
            sets["bitmap" if event.flags & META else "data"].append(event.set)
    assert swaps in sets["data"], "no bio of that set was seen"
    assert len(sets["bitmap"]) > 2 * 3 * 2
    assert swaps not in sets["bitmap"]


@pytest.fixture
def discards(vm, level):
    with discards_allowed(vm, level):
        yield


@EACH_LEVEL
def test_stop_and_assemble_again_and_again(vm, discards, level, disks):
    """Timers, workers and sysfs readers against the end of the bitmap."""
    array = vm.create_array(level=level, disks=disks, size=65536,
                            chunk=64 if level in PARITY else None)
    unit = width(level, disks) * 65536
    readers = vm.spawn(f"while :; do cat {array.sysfs}/llbitmap/* {array.sysfs}/bitmap/*; "
                       f"echo 1 > {array.sysfs}/llbitmap/flush; done > /dev/null 2>&1")
    for turn in range(8):
        array.set("llbitmap/daemon_sleep", 1)
        array.set("llbitmap/barrier_idle", 0)
        vm.run(f"dd if=/dev/zero of={array} bs={unit} count=40 seek={turn * 40} oflag=direct "
               f"status=none; blkdiscard -f -o {turn * 40 * unit} -l {20 * unit} {array}; "
               f"sleep 0.{turn}; for i in $(seq 40); do mdadm --stop {array} && exit; "
               f"sleep 0.2; done; exit 1")
        array.assemble()
        array.readwrite()
        bits = array.bits()
        assert bits["dirty"] == bits["need sync"] == 0
    readers.signal(9)
    readers.wait(check=False)
    array.flush()
    assert array.bits()["unwritten"] == 8 * 20


@pytest.mark.vm(disks=2, cpus=2, disk=DiskOptions(size="96M"), cmdline="slub_debug=FZPU,kmalloc-*")
@cases("end", "mdadm --stop {0}", long=["mdadm --grow {0} --bitmap=none"])
def test_timer_ends_with_the_bitmap(vm, end):
    """Where memory that is free is poisoned, a timer left in it is a panic: it is due when nobody
    has taken that memory again."""
    array = vm.create_array(level=1, disks=2)
    array.wait_sync()
    vm.run(f"""
        echo 10 > {array.sysfs}/llbitmap/daemon_sleep
        SECONDS=0
        dd if=/dev/zero of={array} bs=64k count=4 oflag=direct status=none
        until {end.format(array)}; do sleep 0.2; done
        [ $SECONDS -lt 9 ] || exit 77
        sleep $((13 - SECONDS))""")
    vm.say("the timer would be due by now")
    assert "would be due" in vm.dmesg()
    array.assemble() if "--stop" in end else write(vm, array)
