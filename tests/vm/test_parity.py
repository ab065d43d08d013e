# SPDX-License-Identifier: GPL-2.0-or-later
"""RAID4, RAID5 and RAID6: parity is built after the first write, and every byte written comes back
without any member (RAID6: any two)."""
import itertools
import json

import pytest

from oracle import Plan, wrong
from levels import cases, litter
from support import Trace, reboot, states, wait_until
from vmtest import DiskOptions
from vmtest.parity import ParityLayout

pytestmark = pytest.mark.vm(disks=6, disk=DiskOptions(size="96M"), memory="1G")

ORACLE = "python3 /mnt/tests/vm/oracle.py"
KIB = 24576                 # of each member
CHUNK = 128                 # sectors of a chunk of the bitmap
LEVELS = cases("level, disks", (5, 5), (6, 6), long=[(4, 4), (5, 3), (5, 4), (6, 4)])


def make(vm, level, disks, missing=0, **options):
    members = [disk for disk in vm.free_disks()][:disks - missing]
    litter(vm, members)
    options = {"chunk": 16, "size": KIB, "assume_clean": False} | options
    array = vm.create_array(level=level, disks=disks, members=members + ["missing"] * missing,
                            **options)
    array.set("llbitmap/daemon_sleep", 3600)    # no resync but where a test asks for one
    array.wait_sync()
    assert array.bits()["unwritten"] == array.metadata()["chunks"]
    return array


def assemble(array, *arguments, **options):
    """And ready for writes, so that it syncs."""
    array.assemble(*arguments, **options)
    array.vm.run(f"mdadm --readwrite {array}")


def plan(array, seed, count=150):
    return Plan(seed, 0, array.size() // 512, count)


def perform(array, plan):
    array.vm.run(f"{ORACLE} write {array} {plan.arguments()}", timeout=45)


def verify(array, plan):
    array.vm.run(f"{ORACLE} verify {array} {plan.arguments()}", timeout=45)


def losses(layout, already=()):
    """All sets of members that may be missing; `already` are."""
    for count in range(layout.redundancy - len(already) + 1):
        for more in itertools.combinations(set(range(layout.disks)) - set(already), count):
            yield (*already, *more)


def all_comes_back(array, wanted, already=()):
    """Computed from the members' images as they are."""
    array.settle()
    images = array.member_images()
    layout = ParityLayout.of_member(images[0])
    for lost in losses(layout, already):
        bad = wrong(wanted, lambda first, count, lost=lost:
                    layout.read(images, first, count, lost))
        assert not bad, f"without members {lost}: {len(bad)} sectors, {bad[:10]}"


def resync(array):
    array.set("llbitmap/daemon_sleep", 1)
    array.wait_bits(lambda bits: not bits["need sync"] + bits["syncing"])
    array.wait_sync()
    array.set("llbitmap/daemon_sleep", 3600)


def parity_is_right(array):
    """Where something was ever written."""
    array.settle()
    images = array.member_images()
    layout = ParityLayout.of_member(images[0])
    bad = layout.wrong_parity(images)
    found = states(array)
    assert not [run for run in bad
                if any(found[chunk] != "Unwritten"
                       for chunk in range(run[0] // CHUNK, run[1] // CHUNK + 1))], bad[:10]
    return bad


def lose_in_turn(array, count=150):
    """So many writes where parity was never built, and where it was; then, each time, any member."""
    first = plan(array, 1, count)
    with Trace(array.vm) as trace:
        perform(array, first)
    changes = trace.changes()
    assert set(changes) == {"Unwritten->NeedSync Startwrite"}
    bits = array.bits()
    assert bits["need sync"] == changes["Unwritten->NeedSync Startwrite"] > 20
    assert bits["unwritten"] > 20
    wanted = first.wanted()
    all_comes_back(array, wanted)       # before any resync: each write built its stripe's parity

    resync(array)
    assert parity_is_right(array), "there was nothing to go wrong"
    second = plan(array, 2, count)
    perform(array, second)              # read-modify-write is allowed now, in some chunks
    wanted |= second.wanted()
    all_comes_back(array, wanted)
    resync(array)
    parity_is_right(array)
    all_comes_back(array, wanted)


@cases("level, disks, count", (4, 4, 50), (5, 5, 150), (6, 6, 150),
       long=[(4, 4, 150), (5, 3, 150), (5, 4, 150), (6, 4, 150)])
def test_every_member_lost_in_turn(vm, level, disks, count):
    lose_in_turn(make(vm, level, disks), count)


@pytest.mark.long
@pytest.mark.vm(disks=8, disk=DiskOptions(size="96M"), memory="1G")
@pytest.mark.parametrize("level, disks, chunk, layout", [
    # mdadm's default chunk: eight of the bitmap's
    (5, 5, 512, None), (6, 6, 512, None),
    # 1, 5 and 7 data disks
    (5, 2, 16, None), (5, 6, 16, None), (6, 7, 64, None), (5, 8, 512, None),
    (5, 4, 16, "left-asymmetric"), (6, 5, 16, "left-asymmetric"), (6, 5, 16, "right-asymmetric"),
    (5, 4, 512, "right-symmetric"), (6, 5, 16, "parity-first"), (5, 4, 16, "parity-last"),
    (6, 5, 16, "parity-last")])
def test_every_member_lost_in_other_geometries(vm, level, disks, chunk, layout):
    array = make(vm, level, disks, chunk=chunk, layout=layout)
    if layout:
        assert f"Layout : {layout}\n" in vm.run(["mdadm", "--detail", array]).stdout
    lose_in_turn(array)
    array.stop()
    array.assemble(array.members[1:], extra=["--run"])
    verify(array, plan(array, 2))


@cases("level, disks, rmw_level", (6, 6, 0), long=[(5, 4, 0), (5, 4, 2), (6, 6, 1)])
def test_however_writes_are_preferred(vm, level, disks, rmw_level):
    """md/rmw_level: read-modify-write disabled, enabled, preferred."""
    array = make(vm, level, disks)
    array.set("rmw_level", rmw_level)
    first = plan(array, 3)
    perform(array, first)
    all_comes_back(array, first.wanted())


@LEVELS
def test_real_loss(vm, level, disks):
    """The same with md's own reconstruction, in the middle of it all."""
    array = make(vm, level, disks)
    first = plan(array, 4)
    perform(array, first)
    array.fail(array.members[0])
    verify(array, first)
    if level == 6:
        array.fail(array.members[2])
        verify(array, first)
    array.stop()
    left = [member for i, member in enumerate(array.members) if i != 0 and (level != 6 or i != 2)]
    array.assemble(left, extra=["--run"])
    assert array.degraded() == (2 if level == 6 else 1)
    verify(array, first)


@pytest.mark.parametrize("level, disks", [(5, 4), (6, 5)])
def test_stopped_while_parity_is_built(vm, level, disks):
    """It was clean, so it starts without a member, even though parity was not built everywhere."""
    array = make(vm, level, disks)
    first = plan(array, 5)
    perform(array, first)
    array.set("sync_max", 4096)
    array.set("llbitmap/daemon_sleep", 1)
    array.wait_bits(lambda bits: bits["syncing"] or bits["dirty"] or bits["clean"])
    array.stop()
    array.assemble(array.members[1:], extra=["--run"])
    verify(array, first)
    assert array.bits()["need sync"] > 0


@cases("level, disks", (5, 4), (6, 5), long=[(4, 4)])
def test_power_cut(vm, level, disks):
    array = make(vm, level, disks)
    first = plan(array, 6, count=400)
    writer = vm.spawn(f"{ORACLE} write {array} {first.arguments()}")
    wait_until(vm, lambda: writer.output()[0].count("\n") >= 100)
    done = writer.output()[0].count("\n")
    vm.power_cut()
    reboot(vm, array)
    assemble(array)
    assert array.degraded() == 0
    resync(array)
    wanted = first.wanted(done)
    all_comes_back(array, wanted)
    assert parity_is_right(array), "there was nothing to go wrong"


def passed(array, sector):
    """Whether the resync or recovery that runs has got that far."""
    done = array.get("sync_completed")
    return done not in ("none", "delayed") and int(done.split()[0]) >= sector


@cases("level, disks", (5, 3), long=[(4, 3), (6, 4)])       # two data disks
def test_resync_is_asked_for_again(vm, level, disks):
    """Writes while a resync runs, in chunks that it has passed, are not forgotten."""
    array = make(vm, level, disks)
    array.set("sync_max", 28672)
    for block in (5000, 10000):     # what is left out does not count: it stops where it must sync
        vm.run(f"dd if=/dev/zero of={array} bs=4k count=1 seek={block} oflag=direct status=none")
    array.set("llbitmap/daemon_sleep", 1)
    wait_until(vm, lambda: passed(array, 28672))
    assert array.bits()["need sync"] == 1
    vm.run(f"dd if=/dev/zero of={array} bs=4k count=1 seek=100 oflag=direct status=none")
    assert array.bits()["need sync"] == 2 and array.get("sync_action") == "resync"
    array.set("sync_max", "max")
    array.wait_bits(lambda bits: not bits["need sync"] + bits["syncing"])
    parity_is_right(array)


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(4, 3), (5, 3), (6, 4)])
def test_first_writes_ask_for_one_resync(vm, level, disks):
    """Each chunk that was written to is synced once, by one resync for all, and no other follows
    before the daemon has nothing more to do and rests."""
    array = make(vm, level, disks)
    mark = vm.log.size()
    with Trace(vm) as trace:
        for block in (0, 2000, 5000, 5001, 10000):
            vm.run(f"dd if=/dev/urandom of={array} bs=4k count=1 seek={block} oflag=direct status=none")
        bits = array.bits()
        array.set("llbitmap/barrier_idle", 0)
        array.set("llbitmap/daemon_sleep", 1)
        array.wait_bits(lambda bits: not bits["need sync"] + bits["syncing"] + bits["dirty"])
        array.wait_sync()
    assert vm.dmesg(mark).count("resync of RAID array") == 1
    assert bits["need sync"] == 4 == array.bits()["clean"]
    assert trace.changes() == {
        change: 4 for change in ("Unwritten->NeedSync Startwrite", "NeedSync->Syncing Startsync",
                                 "Syncing->Dirty Endsync", "Dirty->Clean Daemon")}
    assert parity_is_right(array), "there was nothing to go wrong"


@pytest.mark.long
def test_interrupted_resync_begins_again(vm):
    """What it passed before does not count for what was written since."""
    array = make(vm, 5, 4)
    first = plan(array, 7)
    perform(array, first)
    array.stop()
    array.assemble(extra=["--update=resync"])       # unclean: md keeps a position
    array.set("sync_max", 20480)
    vm.run(f"mdadm --readwrite {array}")
    # it may go further: what is left out does not count
    wait_until(vm, lambda: passed(array, 20480))
    array.set("sync_action", "frozen")      # which it says from now on, and not idle
    bits = array.wait_bits(lambda bits: not bits["syncing"])
    assert bits["dirty"] + bits["clean"] > 0 and bits["need sync"] > 0
    second = plan(array, 8)
    perform(array, second)
    array.set("sync_max", "max")
    array.set("sync_action", "idle")
    resync(array)
    parity_is_right(array)
    all_comes_back(array, first.wanted() | second.wanted())


def is_found_and_mended(array, which):
    """P (1) or Q (2) of a Clean chunk becomes wrong: check counts it, repair puts it right."""
    array.flush()
    sector = states(array).index("Clean") * CHUNK
    layout = ParityLayout.of_member(array.member_images()[0])
    role = layout.roles(sector // layout.chunk)[which]
    array.stop()
    image = array.member_images()[role]
    right = image.data(sector, 8)
    with open(image.path, "r+b") as file:
        file.seek((image.data_offset + sector) * 512)
        file.write(bytes(255 - byte for byte in right))
    for member in array.members:
        array.vm.run(["blockdev", "--flushbufs", member])
    assert layout.wrong_parity(array.member_images(), sector, sector + CHUNK - 1) == \
        [(sector, sector + 7)]
    assemble(array)
    array.wait_sync()
    assert states(array, sector // CHUNK, 1) == ["Clean"]
    array.set("sync_action", "check")
    array.wait_sync()
    assert int(array.get("mismatch_cnt")) == 8
    array.set("sync_action", "repair")
    array.wait_sync()
    parity_is_right(array)
    assert array.member_images()[role].data(sector, 8) == right


@cases("level, disks", (5, 4), (6, 5), long=[(4, 4)])
def test_check_and_repair(vm, level, disks):
    array = make(vm, level, disks)
    first = plan(array, 9)
    perform(array, first)
    before = states(array)
    for action in ("check", "repair"):
        if action == "repair":
            resync(array)
            before = states(array)
        with Trace(vm) as trace:
            array.set("sync_action", action)
            array.wait_sync()
        assert int(array.get("mismatch_cnt")) == 0
        if action == "check":
            assert trace.changes() == {} and states(array) == before
        synced = {sector // CHUNK for event in trace.events("sync", op="skip")
                  for sector in range(event.sector, event.sector + event.sectors, CHUNK)}
        assert {chunk for chunk, state in enumerate(before) if state == "Unwritten"} <= synced

    is_found_and_mended(array, 1)


@pytest.mark.long
@pytest.mark.parametrize("disks", [5, 4])
def test_wrong_q(vm, disks):
    """The second parity of RAID6 is checked and repaired as the first is."""
    array = make(vm, 6, disks)
    first = plan(array, 9)
    perform(array, first)
    resync(array)
    is_found_and_mended(array, 2)
    all_comes_back(array, first.wanted())


@cases("level, disks, missing", (5, 4, 0), (6, 6, 1), long=[(6, 5, 0)])
def test_bitmap_removed_before_parity_was_built(vm, level, disks, missing):
    """Nobody knows then where parity is missing: it is built everywhere, and first by writes."""
    array = make(vm, level, disks)
    first = plan(array, 10)
    perform(array, first)
    lost = tuple(range(missing))
    for member in array.members[:missing]:
        array.fail(member)
        array.remove(member)
        array.members.remove(member)
    vm.run("echo 0 > /proc/sys/dev/raid/speed_limit_max; echo 0 > /proc/sys/dev/raid/speed_limit_min")
    try:
        array.remove_bitmap()
        second = plan(array, 11)
        perform(array, second)
        wanted = first.wanted() | second.wanted()
        all_comes_back(array, wanted, lost)
    finally:
        vm.run("echo 200000 > /proc/sys/dev/raid/speed_limit_max;"
               "echo 1000 > /proc/sys/dev/raid/speed_limit_min")
    array.wait_sync()
    all_comes_back(array, wanted, lost)
    images = array.member_images()
    assert missing or ParityLayout.of_member(images[0]).wrong_parity(images) == []


@pytest.mark.long
@pytest.mark.parametrize("level, disks, missing", [(5, 4, 1), (4, 4, 1), (6, 5, 2)])
def test_bitmap_removed_from_an_array_that_can_lose_no_more(vm, level, disks, missing):
    """What the missing members hold is by definition what the others give, parity built or not: so
    nothing is to be synced, and the array is clean and starts again. A cut makes it dirty, and it
    is refused as any such array is, until somebody says --force."""
    array = make(vm, level, disks)
    first = plan(array, 14, 60)
    perform(array, first)
    lost, gone = tuple(range(missing)), array.members[:missing]
    for member in gone:
        array.fail(member)
        array.remove(member)
        vm.run(f"mdadm --zero-superblock {member}")
        array.members.remove(member)
    second = plan(array, 15, 40)
    perform(array, second)
    bits = array.bits()
    assert bits["unwritten"] > 20 and bits["need sync"] > 20
    wanted = first.wanted() | second.wanted()

    array.set("sync_action", "frozen")      # no resync that ends at once makes it clean: it is
    array.remove_bitmap()
    assert array.get("bitmap_type").startswith("[none]")
    third = plan(array, 16, 60)
    perform(array, third)
    wanted |= third.wanted()
    all_comes_back(array, wanted, lost)
    verify(array, third)
    assert array.get("resync_start") == "none" and array.degraded() == missing

    array.stop()
    array.assemble()
    assert array.degraded() == missing and not array.has("llbitmap")
    verify(array, third)
    array.set("safe_mode_delay", 0)         # it stays active, so a cut finds it dirty
    fourth = plan(array, 17, 60)
    perform(array, fourth)
    wanted |= fourth.wanted()

    vm.power_cut()
    reboot(vm, array)
    refused = array.assemble(check=False)
    assert not refused and "--force" in refused.stdout + refused.stderr, refused
    vm.run(f"mdadm --stop {array}", check=False)
    array.assemble(extra=["--force"])
    array.readwrite()
    assert array.degraded() == missing
    all_comes_back(array, wanted, lost)
    verify(array, fourth)

    litter(vm, gone, seed=1)
    for member in gone:
        array.add(member)
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_sync()
    all_comes_back(array, wanted)
    verify(array, fourth)
    images = array.member_images()
    assert ParityLayout.of_member(images[0]).wrong_parity(images) == []


@pytest.mark.long
def test_audit_passes(vm):
    array = make(vm, 6, 5)
    first, second = plan(array, 12), plan(array, 13)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    result = vm.run(f"llbitmapctl audit --json -- sh -c 'exec >/dev/null;"
                    f" {ORACLE} write {array} {first.arguments()}; sleep 8;"
                    f" {ORACLE} write {array} {second.arguments()}; sleep 8;"
                    f" mdadm --fail {array} {array.members[1]};"
                    f" {ORACLE} verify {array} {second.arguments()}'", timeout=200)
    audit = json.loads(result.stdout)
    assert (audit["verdict"], audit["violations"]) == ("pass", 0), audit
    assert audit["coverage"]["rules"]["parity-first-write"]
