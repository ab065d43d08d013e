# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest bitmap: what it takes of memory, and of instructions to assemble and to sync."""
import re

import ramdisks
from figure import Figure

CHUNKS = 130_048            # 256 sectors of bitmap, without its header
CHUNK_KIB = 64
BYTES_PER_CHUNK = 1.1       # of memory, and
BYTES_MORE = 64 << 10
ASSEMBLE_MOST = 20e6        # instructions above none
SYNC_MOST = 2.2             # twice the chunks, at most so many times the instructions
PASS_MOST = 10e6            # instructions of a pass over all of them
ARRAYS = 8                  # for memory: what other parts of the kernel take or free counts less

MEMBER_KIB = (CHUNKS * CHUNK_KIB) + (64 << 10)
VM = ramdisks.ICOUNT

# The instructions that a command takes, the guest's idle time and the shell's share left out.
BUSY = r"""
busy() {
	awk '/^now at/ { now = $3 }
	     /\.(idle|iowait)_sleeptime/ { idle += $3 }
	     END { printf "%.0f\n", now - idle }' /proc/timer_list
}
before=$(busy); nothing=$(busy)
{ CMD; } >&2 || exit
after=$(busy)
echo $((after - nothing - (nothing - before)))
"""


def busy(vm, command):
    """Instructions that the whole VM executes for a command and what it sets off."""
    return int(vm.run(BUSY.replace("CMD", command), timeout=300).stdout)


def load_ramdisks(vm, count):
    vm.run(f"rmmod brd 2>/dev/null; modprobe brd rd_nr={count} rd_size={MEMBER_KIB}"
           " && modprobe -a raid1 raid10")


def create(vm, bitmap, chunks=CHUNKS, members=(0, 1)):
    """RAID1 with so many chunks, all of them Clean."""
    array = vm.create_array(level=1, disks=len(members), bitmap=ramdisks.BITMAPS[bitmap],
                            size=chunks * CHUNK_KIB, members=[f"/dev/ram{i}" for i in members],
                            extra=["--force"])
    if bitmap == "llbitmap" and array.metadata()["chunks"] != chunks:
        raise RuntimeError(f"{array.metadata()} for {chunks} chunks")
    return array


# -- memory -----------------------------------------------------------------------------------

def memory_used(vm):
    """Bytes, everything that can be had back left out."""
    vm.run("sync; echo 3 > /proc/sys/vm/drop_caches; sleep 1; echo 3 > /proc/sys/vm/drop_caches")
    info = dict(re.findall(r"^(\w+): +(\d+) kB$", vm.read("/proc/meminfo"), re.MULTILINE))
    # free pages that CPUs keep for themselves are not in MemFree
    kept = sum(map(int, re.findall(r"^ +count: +(\d+)$", vm.read("/proc/zoneinfo"), re.MULTILINE)))
    return (int(info["MemTotal"]) - int(info["MemFree"]) - 4 * kept) << 10


def memory_of(vm, bitmap):
    """Bytes that an assembled array takes, more than a stopped one."""
    arrays = [create(vm, bitmap, members=[i]) for i in range(ARRAYS)]
    vm.run("; ".join(f"mdadm --stop {array}" for array in arrays))
    taken = []
    for _ in range(3):      # slabs fill up once
        stopped = memory_used(vm)
        vm.run(" && ".join(f"mdadm --assemble {array} {array.members[0]}" for array in arrays))
        if bitmap == "llbitmap":
            assert all(array.metadata()["chunks"] == CHUNKS for array in arrays)
        taken.append((memory_used(vm) - stopped) / ARRAYS)
        vm.run("; ".join(f"mdadm --stop {array}" for array in arrays))
    for array in arrays:
        array.destroy()
    return sorted(taken)[1]


def memory(vm):
    load_ramdisks(vm, ARRAYS)
    none = memory_of(vm, "none")
    return none, *(memory_of(vm, bitmap) - none for bitmap in ("classic", "llbitmap"))


# -- assembling -------------------------------------------------------------------------------

def assemble_of(vm, bitmap):
    array = create(vm, bitmap)
    counts = []
    for _ in range(3):
        vm.run(f"mdadm --stop {array}")
        counts.append(busy(vm, f"mdadm --assemble {array} {' '.join(array.members)}"))
    array.destroy()
    return sorted(counts)[1]


# -- a sync pass that has nothing to do -------------------------------------------------------

def sync_time(log):
    """Nanoseconds, which are instructions, between the lines with which md begins and ends it."""
    times = [re.search(rf"^\[ *(\d+)\.(\d{{6}})\] md: .*{words}", log, re.MULTILINE)
             for words in ("resync of RAID array", "resync done")]
    if None in times:
        raise RuntimeError(f"there was no resync: {log}")
    begin, end = (int(time[1]) * 10**9 + int(time[2]) * 1000 for time in times)
    return end - begin


def sync_pass(vm, chunks):
    """Instructions of a resync over so many Clean chunks. It does no I/O, so it never sleeps."""
    array = create(vm, "llbitmap", chunks)
    members = " ".join(array.members)
    vm.run(f"mdadm --stop {array} && dmesg --clear"
           f" && mdadm --assemble --update=resync {array} {members}")
    array.readwrite()
    array.wait_sync()
    log = vm.run("dmesg").stdout
    if array.bits()["clean"] != chunks:
        raise RuntimeError(f"there was something to sync: {array.bits()}")
    array.destroy()
    return sync_time(log)


def measure(vm, quick):
    none, classic, ours = memory(vm)
    yield Figure(f"memory of a bitmap of {CHUNKS} chunks", "KiB", ours / 1024,
                 (BYTES_PER_CHUNK * CHUNKS + BYTES_MORE) / 1024,
                 "MemFree with an array assembled, and stopped", none=none / 1024,
                 classic=classic / 1024, signed=True, digits=1)
    vm.clean_up()
    none, classic, ours = (assemble_of(vm, bitmap) / 1e6 for bitmap in ramdisks.BITMAPS)
    yield Figure(f"assembling {CHUNKS} chunks", "million instructions", ours - none,
                 ASSEMBLE_MOST / 1e6, "mdadm --assemble", none=none, classic=classic - none,
                 signed=True, digits=1)
    half, whole = (sync_pass(vm, chunks) / 1e6 for chunks in (CHUNKS // 2, CHUNKS))
    yield Figure(f"resync of {CHUNKS} Clean chunks", "million instructions", whole,
                 PASS_MOST / 1e6, "mdadm --assemble --update=resync", digits=2)
    yield Figure("... for one of half as many chunks", "times", whole / half, SYNC_MOST,
                 "the same", digits=2)
