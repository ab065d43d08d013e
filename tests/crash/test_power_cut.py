# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts on every level, while chunks keep crossing from Clean to Dirty and back."""
import os
import random

import pytest

from powercut import meanwhile, orders, resizes
from powercut.crash import CrashTest
from powercut.scene import DISKS, KINDS, Scene

SECONDS = 8             # of load on each array
MOMENTS, EACH = 110, 4  # states are taken at so many moments, so many at each
WANTED = 300            # distinct ones
ASSEMBLED = 4           # of them are assembled by the kernel

# chooses data and crash states; how the guest's threads run, nobody can repeat
SEED = int(os.environ.get("CRASH_SEED") or random.randrange(1 << 30))


@pytest.fixture(scope="module")
def scene(vm_environment, vm_directories):
    one = Scene(vm_environment, vm_directories.take("power-cut"), KINDS, SEED)
    yield one
    one.close()


@pytest.fixture(scope="module")
def recordings():
    """What the first tests leave for the last: level -> (Array, CrashTest)."""
    return {}


def report(recording, test, name, keep_in):
    """All that was found, as text; a log with a finding is kept."""
    found = [*test.judge.violations, *test.violations]
    print(f"\n{name}: seed {SEED}, {recording.said}, {len(recording.log)} entries, "
          f"{len(test.seen)} distinct states, {test.in_flight} with a bitmap write in flight, checks {test.judge.checked}, "
          f"violations {len(found)}")
    if not found and "CRASH_KEEP" not in os.environ:
        return ""
    path = keep_in / f"log-{name}.pickle"
    recording.keep(path, SEED)
    return found and "\n".join([f"CRASH_SEED={SEED}, log kept in {path}", *map(str, found)])


@pytest.mark.parametrize("level", DISKS)
def test_crash_states(scene, recordings, level):
    """Of the things that may happen to an array of that level, the seed says which one does; none
    that takes a minute."""
    short = [one for one in meanwhile.all_for(level)
             if one not in (meanwhile.come_and_go, meanwhile.resync)]
    during = random.Random(f"{SEED} {level}").choice(short)
    array, recording = scene.record(level, DISKS[level], SECONDS, during)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH, ASSEMBLED)
    found = report(recording, test, f"raid{level}-{during.__name__}", scene.vm.directory)
    assert not found, found
    assert len(test.seen) >= WANTED
    assert test.in_flight >= len(test.seen) / 2
    # a busy host gets less done in the time, but each check must have had something to look at
    assert min(test.judge.checked.values()) >= 20, test.judge.checked
    recordings[level] = array, test


@pytest.mark.parametrize("level", DISKS)
def test_assembled_states(scene, recordings, level):
    """The kernel takes some of the states, resyncs, and has what was flushed, in equal copies."""
    if level not in recordings:
        pytest.skip("there is no recording")
    array, test = recordings[level]
    for image in test.images:
        bits = scene.assemble(array, image)
        array.stop()
        wrong = image.compare({disk.index: disk.path for disk in array.members})
        print(f"raid{level}: power cut at entry {image.position}: {bits}, "
              f"{len(image.live)} sectors, {len(wrong)} wrong")
        assert not wrong, f"CRASH_SEED={SEED}, entry {image.position}:\n" + "\n".join(wrong[:20])


def test_cuts_while_the_size_changes(scene):
    """The smallest form of test_resize.py: on RAID1, once to and fro, and no state assembled."""
    scene.vm.clean_up()             # on disks that are empty again, as the judge takes them to be
    scene.server.logging = True
    _, recording = resizes.resize(scene, 1, DISKS[1][:2], 1)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH)
    found = report(recording, test, "raid1-resize", scene.vm.directory)
    assert not found, found
    assert test.judge.checked["cover"] > 200 and test.judge.checked["order"] > 20


def test_kernel_log(scene, recordings):
    assert not scene.trouble()


@pytest.fixture(scope="module")
def broken_scene(request, vm_environment, vm_directories):
    """(level, Scene with the disks for it)"""
    kinds = [KINDS[i] for i in (range(2) if request.param == 1 else DISKS[request.param])]
    one = Scene(vm_environment, vm_directories.take(f"power-cut-broken-{request.param}"), kinds, SEED,
                orders.modules("1"))
    yield request.param, one
    one.close()


@pytest.mark.parametrize("broken_scene, order", [
    *((1, order) for order in orders.ORDERS),
    *(pytest.param(10, order, marks=pytest.mark.long) for order in orders.ORDERS),
    *(pytest.param(level, order, marks=pytest.mark.long)
      for level in (5, 6) for order in orders.PARITY_ORDERS)
], indirect=["broken_scene"])
def test_broken_order_is_found(broken_scene, order):
    level, scene = broken_scene
    what, rule = orders.ORDERS[order]
    scene.breaks(order)
    _, recording = scene.record(level, range(len(scene.vm.disks) - 1), SECONDS / 4)
    scene.vm.clean_up()
    assert rule in rules_found(recording, f"raid{level}, {what}")


def rules_found(recording, what):
    """The rules that were found broken; {""} if none was."""
    test = CrashTest(recording, SEED).run(MOMENTS, EACH)
    found = [*test.judge.violations, *test.violations]
    print(f"\n{what}: seed {SEED}, {recording.said}, {len(recording.log)} entries, found "
          f"{len(found)}:\n" + "\n".join(map(str, found[:3])))
    return {one.rule for one in found} or {""}


@pytest.mark.long
@pytest.mark.parametrize("name, level, during, rule", orders.BREAKS)
def test_break_is_found(vm_environment, vm_directories, name, level, during, rule):
    scene = Scene(vm_environment, vm_directories.take(f"power-cut-{name}-{level}"),
                  [KINDS[i] for i in DISKS[level]], SEED, orders.modules(name))
    try:
        _, recording = scene.record(level, range(len(DISKS[level])), SECONDS, during)
    finally:
        scene.close()
    assert rule in rules_found(recording, f"raid{level}, {name}")
