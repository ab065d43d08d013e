# SPDX-License-Identifier: GPL-2.0-or-later
"""What the judge must find, and let pass, on the members of a small array; without a VM."""
import importlib.util
import os
import pathlib
import random
import struct
import subprocess
import types

import pytest

from faultpoints import bugs, plan
from faultpoints.drill import Report
from faultpoints.judge import Judge
from faultpoints.points import Point
from faultpoints.stage import PAGE_0, Fault, Stage, of_one_size
from faultpoints.watched import objections, told
from sidebyside.contents import content
from vmtest.environment import VM_DIR
from vmtest.geometry import Layout
from vmtest.member import BITMAP_HEADER, Member

CHUNK = 128


@pytest.fixture
def stage(tmp_path):
    """A RAID1 of two that was stopped cleanly: some chunks are Clean, others Unwritten."""
    images = {}
    for disk, letter in enumerate("ab"):
        path = tmp_path / letter
        subprocess.run(["zstd", "-q", "-d", VM_DIR / "images" / f"raid1-discarded.{letter}.img.zst",
                        "-o", path], check=True)
        images[disk] = Member(path)
    states = images[0].bitmap().states()
    return types.SimpleNamespace(
        level=1, unit=CHUNK, images=lambda: images, layout=lambda: Layout.of_member(images[0]),
        clean=states.index(1), unwritten=states.index(0), hot=set(), touched=set(), written={})


def put(image, sector, data):
    with open(image.path, "r+b") as file:
        os.pwrite(file.fileno(), data, sector * 512)


def set_state(image, chunk, state):
    start = (image.super_offset + image.bitmap_offset) * 512
    with open(image.path, "r+b") as file:
        os.pwrite(file.fileno(), bytes([state]), start + BITMAP_HEADER + chunk)


def set_bitmap(image, offset, value):
    """A number in the bitmap's superblock."""
    with open(image.path, "r+b") as file:
        os.pwrite(file.fileno(), value,
                  (image.super_offset + image.bitmap_offset) * 512 + offset)


def set_super(image, offset, form, value):
    """A number in the array's superblock, and its checksum."""
    with open(image.path, "r+b") as file:
        raw = bytearray(os.pread(file.fileno(), 4096, image.super_offset * 512))
        struct.pack_into(form, raw, offset, value)
        max_dev, = struct.unpack_from("<I", raw, 220)
        struct.pack_into("<I", raw, 216, 0)
        total = sum(struct.unpack_from(f"<{64 + max_dev // 2}I", raw))
        struct.pack_into("<I", raw, 216, (total & 0xffffffff) + (total >> 32))
        os.pwrite(file.fileno(), raw, image.super_offset * 512)


def found(stage):
    return Judge(stage).findings()


def test_nothing_is_wrong(stage):
    stage.touched = {stage.clean, stage.unwritten}
    assert found(stage) == []


def test_written_and_clean(stage):
    stage.hot = {stage.clean}
    assert [text for text in found(stage) if "says Clean or Unwritten" in text]
    for image in stage.images().values():
        set_state(image, stage.clean, 2)
    assert found(stage) == []


def test_written_and_unwritten_on_one_member(stage):
    stage.hot = {stage.unwritten}
    set_state(stage.images()[0], stage.unwritten, 2)
    text, = found(stage)
    assert text.startswith("disk 1 says")


def test_clean_and_unequal(stage):
    stage.touched = {stage.clean}
    image = stage.images()[1]
    put(image, image.data_offset + stage.clean * CHUNK + 5, b"other" * 100)
    text, = found(stage)
    assert "copies or parity differ" in text
    for image in stage.images().values():
        set_state(image, stage.clean, 3)
    assert found(stage) == []


def test_forgotten(stage):
    sector = stage.clean * CHUNK
    stage.written = {sector: 7}
    assert [text for text in found(stage) if "is not what was written" in text]
    for image in stage.images().values():
        put(image, image.data_offset + sector, content(7, sector, 8))
    assert found(stage) == []


def test_bitmap_that_is_given_up_says_nothing(stage):
    """The array has moved on past it."""
    stage.hot = {stage.clean}
    for image in stage.images().values():
        set_bitmap(image, 24, bytes(8))                         # events
    assert found(stage) == []


@pytest.mark.parametrize("events, wrong", [(1, 2), (2, 0)])
def test_bitmap_that_was_never_stored(stage, events, wrong):
    """That of a new array: nothing was written. Of one that went on without it: nothing is known."""
    stage.hot = {stage.clean}
    for image in stage.images().values():
        set_state(image, stage.clean, 0xff)
        set_bitmap(image, 24, struct.pack("<Q", 0))             # events
        set_bitmap(image, 48, struct.pack("<I", 1 << 3))        # state: FIRST_USE
        set_super(image, 200, "<Q", events)
    assert [text.split(" of")[0] for text in found(stage)] == \
        [f"disk {disk} says Clean or Unwritten" for disk in range(wrong)]


def test_events_of_a_member_that_left_do_not_count(stage):
    """By the others' word; its own event count is one higher."""
    stage.hot = {stage.clean}
    one, other = stage.images().values()
    set_super(other, 256 + 2 * other.number, "<H", 0xfffe)
    set_super(other, 200, "<Q", one.events + 1)
    assert [text for text in found(stage) if text.startswith("disk 0 says")]


FLUSH = "llb_flush_members:blkdev_issue_flush"


@pytest.mark.parametrize("fault, hits, hot", [
    (Fault(FLUSH, 1), {FLUSH: (3, 1)}, {3, PAGE_0}),        # page 0, one member: nothing is cleaned
    (Fault(FLUSH, 2), {FLUSH: (4, 1)}, {3, PAGE_0}),        # page 0, the other member
    (Fault(FLUSH, 1, 2), {FLUSH: (4, 2)}, {3, PAGE_0}),     # page 0, both
    (Fault(FLUSH, 3), {FLUSH: (4, 1)}, {PAGE_0}),           # page 1 only
    (Fault(FLUSH, 5), {FLUSH: (4, 0)}, set()),              # none failed
    (Fault(FLUSH, 1), {}, set()),
    (Fault("llb_send:submit_bio_wait", 1), {"llb_send:submit_bio_wait": (1, 1)}, set()),
    (Fault(), {}, set())])
def test_nothing_is_cleaned_after_a_flush_that_failed(fault, hits, hot):
    stage = Stage.__new__(Stage)
    stage.level, stage.fault, stage.hot = 1, fault, {3, PAGE_0}
    stage.hits = lambda: hits
    stage.passed()
    assert stage.hot == hot


@pytest.mark.parametrize("members, hot", [
    ({0: True, 1: True}, set()), ({0: True, 1: False}, {3}), ({1: True}, {3})])
def test_nothing_is_cleaned_without_a_member(members, hot):
    stage = Stage.__new__(Stage)
    stage.level, stage.fault, stage.hot, stage.disks = 1, Fault(), {3}, [0, 1]
    stage.members, stage.set = lambda: members, lambda *_: None
    assert stage.flush() is None and stage.hot == hot


# -- the audit -------------------------------------------------------------------------------------

TRACE = """\
 md0_raid1-7 [000] ..... 1.0: llbitmap_load: 9:0 load=3 level=1 members=2 chunks=9
 mdadm-8     [000] ..... 2.0: llbitmap_error: 9:0 load=4 member=254:0 bitmap read error=-5 info=0
 mdadm-8     [000] ..... 2.1: llbitmap_error: 9:0 load=4 member=0:0 refused error=-5 info=0
 kworker-9   [000] ..... 3.0: llbitmap_error: 9:0 load=3 member=254:0 flush error=-5 info=0
"""


def audited(status=3, lost=2, loads=1, transitions=7, violations=0, doubts=("loss",), **more):
    return status, {"violations": violations, "doubts": doubts,
                    "lost": {"slot": lost, "map": 0, "ring": 0, "stack": 9} | more,
                    "events": {"load": loads, "transition": transitions}}


def test_refused_bitmaps_are_counted():
    """One load began; the other was refused, and said two things."""
    assert told(TRACE) == (1, 2)


@pytest.mark.parametrize("trace, audit, good", [
    (TRACE, audited(), True),
    (TRACE[:80], audited(0, 0, doubts=()), True),
    (TRACE, audited(0, 0, doubts=()), True),
    (TRACE, audited(lost=3), False),                    # no slot was left, or it mistook one
    (TRACE[:80], audited(lost=1), False),
    (TRACE, audited(loads=0), False),                   # it was deaf when that began
    (TRACE, audited(transitions=0), False),
    (TRACE, audited(ring=1), False),
    (TRACE, audited(doubts=("loss", "unwatched")), False),
    (TRACE, audited(doubts=("loss", "gap")), False),
    (TRACE, audited(1, violations=1), False),
    (TRACE, audited(2), False),
    ("", audited(3, 0, 0, 0, doubts=("empty",)), False)])
def test_one_doubt_of_the_audit_is_known(trace, audit, good):
    assert (objections(*audit, trace) == []) == good


# -- what the campaign counts ----------------------------------------------------------------------

@pytest.fixture(scope="module")
def campaign():
    spec = importlib.util.spec_from_file_location(
        "faults_campaign", pathlib.Path(__file__).with_name("campaign.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


POINTS = {name: Point(name, "a.c", name.partition(":")[2]) for name in
          ("a:kzalloc", "b:submit_bio_wait", "c:mempool_alloc")}


def test_reaches():
    """The first six and the last; of a mempool, which always gives, the first and the last."""
    assert plan.occurrences(POINTS["a:kzalloc"], 3) == [1, 2, 3]
    assert plan.occurrences(POINTS["a:kzalloc"], 20) == [1, 2, 3, 4, 5, 6, 20]
    assert plan.occurrences(POINTS["c:mempool_alloc"], 20) == [1, 20]
    hits = {"a:kzalloc": (3, 0), "b:submit_bio_wait": (20, 0), "c:mempool_alloc": (9, 0),
            "x:y": (5, 0)}
    assert plan.reaches(POINTS, hits) == (3 + 7 + 2, 3 + 20 + 9)


def test_a_fault_that_was_not_reached_is_no_run(campaign):
    tally = campaign.Tally(POINTS)
    tally.note(Report(1, "write", Fault(), "on", {"a:kzalloc": (8, 0)}))
    tally.note(Report(1, "write", Fault("a:kzalloc", 8), "on", {"a:kzalloc": (7, 0)}))
    tally.note(Report(1, "write", Fault("a:kzalloc", 1), "on", {"a:kzalloc": (1, 1)}, wrong=["x"]))
    assert tally.fields() == {"faults": 2, "missed": 1, "wrong": 1, "points": ["a:kzalloc"],
                              "failed": ["a:kzalloc"], "faulted": 7, "reached": 8}
    assert "1 faults were not reached" in str(tally)


def piece(name, level, points, failed):
    return {"piece": name, "level": level, "points": points, "failed": failed}


def test_each_point_has_to_fail_on_each_level(campaign):
    done = [piece("load", 0, [], ["c:mempool_alloc"]),
            piece("write", 1, [], ["a:kzalloc", "b:submit_bio_wait"]),
            piece("write", 10, [], ["a:kzalloc"])]
    assert campaign.never_failed(POINTS, done, (1,)) == {}
    assert campaign.never_failed(POINTS, done, (1, 10, 5)) == {
        "RAID10": ["b:submit_bio_wait"], "RAID5": ["a:kzalloc", "b:submit_bio_wait"]}


def test_each_point_has_to_fail_in_each_phase_that_reaches_it(campaign):
    """That it did in another phase does not help."""
    done = [piece("write", 1, ["a:kzalloc"], ["a:kzalloc"]),
            piece("grow", 1, ["a:kzalloc", "b:submit_bio_wait"], ["b:submit_bio_wait"])]
    assert campaign.never_failed(POINTS, done, ()) == {"RAID1 grow": ["a:kzalloc"]}


@pytest.mark.parametrize("reached, runs", [(1, 2), (0, 3)])
def test_what_no_fault_reached_is_tried_once_more(reached, runs):
    """One fault of an allocation that is reached once, after the run that counts."""
    runner = types.SimpleNamespace(run=lambda level, phase, fault, aftermath="on": Report(
        level, phase, fault, aftermath, {"a:kzalloc": (1, reached if fault.point else 0)}))
    done = list(plan.faults_of(runner, POINTS, 1, "write", random.Random(1)))
    assert [report.missed for report in done] == [False, *[not reached] * (runs - 1)]


@pytest.mark.parametrize("said, noticed", [
    ("the hidden disk is still there", True), ("VMLost: the agent does not answer", False)])
def test_planted_bug_is_what_it_does(campaign, said, noticed):
    """Anything else that is wrong is no proof that it was found."""
    whole = campaign.Campaign.__new__(campaign.Campaign)
    whole.options, whole.noticed = types.SimpleNamespace(broken="disk-left-behind"), False
    assert whole.is_it([said]) == noticed == whole.noticed


def test_each_planted_bug_is_in_the_table():
    folder = pathlib.Path(__file__).with_name("planted")
    assert {file.stem for file in folder.glob("*.patch")} == set(bugs.PLANTED)


def test_member_of_another_size_is_not_assembled(stage):
    """It is the one that counts less: it failed before the size was changed."""
    images = stage.images()
    assert of_one_size([0, 1, 2], images) == [0, 1, 2]
    images[0].size //= 2
    images[0].events += 2
    assert of_one_size([0, 1, 2], images) == [0, 2]
    assert of_one_size([0, 1], {}) == [0, 1]


@pytest.mark.parametrize("said", [[], ["the audit: it saw 0 loads of 3"]])
def test_each_piece_ends_with_the_verdict_of_its_audit(campaign, said):
    """A deaf audit is as bad as a violation, and not forgotten when the VM goes."""
    whole = campaign.Campaign.__new__(campaign.Campaign)
    whole.options = types.SimpleNamespace(verbose=False, broken=None)
    whole.rounds, whole.points = campaign.Rounds(None, 1), POINTS
    whole.bad = whole.noticed = False
    whole.runner = types.SimpleNamespace(verdict=lambda: said)
    whole.one("write", 1, lambda *_: [Report(1, "write", Fault(), "on")], 0)
    assert whole.rounds.sum("wrong") == len(said) and whole.bad == bool(said)
