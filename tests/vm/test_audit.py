# SPDX-License-Identifier: GPL-2.0-or-later
"""audit and record on the running kernel: all that they can see, how they end, what they refuse."""
import json
import pathlib
import signal
import struct
import subprocess

import pytest

from levels import cases
from support import AREA_BEGIN, Trace, wait_until
from vmtest import DiskOptions
from vmtest.environment import build_dir

# one CPU: QEMU before 8.1 translates code that several CPUs run while it is being patched wrongly
pytestmark = pytest.mark.vm(disks=8, cpus=1, disk=DiskOptions(size="64M"))

TOOL = build_dir() / "llbitmapctl"
FIO = ("fio --name=w --filename={} --rw=randwrite --bs=4k --size=32M --direct=1 --ioengine=libaio "
       "--iodepth=8 --number_ios={} --output=/dev/null")


def tool(vm, arguments, **options):
    return vm.run("llbitmapctl " + arguments, check=False, **options)


def report(result):
    """The one JSON document of an audit."""
    return json.loads(result.stdout)


def replay(recording):
    done = subprocess.run([TOOL, "replay", "--json", recording], capture_output=True, text=True,
                          check=False)
    return done.returncode, json.loads(done.stdout)


def attached(vm):
    """Our BPF programs that the kernel has."""
    programs = json.loads(vm.run("bpftool --json prog list").stdout)
    return sorted(program["name"] for program in programs
                  if program.get("name", "").startswith("on_"))


def ready(vm, sessions):
    """This many sessions watch: they have given up their privileges."""
    capabilities = vm.run("for pid in $(pgrep -x llbitmapctl); do grep CapEff /proc/$pid/status; "
                          "done; :").stdout
    return capabilities.count("\t0000000000000000\n") == sessions


def nothing_left(vm):
    """Neither programs in the kernel nor a process of ours."""
    return attached(vm) == [] and vm.run("pgrep -x llbitmapctl", check=False).rc == 1


def refused(result, status, *words):
    """Ended with one clear line and nothing else."""
    assert result.rc == status, result
    assert result.stdout == ""
    line, = result.stderr.splitlines()
    assert line.startswith("llbitmapctl: ")
    for word in words:
        assert word in line
    return True


# -- everything that can be seen ------------------------------------------------------------------

# $1 level, $2 number of members, $3 their size in KiB, $4 ..: the members of md8, which runs, and
# one spare
LOAD = r"""
set -eux
exec >&2		# standard output is for the verdict
level=$1 disks=$2 size=$3
shift 3
members=("$@")
spare=${members[disks]}
md=/sys/block/md8/md

write() { fio --name=w --filename=/dev/$1 --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
	--iodepth=8 --offset=$2 --size=$3 --number_ios=$4 --randseed=$4 --output=/dev/null; }
flush() { echo 1 > $md/llbitmap/flush; }
wait_sync() {
	n=0
	until [ $n = 5 ]; do
		# none where nothing was begun: md looks idle before it has chosen what to do
		[ "$(cat $md/sync_completed $md/sync_action)" = $'none\nidle' ] && n=$((n + 1)) || n=0
		sleep 0.2
	done
}
remove() {
	mdadm /dev/md8 --fail $1
	until mdadm /dev/md8 --remove $1; do sleep 0.3; done
}

write md8 0 16M 150
blkdiscard -o 1M -l 3M /dev/md8			# whole chunks
blkdiscard -o 8500k -l 100k /dev/md8		# one whole chunk, and a part of two
sleep 0.5
flush
write md8 0 16M 60
echo frozen > $md/sync_action
echo 0-60 > $md/llbitmap/mark
blkdiscard -o 0 -l 1M /dev/md8
flush
echo idle > $md/sync_action
wait_sync
echo 100-110 > $md/bitmap_set_bits
echo check > $md/sync_action
wait_sync

remove ${members[0]}
write md8 8M 16M 70
flush
mdadm /dev/md8 --re-add ${members[0]}
wait_sync
write md8 0 32M 90
remove ${members[0]}
mdadm /dev/md8 --add $spare
wait_sync
flush

mdadm --stop /dev/md8
mdadm --assemble /dev/md8 ${members[@]:1:disks}
write md8 0 8M 40
flush
mdadm --stop /dev/md8

mdadm --zero-superblock "${members[@]}"
mdadm --create /dev/md9 --run --metadata=1.2 --level=$level --raid-devices=$disks \
	--size=$size --bitmap=lockless "${members[@]:0:disks}"
write md9 0 8M 50
mdadm --stop /dev/md9
"""

CELLS = {("Unwritten", "Startwrite"), ("Clean", "Startwrite"), ("Clean", "Stale"),
         ("Dirty", "Daemon"), ("Dirty", "Discard"), ("Dirty", "Stale"), ("Dirty", "Startsync"),
         ("NeedSync", "Startsync"), ("NeedSync", "Discard"), ("Syncing", "Endsync"),
         ("None", "Init")}
RULES = {"init-clean", "degraded-write", "degraded-sync", "partial-discard", "whole-discard",
         "drained-clean"}


@cases("level, disks, size", (10, 4, 20480), long=[(1, 3, 40960)])
def test_everything(vm, level, disks, size):
    """Arrays that run, stop, are assembled and created while watched."""
    members = vm.disks[:disks + 1]
    vm.run(["mdadm", "--create", "/dev/md8", "--run", "--metadata=1.2", f"--level={level}",
            f"--raid-devices={disks}", f"--size={size}", "--bitmap=lockless", "--assume-clean",
            *map(str, members[:disks])])
    vm.write("/root/load", LOAD)
    command = " ".join(["bash /root/load", *map(str, (level, disks, size, *members))])
    try:
        # record runs the audit, and that the load: both see all of it
        vm.run("llbitmapctl record -o /mnt/out/all.llbrec -- sh -c 'llbitmapctl audit --json -- "
               f"{command} >/mnt/out/all.json 2>/mnt/out/all.log; echo $? >/mnt/out/all.status'",
               timeout=150)
    finally:
        vm.run("for md in md8 md9; do [ ! -e /sys/block/$md/md ] || mdadm --stop /dev/$md; done; "
               "for disk in /dev/vd?; do mdadm --zero-superblock $disk 2>/dev/null; "
               "blkdiscard -f $disk; done", check=False)
    log = (vm.out / "all.log").read_text()
    assert "the command ended" not in log, log
    status = int((vm.out / "all.status").read_text())
    live = json.loads((vm.out / "all.json").read_text())
    replayed_status, replayed = replay(vm.out / "all.llbrec")

    for code, audit in ((status, live), (replayed_status, replayed)):
        assert (code, audit["verdict"], audit["doubts"], audit["violations"]) == (
            0, "pass", [], 0), audit
        seen = {(cell["from"], cell["action"]) for cell in audit["coverage"]["cells"]
                if cell["chunks"]}
        assert CELLS <= seen | {("None", "Init")}
        assert {rule for rule in RULES if not audit["coverage"]["rules"][rule]} == set()
        assert [load["array"] for load in audit["loads"]] == ["md8", "md8", "md9"]
        assert all(load["unloaded"] and load["complete_snapshot"] for load in audit["loads"])
    assert live["coverage"] == replayed["coverage"]
    assert live["events"]["transition"] == replayed["events"]["transition"]

    # for people
    text = subprocess.run([TOOL, "audit", vm.out / "all.llbrec"], capture_output=True, text=True,
                          check=False)
    assert text.returncode == 0
    assert "coverage: " in text.stdout
    assert "verdict: pass" in text.stdout
    assert nothing_left(vm)


# -- how a session ends ---------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["", " -- sleep 600"])
def test_signal(vm, number, command):
    """A verdict on what was seen, a whole recording, and nothing stays attached."""
    array = vm.create_array(level=1, disks=2)
    record = vm.spawn(f"exec llbitmapctl record -o /mnt/out/signal.llbrec{command}")
    audit = vm.spawn(f"exec llbitmapctl audit --json{command}")
    wait_until(vm, lambda: ready(vm, 2))
    assert attached(vm).count("on_transition") == 2
    vm.run(FIO.format(array, 50))
    for session in (audit, record):
        session.signal(number)
    ended = audit.wait(check=False)
    assert (ended.rc, report(ended)["verdict"]) == (0, "pass"), ended
    assert report(ended)["events"]["transition"] > 0
    assert record.wait(check=False).rc == 0
    status, replayed = replay(vm.out / "signal.llbrec")
    assert (status, replayed["verdict"]) == (0, "pass")
    assert replayed["events"]["transition"] == report(ended)["events"]["transition"]
    assert nothing_left(vm)
    assert vm.run("pgrep -x sleep", check=False).rc == 1


@cases("command, result", ("audit", "^verdict: "),
       long=[("hist", "^daemon pass: "), ("trace", ""), ("top --batch -i 0.1", "")])
def test_signal_at_any_time(vm, command, result):
    """From before the first program is loaded until after the last. What is shown is whole."""
    vm.create_array(level=1, disks=2)
    script = r"""
(while sleep 0.05; do echo 1 > /sys/block/md0/md/llbitmap/snapshot; done) &
try()
{
	for s in INT TERM; do
		timeout --preserve-status -s $s $1 llbitmapctl $COMMAND >/root/o 2>/root/e
		echo $? $([ -z "$RESULT" ] || grep -c "$RESULT" /root/o) \
			$(tail -c 1 /root/o | grep -c .) $(grep -vc '^llbitmapctl: ' /root/e)
	done
}
for t in 0.02 0.2 0.5 0.8 1.1 1.6; do
	try $t
done >/root/seen
# and as long as this machine needs
until grep -q '^0 ' /root/seen; do
	t=$(awk "BEGIN { print $t * 1.5 }")
	try $t >>/root/seen
done
kill %1
cat /root/seen
"""
    seen = [tuple(map(int, line.split())) for line in
            vm.run(f"COMMAND='{command}'; RESULT='{result}'{script}", timeout=120).stdout.splitlines()]
    shown, nothing = ((1,), (0,)) if result else ((), ())
    # a signal before we can take it just ends us
    assert set(seen) <= {(0, *shown, 0, 0), (3, *shown, 0, 0), (130, *nothing, 0, 0),
                         (143, *nothing, 0, 0)}
    assert (0, *shown, 0, 0) in seen, "never got as far"
    wait_until(vm, lambda: nothing_left(vm), what="something of a session is left")


def test_record_signalled_at_any_time(vm):
    """What is left can be replayed, or there is nothing."""
    vm.create_array(level=1, disks=2)
    script = r"""
try()
{
	rm -f /root/r
	[ "$s" = INT ] && s=TERM || s=INT
	timeout --preserve-status -s $s $1 llbitmapctl record -o /root/r >/root/o 2>/root/e
	status=$?
	[ ! -e /root/r ] || llbitmapctl replay /root/r >/dev/null 2>/root/e2
	echo $status $? $([ -e /root/r ]; echo $?)
}
for t in 0.02 0.05 0.1 0.3 0.6 1 1.5; do
	try $t
done >/root/seen
until grep -q '^0 ' /root/seen; do
	t=$(awk "BEGIN { print $t * 1.5 }")
	try $t >>/root/seen
done
cat /root/seen
"""
    seen = [tuple(map(int, line.split())) for line in vm.run(script, timeout=60).stdout.splitlines()]
    assert set(seen) <= {(130, 0, 1), (143, 0, 1), (0, 0, 0), (3, 3, 0)}, seen
    assert (0, 0, 0) in seen
    wait_until(vm, lambda: nothing_left(vm), what="something of a session is left")


# two CPUs, so that what one does comes between two steps of the other
@pytest.mark.vm(disks=2, cpus=2, disk=DiskOptions(size="64M"))
def test_end_while_the_daemon_cleans(vm):
    """A session that ends judges nothing of which it did not see all, and misses nothing."""
    array = vm.create_array(level=1, disks=2)
    # each session sees two rounds at least, and ends somewhere in another
    script = f"""
touch /root/rounds
while dd if=/dev/zero of={array} bs=64k count=8 oflag=direct status=none; do
	echo 1 > {array.sysfs}/llbitmap/flush
	echo >> /root/rounds
done &
for i in $(seq 12); do
	llbitmapctl audit --json -- bash -c '
		first=$(wc -l < /root/rounds)
		until [ $(wc -l < /root/rounds) -gt $((first + 2)) ]; do sleep 0.02; done
		sleep 0.'$((i * 7 % 12 + 10))
	echo $? >> /root/statuses
done
kill %1
"""
    reports = [json.loads(line) for line in vm.run(script, timeout=120).stdout.splitlines()]
    assert [(end["verdict"], end["broken"], end["missing"]) for end in reports] == (
        [("pass", {}, 0)] * 12)
    assert vm.read("/root/statuses").split() == ["0"] * 12
    assert all(end["events"]["transition"] for end in reports)


def test_loads_between_two_looks(vm):
    """Arrays that stop and come back before the session looks again are watched, each load."""
    array = vm.create_array(level=1, disks=2)
    audit = vm.spawn("exec llbitmapctl audit --json")
    wait_until(vm, lambda: ready(vm, 1))
    audit.signal(signal.SIGSTOP)
    for _ in range(3):
        vm.run(FIO.format(array, 20))
        array.stop()
        array.assemble()
    audit.signal(signal.SIGCONT)
    audit.signal(signal.SIGINT)
    ended = audit.wait(check=False)
    assert (ended.rc, report(ended)["verdict"]) == (0, "pass"), ended
    assert [load["watched"] for load in report(ended)["loads"]] == [True] * 4
    assert all(load["transitions"] for load in report(ended)["loads"][:3])


def chunk_size_is(array, sectors):
    """In the bitmap's superblock on each member, from outside; gives what it was."""
    for member in array.members:
        before = struct.unpack_from("<I", member.read(AREA_BEGIN, 1), 52)[0]
        with open(member.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512 + 52)
            file.write(struct.pack("<I", sectors))
        array.vm.run(["blockdev", "--flushbufs", member])
    return before


@pytest.mark.long
def test_refused_bitmap_is_no_loss(vm):
    """Its error tells of a load that never begins: nobody watches that, and nothing of it is missed.
    Right after the array's last load, whose slot the session still has, and later."""
    array = vm.create_array(level=1, disks=2)
    audit = vm.spawn("exec llbitmapctl audit --json")
    wait_until(vm, lambda: ready(vm, 1))
    for looks in (False, True):
        vm.run(FIO.format(array, 20))
        if not looks:
            audit.signal(signal.SIGSTOP)
        array.stop()
        size = chunk_size_is(array, 3)
        with Trace(vm) as trace:
            assert not array.assemble(check=False)
        error, = trace.events("error")
        assert "refused" in error.text and not trace.events("load")
        vm.run(f"mdadm --stop {array}", check=False)
        chunk_size_is(array, size)
        array.assemble()
        audit.signal(signal.SIGCONT)
    vm.run(FIO.format(array, 20))
    audit.signal(signal.SIGINT)
    ended = audit.wait(check=False)
    assert (ended.rc, report(ended)["verdict"], report(ended)["doubts"]) == (0, "pass", []), ended
    assert [load["watched"] for load in report(ended)["loads"]] == [True] * 3


@pytest.mark.parametrize("how", ["-d 10", "signal"])
def test_all_that_the_command_started_ends(vm, how):
    """What runs in the background, in a session of its own, or without parent, too."""
    vm.create_array(level=1, disks=2)
    vm.run("rm -f /run/three")
    command = ("sh -c 'sleep 611 & setsid sleep 612 & (sleep 613 &); "
               "until [ $(pgrep -xc sleep) = 3 ]; do :; done; : >/run/three; wait'")
    audit = vm.spawn(f"exec llbitmapctl audit --json {how if how != 'signal' else ''} -- {command}")
    if how == "signal":
        wait_until(vm, lambda: vm.exists("/run/three"))
        audit.signal(signal.SIGTERM)
    ended = audit.wait(check=False)
    assert vm.exists("/run/three"), "it was ended before it had started them"
    assert (ended.rc, report(ended)["verdict"]) == (0, "pass"), ended
    assert "the command was ended by signal 15" in ended.stderr
    assert vm.run("pgrep -x sleep", check=False).rc == 1
    # one that ends by itself may leave something behind on purpose
    assert tool(vm, "audit --json -- sh -c 'sleep 614 >/dev/null 2>&1 &'").rc == 0
    wait_until(vm, lambda: vm.run("pgrep -xc sleep", check=False).stdout.strip() == "1")
    vm.run("pkill -x sleep")


# -- with what privilege --------------------------------------------------------------------------

FEW = ("setpriv --reuid nobody --clear-groups --inh-caps=-all,+bpf,+perfmon "
       "--ambient-caps=-all,+bpf,+perfmon --bounding-set=-all,+bpf,+perfmon ")


def test_two_capabilities_and_the_snapshot_file_suffice(vm):
    """Nobody with these audits as well as root does, from the first snapshot to the last."""
    arrays = [vm.create_array(level=1, disks=2), vm.create_array(level=10, disks=4)]
    refused(vm.run(FEW + "llbitmapctl audit -d 1", check=False), 4,
            "md0/md/llbitmap/snapshot: Permission denied")
    for array in arrays:
        vm.run(f"chown nobody /sys/block/{str(array)[5:]}/md/llbitmap/snapshot")
    audit = vm.spawn(f"exec {FEW} llbitmapctl audit --json")
    wait_until(vm, lambda: ready(vm, 1))
    for array in arrays:
        vm.run(FIO.format(array, 20))
    audit.signal(signal.SIGINT)
    ended = audit.wait(check=False)
    assert (ended.rc, report(ended)["verdict"]) == (0, "pass"), ended
    # at the start and at the end, of each
    assert [load["complete_snapshot"] for load in report(ended)["loads"]] == [True, True]
    assert report(ended)["events"]["snapshot"] >= 4
    assert nothing_left(vm)


def test_array_that_comes_and_keeps_its_snapshot_file(vm):
    """Nobody may not write there, and is told what is missing for a verdict."""
    array = vm.create_array(level=1, disks=2)
    vm.run(f"chown nobody {array.sysfs}/llbitmap/snapshot")
    audit = vm.spawn(f"exec {FEW} llbitmapctl audit --json")
    wait_until(vm, lambda: ready(vm, 1))
    array.stop()
    array.assemble()
    audit.signal(signal.SIGINT)
    ended = audit.wait(check=False)
    assert (ended.rc, report(ended)["doubts"]) == (3, ["base"]), ended
    assert ("no snapshot at the end: cannot write /sys/block/md0/md/llbitmap/snapshot: "
            "Permission denied") in ended.stderr


def test_no_process_keeps_a_capability(vm):
    """Also while an array is assembled, which is then known from its first chunk on."""
    array = vm.create_array(level=1, disks=2)
    record = vm.spawn("exec llbitmapctl record -o /mnt/out/dropped.llbrec")
    wait_until(vm, lambda: ready(vm, 1))
    assert vm.run("pgrep -xc llbitmapctl").stdout.strip() == "1"
    for _ in range(2):
        vm.run(FIO.format(array, 20))
        array.stop()
        array.assemble()
    vm.run(FIO.format(array, 20))
    record.signal(signal.SIGTERM)
    assert record.wait(check=False).rc == 0
    status, replayed = replay(vm.out / "dropped.llbrec")
    assert (status, replayed["verdict"]) == (0, "pass")
    assert len(replayed["loads"]) == 3
    lines = subprocess.run([TOOL, "replay", "--as", "trace", "--json", vm.out / "dropped.llbrec"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    snapshots = [event for event in map(json.loads, lines) if event["event"] == "snapshot"]
    assert sum(event["ends"] for event in snapshots) >= 4      # start, two loads, end
    assert snapshots[-1]["load"] == replayed["loads"][-1]["load"]


# -- what was not seen ----------------------------------------------------------------------------

def test_ring_buffer_full(vm):
    """record does not read while more than 16 MiB of events come: both it and its recording say so."""
    array = vm.create_array(level=1, disks=2)
    chunks = array.metadata()["chunks"]
    vm.run(f"fio --name=w --filename={array} --rw=write:124k --bs=4k --size=100% --direct=1 "
           "--output=/dev/null")
    record = vm.spawn("exec llbitmapctl record --json -o /mnt/out/full.llbrec")
    wait_until(vm, lambda: ready(vm, 1))
    record.signal(signal.SIGSTOP)
    # a snapshot is an event for each chunk then
    snapshots = (16 << 20) // 96 // chunks + 10
    vm.run(f"for i in $(seq {snapshots}); do echo 1 > {array.sysfs}/llbitmap/snapshot; done",
           timeout=120)
    # a load of which no event finds room
    array.stop()
    array.assemble()
    array.stop()
    record.signal(signal.SIGCONT)
    record.signal(signal.SIGINT)
    ended = record.wait(check=False)
    assert (ended.rc, report(ended)["violations"]) == (3, 0), ended
    assert report(ended)["lost"] > chunks and "lost: ring buffer full" in ended.stderr
    assert report(ended)["arrays"] == 2
    status, replayed = replay(vm.out / "full.llbrec")
    assert (status, replayed["verdict"]) == (3, "inconclusive")
    assert "loss" in replayed["doubts"] and replayed["violations"] == 0
    assert replayed["lost"]["ringbuf"] == report(ended)["lost"]
    assert nothing_left(vm)


# every second chunk; a line as long as an attribute takes
FRAGMENT = """
for first in range(0, {chunks}, 1000):
    with open("{sysfs}/bitmap_set_bits", "w") as bits:
        bits.write(" ".join(map(str, range(first, min(first + 1000, {chunks}), 2))))
"""


@pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="6400M"))
def test_snapshots_larger_than_the_ring_buffer(vm):
    """Arrays whose snapshots do not fit into the ring together are recorded without loss."""
    arrays = [vm.create_array(level=1, disks=2, assume_clean=True) for _ in range(2)]
    chunks = [array.metadata()["chunks"] for array in arrays]
    for array, count in zip(arrays, chunks):
        vm.run(["python3", "-c", FRAGMENT.format(chunks=count, sysfs=array.sysfs)])
    # once at the start and once at the end
    assert sum(chunks) > (16 << 20) // 104 > max(chunks)
    record = tool(vm, "record --json -o /mnt/out/large.llbrec -d 1", timeout=120)
    assert (record.rc, report(record)["lost"], report(record)["violations"]) == (0, 0, 0), record
    assert report(record)["events"] >= 2 * sum(chunks)
    status, replayed = replay(vm.out / "large.llbrec")
    assert (status, replayed["verdict"]) == (0, "pass")
    assert all(load["complete_snapshot"] for load in replayed["loads"])


def test_skipped_programs(vm):
    """The kernel runs no program inside itself, and counts what it left out: that is a loss."""
    vm.create_array(level=1, disks=2)
    source = pathlib.Path(__file__).parent / "guest" / "misses.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", vm.out / "misses.so", source],
                   check=True)
    preload = "LD_PRELOAD=/mnt/out/misses.so llbitmapctl"
    result = vm.run(f"{preload} audit --json -d 0.5", check=False)
    assert (result.rc, report(result)["verdict"], report(result)["doubts"]) == (
        3, "inconclusive", ["loss"])
    assert report(result)["lost"] == {**dict.fromkeys(report(result)["lost"], 0), "recursion": 2}
    for command in ("record -o /mnt/out/skipped.llbrec", "hist", "trace", "top --batch -n 1 -i 0.1"):
        result = vm.run(f"{preload} {command} {'' if 'top' in command else '-d 0.5'}", check=False)
        assert (result.rc, result.stderr) == (
            3, "llbitmapctl: 2 lost: program skipped by recursion\n"), result
    status, replayed = replay(vm.out / "skipped.llbrec")
    assert (status, replayed["verdict"]) == (3, "inconclusive")
    assert replayed["lost"]["recursion"] == 2


# -- what it says no to ---------------------------------------------------------------------------

def test_more_arrays_than_slots(vm):
    arrays = [vm.create_array(level=1, disks=2), vm.create_array(level=10, disks=4)]
    loads = "; ".join(FIO.format(array, 20) for array in arrays)
    result = tool(vm, f"audit --arrays 1 -- sh -c '{loads}'")
    assert result.rc == 3
    assert "md1 is not watched" in result.stderr
    assert "not watched: no room for its chunks" in result.stdout
    assert "verdict: inconclusive: " in result.stdout
    watched = {load["array"]: load["watched"] for load in
               report(tool(vm, "audit --json --arrays 1 -d 1"))["loads"]}
    assert watched == {"md0": True, "md1": False}
    # one that is asked for has its slot, whatever else runs
    result = tool(vm, f"audit --json --arrays 1 -a md1 -- sh -c '{loads}'")
    assert (result.rc, report(result)["verdict"]) == (0, "pass")
    assert [load["array"] for load in report(result)["loads"]] == ["md1"]


def test_refusals_leave_nothing(vm):
    array = vm.create_array(level=1, disks=2, bitmap="internal")
    vm.run("install -d -o nobody /tmp/nobody")
    nobody = "setpriv --reuid nobody --clear-groups llbitmapctl"
    for command, words in (
            ("llbitmapctl record -o /root/no.llbrec", "no array with a lockless bitmap"),
            ("llbitmapctl record -o /root/no.llbrec -a md77", "no array 'md77'"),
            (f"llbitmapctl record -o /root/no.llbrec -a {array}", "md0 has a classic bitmap"),
            (f"{nobody} record -o /tmp/nobody/no.llbrec -d 1", "not permitted; run as root"),
            (f"{nobody} audit -d 1", "not permitted; run as root")):
        refused(vm.run(command, check=False), 4, words)
    refused(tool(vm, "record -o /mnt/tests/no.llbrec -d 1"), 5, "Read-only file system")
    assert not vm.exists("/root/no.llbrec")
    assert not vm.exists("/tmp/nobody/no.llbrec")
    assert nothing_left(vm)


def test_kernel_without_llbitmap(boot_vm):
    """Debian's own md: before it is loaded, and with an array."""
    vm = boot_vm(disks=2, cpus=1, modules="stock")

    def missing(what):
        result = tool(vm, "doctor --json")
        found = report(result)
        assert (result.rc, found["ready"]) == (4, False)
        text = tool(vm, "doctor")
        assert text.rc == 4
        assert "1 missing: until then status, table, replay and audit FILE work" in text.stdout
        finding, = [finding for finding in found["findings"] if finding["grade"] == "missing"]
        assert finding["what"] == what and finding["advice"] in text.stdout
        assert {"what": "programs", "grade": "note",
                "found": "load; there are no tracepoints to attach them to"} in found["findings"]
        return finding

    def refuse_all():
        for command in ("audit -d 1", "record -o /root/no.llbrec -d 1"):
            refused(tool(vm, command), 4, "no llbitmap tracepoints", "doctor")

    refuse_all()
    assert missing("tracepoints")["advice"] == "modprobe md-mod, then look again"
    vm.create_array(level=1, disks=2, bitmap="internal")
    refuse_all()
    found = missing("tracepoints")
    assert "this md has no llbitmap_transition llbitmap_snapshot" in found["found"]
    assert "install our md modules" in found["advice"]
    refused(tool(vm, "audit -a md0"), 4, "md0 has a classic bitmap")
    assert not vm.exists("/root/no.llbrec")
