# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once against one array: writers and discards that compare their data, a member whose
bitmap writes are slow, a daemon that cleans each second, members that fail and come back, stop and
start, sysfs writers, syncs begun and aborted, snapshots, and `llbitmapctl audit` over all of it.

The numbers that are drawn follow from the seed; which step meets which does not.
"""
import dataclasses
import json
import pathlib
import random
import signal
import struct

from levels import PARITY, width, wrong_sectors
from support import HOLD, Mapped, on_disk, wait_until
from vmtest import DiskOptions
from vmtest.environment import build_helper
from vmtest.geometry import Layout
from vmtest.parity import ParityLayout

LEVELS = {1: 3, 10: 4, 5: 3, 6: 4}
FAILFAST = (1, 10)      # levels that know it
UNWRITTEN, CLEAN = 0, 1
STATE = "races.state"   # what the writers left, in the VM's out/
LONGEST = 10            # times the seconds of a round: so long it waits until enough was done
ORACLE = pathlib.Path(__file__).parent / "oracle.c"
VM = {"disks": 4, "disk": DiskOptions(size="320M"), "memory": "1536M", "cpus": 3}
SIZE = 288 << 10        # KiB of each member: the bitmap has more than a page
PAGE_END = 3072 * 128   # sectors of it behind which chunks are in the second page

# Builtins only, where it can be: a process costs half a second on an emulated debug kernel. Each
# loop ends by itself, because one that is killed may leave the array half assembled.
PRELUDE = r"""
exec 2> /dev/null 8<> <(:)
RANDOM={seed}
md={sysfs} b={sysfs}/llbitmap array={array}
did() {{ echo "$1" >> /run/races.did; }}
pause() {{ read -rt "$1" -u 8 || :; }}
tell() {{ echo "$2" > "$1" && did "${{1##*/}}"; }}
exec 7> /run/races.table
behave() {{ dmsetup load {slow} <<< "$1" && dmsetup resume --noflush {slow}; }}
on() {{ ! [ -e /run/races.end ]; }}
"""

SETTINGS = r"""
while on; do
    tell $b/flush 1
    tell $b/daemon_sleep $((RANDOM % 4 ? 1 : 2)); tell $b/barrier_idle $((RANDOM % 4 ? 0 : 1))
    echo 0 > $b/daemon_sleep; echo junk > $b/mark
    first=$((RANDOM % {chunks}))
    (( RANDOM % 4 )) || tell $b/mark $first-$((first + RANDOM % 9))
    tell $md/bitmap_set_bits $((RANDOM % {chunks}))
    pause 0.$((RANDOM % 5))
done
"""

READERS = r"""
while on; do
    tell $b/snapshot 1
    for file in $b/* $md/bitmap/* $md/sync_completed $md/degraded /proc/mdstat; do
        mapfile -t lines < $file
    done
    pause 0.$((RANDOM % 3))
done
"""

# a recovery is aborted as well, but gets its chance
SYNCS = r"""
abort() {{
    read -r was < $md/sync_action && echo $1 > $md/sync_action || return
    case $was in idle|frozen) ;; *) did aborted ;; esac
}}
while on; do
    read -r degraded < $md/degraded
    (( degraded && RANDOM % 8 )) && {{ pause 1; continue; }}
    words=(check repair resync check)
    tell $md/sync_action ${{words[RANDOM % 4]}}
    if (( RANDOM % 3 )); then
        pause $((RANDOM % 2)).$((RANDOM % 10))
    else
        for i in {{1..100}}; do
            read -r now < $md/sync_action && [ $now != idle ] && on || break
            pause 0.3
        done
    fi
    (( RANDOM % 6 )) || {{ abort frozen; pause 0.3; }}
    abort idle
    pause $((RANDOM % 3))
done
"""

MEMBERS = r"""
# a member that is to fail fast fails with the first error
glitch() {{
    read -r degraded < $md/degraded && read -r state < $md/dev-{failing_name}/state || return
    [[ $degraded = 0 && $state = *failfast* ]] && (( RANDOM % 4 )) && flock 7 || return
    behave "{broken}"
    for i in {{1..50}}; do
        read -r state < $md/dev-{failing_name}/state
        [[ $state = *faulty* ]] && break
        pause 0.1
    done
    behave "{let_go}"
    flock -u 7
    [[ $state = *faulty* ]]
}}
while on; do
    pause $((RANDOM % 4))
    if glitch; then
        did glitched
    # mdadm does not let go of a member of RAID5 while there are writes; the kernel does
    elif (( RANDOM % 2 )) && mdadm $array --fail {failing}; then
        did fail
    else
        tell $md/dev-{failing_name}/state faulty || continue
    fi
    removed= joined=
    for i in {{1..50}}; do mdadm $array --remove {failing} && did removed && removed=1 && break; pause 0.2; done
    pause $((RANDOM % 3))
    for i in {{1..50}}; do
        mdadm $array --re-add {failing} && did re-add && joined=1 && break
        mdadm $array --add {fast} {failing} && did add && joined=1 && break
        pause 0.5
    done
    [ $joined ] && did joined
    for i in {{1..200}}; do
        read -r degraded < $md/degraded && [ $degraded = 0 ] && break
        on || break
        pause 0.2
    done
    # only what was not whole can become it
    [ $removed$degraded = 10 ] && did whole
done
"""

STOPS = r"""
exec 9> /run/races.lock
while on; do
    pause $((RANDOM % 8 + 3))
    read -r degraded < $md/degraded
    (( degraded && RANDOM % 4 )) && continue
    : > /run/races.gate
    flock 9
    pause 0.$((RANDOM % 8))
    for i in {{1..40}}; do
        mdadm --stop $array && did stop && break
        pause 0.1
    done
    if [ $i != 40 ]; then
        for i in {{1..40}}; do
            mdadm --assemble --run $array {members} > /run/races.assembly 2>&1
            [ -e $b/bits ] && did start && break
            pause 0.5
        done
        [ -e $b/bits ] || {{ cat /run/races.assembly; exit 1; }}
        # a few of the settings of the start are left to the array
        (( RANDOM % 4 )) && {{ echo 1 > $b/daemon_sleep; echo 0 > $b/barrier_idle; }}
    fi
    rm -f /run/races.gate
    flock -u 9
done
"""

# A write to one member takes longer than a drain has patience (5 s): what was to be cleaned, and
# discards that were done, are let go as they are.
STALLS = r"""
while on; do
    for ((wait = RANDOM % 20 + 10; wait--; )) do on && pause 1; done
    flock 7
    behave "{held}" && pause 8 && behave "{let_go}" && did stalled
    flock -u 7
done
behave "{let_go}"
"""

# on a slow machine the time may be over before each of them was done
ENOUGH = r"""
for word in {must}; do
    until grep -qx $word /run/races.did; do pause 1; on || exit; done
done
: > /run/races.enough
"""

LOOPS = {"settings": SETTINGS, "readers": READERS, "syncs": SYNCS, "members": MEMBERS,
         "stops": STOPS, "stalls": STALLS, "enough": ENOUGH}
# what must have been done for the load to count: by the loops, and by the writers
DID = ("flush", "daemon_sleep", "barrier_idle", "mark", "bitmap_set_bits", "snapshot", "sync_action",
       "aborted", "removed", "joined", "whole", "stop", "start", "stalled")
MUST = ("writes", "discards", "flushes", "compared", *DID)


@dataclasses.dataclass
class Round:
    level: int
    seed: int
    seconds: int
    failfast: bool = False      # all members, and the slow one is the one that fails

    def __post_init__(self):
        draw = random.Random(self.seed)
        disks = LEVELS[self.level]
        self.slow, self.failing = draw.randrange(disks), draw.randrange(disks)
        self.delay = draw.choice((3, 20, 60, 150))          # ms
        self.kib = draw.choice((8, 24, 48)) << 10           # of the array that is written to
        self.threads = draw.choice((2, 4, 6))
        # the pages meet where each has its own, or where all write and discard across each other
        self.first = PAGE_END * width(self.level, disks) - self.kib * 2 * draw.choice((11, 15)) // 16
        self.seeds = {name: draw.randrange(1, 32768) for name in LOOPS}
        # On RAID1 the slow one is behind in data, too: write-mostly, with write-behind. Not with
        # FailFast so far.
        self.behind = self.level == 1 and not self.failfast
        if self.behind:
            self.slow = disks - 1       # mdadm's option is for all members that come after it
        if self.failfast:
            self.failing = self.slow

    def must(self):
        """What the loops must have done."""
        return (*DID, "glitched") if self.failfast else DID

    def __str__(self):
        return (f"raid{self.level}, seed {self.seed}: bitmap writes of member {self.slow} take "
                f"{self.delay} ms, {'and its data are behind, ' if self.behind else ''}"
                f"{'each is to fail fast, ' if self.failfast else ''}"
                f"member {self.failing} fails, {self.threads} threads on {self.kib >> 10} MiB "
                f"from sector {self.first} on")


def audit_begins(vm):
    audit = vm.spawn("exec llbitmapctl audit --json", timeout=36000)
    # then it watches, and has given up its privileges
    wait_until(vm, lambda: vm.run("grep CapEff /proc/$(pgrep -x llbitmapctl)/status",
                                  check=False).stdout.endswith("\t0000000000000000\n"))
    return audit


def place_in(image):
    """A function that gives the member sector of an array sector."""
    if image.level in PARITY:
        layout = ParityLayout.of_member(image)
        return lambda sector: layout.place(sector)[1]
    layout = Layout.of_member(image)
    return lambda sector: layout.copies(sector)[0][1]


def tables(slow, image, one):
    """How the slow member can behave: as ever, or it holds writes to a MiB of data where the writers
    are, or nothing works on what they write to."""
    bitmap = slow.slow_range(one.delay)
    where = image.data_offset + place_in(image)(one.first)
    return {"slow": slow.name, "let_go": slow.table(bitmap),
            "held": slow.table(bitmap, slow.slow_range(HOLD, where, 2048)),
            "broken": slow.table(bitmap, slow.bad_range(where, one.kib))}


def make_array(vm, one):
    members = list(vm.disks[:LEVELS[one.level]])
    slow = Mapped(vm, "slow", members[one.slow])
    members[one.slow] = slow
    extra = []
    if one.behind:
        members.insert(one.slow, "--write-mostly")
        extra = ["--write-behind=256"]
    if one.failfast:
        members.insert(0, "--failfast")
    slow.delay_writes(one.delay)
    # with the 1 MB/s that md leaves to a sync beside writers, none comes to its end between two stops
    vm.run("modprobe md-mod && echo 50000 > /proc/sys/dev/raid/speed_limit_min")
    if one.level in PARITY:
        vm.run("modprobe raid456 && "
               "echo Y > /sys/module/raid456/parameters/devices_handle_discard_safely")
    array = vm.create_array(level=one.level, disks=LEVELS[one.level], members=members, extra=extra,
                            size=SIZE, assume_clean=one.level in (1, 10))
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    return array, slow


def run_loops(vm, array, slow, one):
    """Until the writers have ended; gives what it counted, and what the loops did."""
    vm.run("rm -f /run/races.*; : > /run/races.did")
    failing = array.members[one.failing]
    values = {"sysfs": array.sysfs, "array": array, "chunks": array.metadata()["chunks"],
              "failing": failing, "failing_name": str(failing).rpartition("/")[2],
              "members": " ".join(map(str, array.members)), "must": " ".join(one.must()),
              "fast": "--failfast" if one.failfast else "", **tables(slow, array.member_images()[0], one)}
    longest = one.seconds * LONGEST
    patience = longest + 600
    loops = {name: vm.spawn((PRELUDE + text).format(seed=one.seeds[name], **values), patience)
             for name, text in LOOPS.items()}
    counts = vm.run([build_helper("races-oracle", ORACLE, "-pthread"), "write", array, one.first,
                     one.seed, one.kib, one.threads, one.seconds, longest, f"/mnt/out/{STATE}"], patience)
    vm.run(": > /run/races.end")
    for name, loop in loops.items():
        ended = loop.wait(check=False)
        assert ended.rc == 0 or name != "stops", f"it cannot be assembled: {ended.stdout}"
    did = vm.read("/run/races.did").split()
    return json.loads(counts.stdout), {name: did.count(name) for name in sorted(set(did))}


def make_whole(vm, array):
    """All members in, everything synced and cleaned."""
    array.set("sync_action", "idle", check=False)
    for member in array.members:
        there = vm.exists(f"{array.sysfs}/dev-{str(member)[5:]}")
        if there and "faulty" in array.member_state(member):
            array.remove(member)
            there = False
        if not there:
            array.re_add(member, check=False) or array.add(member)
    wait_until(vm, lambda: array.degraded() == 0, 120, "it stays degraded")
    array.wait_in_sync(120)
    array.wait_sync(300)
    array.flush()


def unwritten_data(state, first, states, image):
    """The chunks that hold data, by what the writers left from sector `first` on, and are Unwritten,
    by a member's bytes."""
    unit = image.bitmap().chunksize
    # the bitmap counts a member's sectors, or the array's
    counted = place_in(image) if image.level in PARITY else int
    held = {counted(sector) // unit
            for sector, (number,) in enumerate(struct.iter_unpack("=I", state), first) if number}
    return sorted(chunk for chunk in held if states[chunk] == UNWRITTEN)


def judge_members(array, one, state):
    """From outside: nothing is left to do, all members have the same states, what holds data is not
    Unwritten, and where they say Clean, copies and parity are right."""
    bits = array.bits()
    assert bits["dirty"] == bits["need sync"] == bits["syncing"] == 0, bits
    array.settle()
    states, *others = on_disk(array)
    assert all(other == states for other in others), "the members' bitmaps differ"
    image = array.member_images()[0]
    assert len(states) > PAGE_END // image.bitmap().chunksize, "one page had room for it"
    forgotten = unwritten_data(state, one.first, states, image)
    assert forgotten == [], f"chunks {forgotten} hold data and are Unwritten"
    chunk = image.bitmap().chunksize
    bad = {sector // chunk for first, last in wrong_sectors(array)
           for sector in range(first, last + 1)}
    wrong = sorted(number for number in bad if states[number] == CLEAN)
    assert wrong == [], f"copies differ in Clean chunks {wrong}"


def judge_audit(audit):
    audit.signal(signal.SIGINT)
    report = json.loads(audit.wait(check=False).stdout)
    assert report["violations"] == 0, json.dumps(report)
    assert (report["verdict"], report["doubts"]) == ("pass", []), \
        f"{report['verdict']}: {report['doubts']}"
    return len(report["loads"])


def play(vm, one):
    """The round on a VM that was booted for it; raises what is wrong. Gives what was done."""
    array, slow = make_array(vm, one)
    audit = audit_begins(vm)
    array.wait_sync(300)
    oracle, did = run_loops(vm, array, slow, one)
    slow.plain()
    make_whole(vm, array)
    vm.run(["races-oracle", "verify", array, one.first, f"/mnt/out/{STATE}"], 300)
    state = vm.out / STATE
    judge_members(array, one, state.read_bytes())
    state.unlink()
    array.stop()
    return {**oracle, **did, "loads": judge_audit(audit), "failfast": one.failfast}


def left_out(rounds):
    """What none of the rounds did that was to be done."""
    must = MUST + ("glitched",) * any(one.get("failfast") for one in rounds)
    return [name for name in must if not sum(one.get(name, 0) for one in rounds)]
