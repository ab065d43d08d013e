# SPDX-License-Identifier: GPL-2.0-or-later
"""The judge of power cuts, on logs made by hand: one thing wrong at a time."""
import itertools
import dataclasses
import pickle
import random
import struct

import pytest

from powercut.array import Mirrors, Parities, Super, trusted
from powercut.crash import CrashTest, Image
from powercut.hole import CALM
from powercut.log import (DISCARD, DONE, FLUSH, MARK, MARK_DISCARD, MARK_DISCARDED, MARK_FLUSHED,
                          MARK_MAGIC, MARK_WROTE, SECTOR, SHRINK, WRITE, WROTE, WROTE_BEGIN, Entry,
                          pattern)
from powercut.scene import Recording
from vmtest.geometry import Layout
from vmtest.member import BITMAP_MAGIC, MD_MAGIC
from vmtest.parity import ParityLayout

CHUNK, SIZE = 128, 8 * 128
BITMAP, DATA = 16, 300
MARKS = 9
UNWRITTEN, CLEAN, DIRTY, NEEDSYNC = range(4)
FAULTY, SPARE = 0xfffe, 0xffff


def superblock(number, events, roles=(0, 1), features=0, size=SIZE):
    raw = bytearray(SECTOR)
    struct.pack_into("<III", raw, 0, MD_MAGIC, 1, features)
    struct.pack_into("<I", raw, 160, number)
    struct.pack_into("<Q", raw, 80, size)
    struct.pack_into("<QQ", raw, 200, events, 0)
    struct.pack_into("<I", raw, 220, len(roles))
    struct.pack_into(f"<{len(roles)}H", raw, 256, *roles)
    total = sum(struct.unpack_from(f"<{64 + len(roles) // 2}I", raw))
    if len(roles) % 2:
        total += roles[-1]
    struct.pack_into("<I", raw, 216, (total & 0xffffffff) + (total >> 32))
    return bytes(raw)


class Log:
    """Writes a log as the array of these tests would: everything durable unless said otherwise."""
    members = (0, 1)

    def __init__(self, litter=(), events=5):
        """(member, sector): what is there from before there was an array."""
        self.entries = []
        self.content, self.before, self.assembled = {}, None, {}
        for member, sector in litter:
            self.write(member, sector, b"x" * SECTOR)
        self.states = [UNWRITTEN] * (SIZE // CHUNK)
        self.covers(SIZE)
        self.size(events, SIZE)
        self.bitmap()
        self.start = len(self.entries)

    def begin(self, kind, disk, sector=0, data=b"", sectors=0):
        entry = Entry(kind, disk, sector, sectors or len(data) // SECTOR, data, False,
                      len(self.entries))
        self.entries.append(entry)
        return entry

    def done(self, entry):
        self.entries.append(Entry(DONE, entry.disk, entry.number, 0, b"", False,
                                  len(self.entries)))

    def write(self, disk, sector, data, flush=True):
        self.done(self.begin(WRITE, disk, sector, data))
        if flush:
            self.done(self.begin(FLUSH, disk))

    def flush(self, members=None):
        for member in members or self.members:
            self.done(self.begin(FLUSH, member))

    def bitmap(self, members=None, flush=True):
        for member in members or self.members:
            self.write(member, BITMAP + 2, bytes(self.states).ljust(SECTOR, b"\0"), flush)

    def covers(self, sectors, flush=True, members=None, state=0, cleared=0, magic=BITMAP_MAGIC):
        """The bitmap's superblocks; `state` and events `cleared` as in them."""
        for member in members or self.members:
            head = struct.pack("<II16sQQQIIIII", magic, 6, b"", 99, cleared, sectors, state, CHUNK,
                               1, 0, 256)
            self.write(member, BITMAP, head.ljust(SECTOR, b"\0"), flush)

    def size(self, events, sectors, flush=True):
        """The array's superblocks."""
        for member in self.members:
            self.write(member, 8, superblock(member, events, self.members, size=sectors), flush)

    def without(self, *lost, events=6):
        """The superblocks of the other members tell that these are faulty. As md does it, the event
        count is that of those before, and one more: they go to one member after another here."""
        roles = [FAULTY if member in lost else member for member in self.members]
        for member in set(self.members) - set(lost):
            self.write(member, 8, superblock(member, events, roles))

    def calm(self):
        """Nothing happens to the members, for long enough."""
        for _ in range(CALM):
            self.entries.append(Entry(DONE, MARKS, 0, 0, b"", False, len(self.entries)))

    def shrink(self, sectors):
        self.entries.append(Entry(SHRINK, -1, sectors, 0, b"", False, len(self.entries)))

    def state(self, chunk, state, members=None, flush=True):
        self.states[chunk] = state
        self.bitmap(members, flush)

    def data(self, sector, generation, members=(0, 1), flush=False):
        for member in members:
            self.write(member, DATA + sector, pattern(sector, generation), flush)

    def mark(self, kind, first, second=0, third=0):
        data = MARK.pack(MARK_MAGIC, kind, first, second, third).ljust(SECTOR, b"\0")
        self.done(self.begin(WRITE, MARKS, 0, data))

    def told(self, *writes):
        """The load was told that they are done: (first sector, sectors, generation, durable)."""
        data = MARK.pack(MARK_MAGIC, MARK_WROTE, len(writes), 0, 0)[:WROTE_BEGIN]
        data += b"".join(WROTE.pack(*write) for write in writes)
        self.done(self.begin(WRITE, MARKS, 0, data.ljust(SECTOR, b"\0")))

    def discard(self, first, sectors, members=(0, 1)):
        self.mark(MARK_DISCARD, first, sectors)
        for member in members:
            self.done(self.begin(DISCARD, member, DATA + first, sectors=sectors))
        self.mark(MARK_DISCARDED, first, sectors)

    array = Mirrors([0, 1], Layout(2, SIZE, 0), CHUNK, BITMAP, DATA)

    def recording(self):
        return Recording(self.array, self.entries, self.start, MARKS, "", self.content, self.before,
                         self.assembled)

    def judge(self, states=6):
        return CrashTest(self.recording(), 1).run(len(self.entries), states)

    def rules(self):
        return [(violation.rule, violation.chunk) for violation in self.judge().judge.violations]


@pytest.fixture
def log():
    return Log()


def test_states_that_mdadm_would_not_assemble_are_not_tried(log):
    """A cut as the superblocks are told of another size leaves two of them."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    first = len(log.entries)
    log.write(1, 8, superblock(1, 5, size=SIZE // 2))
    for generation in range(2, 12):
        log.data(130, generation, flush=True)
    last = len(log.entries)
    log.write(0, 8, superblock(0, 5, size=SIZE // 2))
    log.data(130, 12, flush=True)
    test = CrashTest(log.recording(), 1).run(len(log.entries), 6, images=8)
    assert test.images and test.violations == []
    assert [image.position for image in test.images if first + 4 < image.position < last] == []


def test_who_has_no_superblock_is_not_named_to_mdadm(log):
    """Nobody can assemble with a disk that is about to take the place of a member."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.write(0, 8, superblock(0, 6, (0, FAULTY)))
    log.write(1, 8, b"x" * SECTOR)
    for generation in range(2, 12):
        log.data(130, generation, members=[0], flush=True)
    test = CrashTest(log.recording(), 1).run(len(log.entries), 6, images=8)
    assert {image.named for image in test.images} == {frozenset({0, 1}), frozenset({0})}


def test_right_order(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.flush()
    log.mark(MARK_FLUSHED, 1)
    log.state(1, CLEAN)
    log.state(1, DIRTY)
    log.data(130, 2)
    test = log.judge()
    assert test.judge.violations == [] and test.violations == []
    assert len(test.seen) > 5
    assert all(test.judge.checked.values())


def test_data_before_the_byte(log):
    log.data(130, 1)
    log.state(1, DIRTY)
    assert log.rules() == [("order", 1)] * 2


def test_byte_on_one_member_only(log):
    log.state(1, DIRTY, members=[0])
    log.data(130, 1)
    assert log.rules() == [("order", 1)] * 2


def test_byte_done_but_not_flushed(log):
    log.state(1, DIRTY, flush=False)
    log.data(130, 1, members=[0])
    assert log.rules() == [("order", 1)]


def test_byte_in_flight(log):
    log.state(1, DIRTY)
    log.flush()
    log.state(1, CLEAN, flush=False)
    log.data(130, 1, members=[0])
    assert log.rules() == [("order", 1)]


def test_a_flush_covers_only_what_was_done(log):
    log.states[1] = DIRTY
    early = log.begin(FLUSH, 0)
    log.bitmap([0], flush=False)
    log.done(early)
    log.bitmap([1])
    log.data(130, 1, members=[0])
    assert log.rules() == [("order", 1)]


def test_clean_before_flush(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.state(1, CLEAN)
    assert log.rules()[0] == ("clean", 1)
    assert any(violation.rule == "state" for violation in log.judge(30).violations)


def test_clean_with_unequal_copies(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.data(130, 2, members=[0], flush=True)
    log.state(1, CLEAN)
    test = log.judge()
    assert [(v.rule, v.chunk) for v in test.judge.violations] == [("clean", 1)] * 2
    assert {violation.chunk for violation in test.violations} == {1}


def test_flush_that_leaves_a_member_out(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.flush([0])
    log.mark(MARK_FLUSHED, 1)
    assert log.rules() == [("flushed", 1)]
    log.flush([0])          # some more moments
    assert any("was flushed" in violation.text for violation in log.judge(30).violations)


def test_an_older_generation_is_not_flushed_data(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.data(130, 2, members=[1], flush=True)
    log.mark(MARK_FLUSHED, 2)
    assert log.rules() == [("flushed", 1)]


def test_acknowledged_and_on_no_member(log):
    """The load was told that it is written, and that it is flushed; nobody was sent it."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.told((130, 1, 1, 0), (140, 2, 2, 0))
    log.mark(MARK_FLUSHED, 2)
    assert log.rules() == [("flushed", 1)] * 2
    log.flush([0])          # some more moments
    assert any("140" in violation.text for violation in log.judge(30).violations)
    log.state(1, CLEAN)
    assert ("clean", 1) in log.rules()


@pytest.fixture
def after_a_cut(log):
    """Another log, of what comes after: generation 1 was flushed, and member 0 alone has 2."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.data(130, 2, members=[0], flush=True)
    judge = log.judge().judge
    content = {member: medium.base for member, medium in judge.media.items()}
    image = Image(log.array, 0, content, judge.promised.live, judge.promised.flushed)
    later = Log()
    later.entries, later.start, later.states, later.before = [], 0, list(log.states), image
    later.assembled = {130: 2, 131: "?"}
    return later


def test_synced_after_a_cut(after_a_cut):
    log = after_a_cut
    log.data(130, 2, members=[1], flush=True)
    log.state(1, CLEAN)
    log.state(1, DIRTY)
    log.data(130, 3)
    log.told((130, 1, 3, 0))
    test = log.judge()
    assert test.judge.violations == [] and test.violations == []


def test_not_synced_after_a_cut(after_a_cut):
    after_a_cut.state(1, CLEAN)
    assert after_a_cut.rules() == [("clean", 1)] * 2
    assert after_a_cut.judge().violations


def test_flushed_before_a_cut(after_a_cut):
    after_a_cut.assembled[130] = 0
    assert after_a_cut.rules() == [("read", 1)]


def test_not_flushed_on_littered_members():
    log = Log([(0, DATA + 130), (1, DATA + 130)])
    log.state(1, DIRTY)
    log.data(130, 1)
    log.told((130, 1, 1, 0))
    log.data(130, 2)
    test = log.judge(30)
    assert test.judge.violations == [] and test.violations == []
    log.flush()
    log.mark(MARK_FLUSHED, 2)
    log.write(1, DATA + 130, b"x" * SECTOR, flush=False)
    assert any("foreign" in one.text for one in log.judge(30).violations)


def test_durable_when_it_is_done(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.flush()
    log.told((130, 1, 1, 1))
    assert log.rules() == []
    log.data(130, 2)
    log.told((130, 1, 2, 0))
    assert log.rules() == []
    log.data(130, 3, members=[0], flush=True)
    log.data(130, 3, members=[1])
    log.told((130, 1, 3, 1))
    assert log.rules() == [("flushed", 1)]
    log.mark(MARK_FLUSHED, 2)       # an older one: what was promised remains
    log.flush([0])
    assert any("generation 3 was flushed" in one.text for one in log.judge(30).violations)


def test_fsync_after_the_load_was_told(log):
    """It covers what is done, also while an older write is not."""
    log.state(1, DIRTY)
    log.data(130, 2, members=[0], flush=True)
    log.data(130, 2, members=[1])
    log.told((130, 1, 2, 0))
    log.mark(MARK_FLUSHED, 0, 0)        # began before that mark
    assert log.rules() == []
    log.mark(MARK_FLUSHED, 0, 1)
    assert log.rules() == [("flushed", 1)]


def test_told_of_what_is_discarded(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.told((130, 1, 1, 1))
    log.discard(128, 8)
    log.flush()
    log.mark(MARK_FLUSHED, 1)
    log.state(1, CLEAN)
    assert log.rules() == [("flushed", 1)]      # when it was told, and not afterwards


@pytest.mark.parametrize("read, rules", [({130: 1, 131: "?"}, []), ({130: 0}, [("read", 1)]),
                                         ({130: "?"}, [("read", 1)]), ({130: 2}, [("read", 1)])])
def test_read_through_the_array_at_the_end(log, read, rules):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.told((130, 1, 1, 1))
    log.content = read
    assert log.rules() == rules


def test_whole_discard(log):
    """Not told of where nothing was written; else like a write; afterwards nothing is promised."""
    log.discard(2 * CHUNK, CHUNK)
    log.state(1, DIRTY)
    log.data(130, 1)
    log.flush()
    log.discard(CHUNK, CHUNK, members=[0])
    log.flush()
    log.state(1, UNWRITTEN)
    assert log.judge().judge.violations == []


def test_partial_discard_of_an_unwritten_chunk(log):
    log.discard(2 * CHUNK, CHUNK - 8)
    assert log.rules() == [("order", 2)] * 2


def test_discard_of_a_clean_chunk(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.state(1, CLEAN)
    log.discard(CHUNK, CHUNK)
    assert log.rules() == [("order", 1)] * 2


@pytest.mark.parametrize("again, rules", [((), []), ((CHUNK + 8, 1), [("order", 1)] * 4)])
def test_discard_again_before_unwritten_is_stored(log, again, rules):
    """The kernel knows by then that nothing is left of the chunk, unless somebody wrote there again."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.discard(CHUNK, CHUNK)
    log.flush()
    log.state(1, CLEAN)
    if again:
        log.data(*again)
    log.discard(CHUNK, CHUNK)
    assert log.rules() == rules


def test_written_again_after_a_discard(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.discard(CHUNK, CHUNK)
    log.flush()
    log.data(130, 2, members=[0], flush=True)
    log.state(1, CLEAN)
    assert log.rules() == [("clean", 1)] * 2


def test_who_is_trusted():
    def super_of(*args, **kwargs):
        return Super(superblock(*args, **kwargs))

    assert trusted({0: super_of(0, 5), 1: super_of(1, 4)}) == {0, 1}
    assert trusted({0: super_of(0, 6), 1: super_of(1, 4)}) == {0}
    assert trusted({0: super_of(0, 6, (0, FAULTY)), 1: super_of(1, 5)}) == {0}
    assert trusted({0: super_of(0, 5), 1: super_of(1, 5, features=2)}) == {0}
    assert trusted({0: super_of(0, 6), 1: super_of(1, 5, (0, SPARE))}) == {0}
    assert trusted({0: super_of(0, 5), 1: None}) == {0}
    assert trusted({0: None}) == frozenset()


def test_torn_superblock():
    raw = bytearray(superblock(0, 5))
    raw[200] ^= 1
    with pytest.raises(ValueError, match="torn"):
        Super(bytes(raw))


def test_member_that_left_may_be_old(log):
    log.state(1, DIRTY)
    log.write(0, 8, superblock(0, 6, (0, FAULTY)))
    log.data(130, 1, members=[0], flush=True)
    log.mark(MARK_FLUSHED, 1)
    assert log.judge().judge.violations == []


def test_member_comes_back_too_early(log):
    log.state(1, DIRTY)
    log.write(0, 8, superblock(0, 6, (0, FAULTY)))
    log.data(130, 1, members=[0], flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.state(1, CLEAN, members=[0])
    for member in (0, 1):
        log.write(member, 8, superblock(member, 8))
    assert set(log.rules()) == {("clean", 1), ("flushed", 1)}


# -- Unwritten -----------------------------------------------------------------------------------

def both(test):
    """The rules of what was found: in the log, and in whole states."""
    return ({violation.rule for violation in test.judge.violations},
            {violation.rule for violation in test.violations})


NOTHING, CLEAN_AND_STATES = (set(), set()), ({"clean"}, {"state"})


@pytest.mark.parametrize("members", [[0], [0, 1]])
def test_unwritten_over_what_was_written(log, members):
    """Copies are equal and durable, and the next recovery skips them."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.state(1, UNWRITTEN, members)
    assert both(log.judge(30)) == CLEAN_AND_STATES


def test_unwritten_after_a_partial_discard(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.data(200, 2)
    log.flush()
    log.discard(128, 64)
    log.flush()
    log.state(1, UNWRITTEN)
    assert both(log.judge(30)) == CLEAN_AND_STATES


def test_unwritten_when_everything_was_discarded(log):
    log.state(1, DIRTY)
    log.data(130, 1)
    log.data(200, 2)
    log.flush()
    log.mark(MARK_FLUSHED, 2)
    log.discard(CHUNK, CHUNK)
    log.flush()
    log.state(1, UNWRITTEN)
    test = log.judge(30)
    assert both(test) == NOTHING and len(test.seen) > 5


def test_member_with_unwritten_becomes_in_sync(log):
    """What it says was never written is written, on the other one."""
    log.write(0, 8, superblock(0, 6, (0, FAULTY)))
    log.state(1, NEEDSYNC, members=[0])
    log.data(130, 1, members=[0], flush=True)
    log.data(130, 1, members=[1], flush=True)
    for member in (0, 1):
        log.write(member, 8, superblock(member, 8))
    test = log.judge(30)
    assert both(test)[0] == {"clean"}
    assert "1 sectors are written" in test.judge.violations[0].text


# -- a bitmap that was never stored ---------------------------------------------------------------

FIRST_USE, ASSUME_CLEAN, STALE = 1 << 3, 1 << 4, 1 << 1


@pytest.fixture
def fresh():
    """As mdadm leaves it: the kernel's decision about the new bitmap is on no member yet."""
    log = Log()
    log.size(1, SIZE)
    log.states = [0xff] * len(log.states)
    log.bitmap()
    log.covers(SIZE, state=FIRST_USE)
    return log


def test_written_before_the_new_bitmap_is_stored(fresh):
    fresh.data(130, 1, flush=True)
    fresh.flush()
    fresh.flush()
    assert both(fresh.judge(30)) == ({"order"}, {"state"})


def test_written_before_it_is_stored_on_all_members(fresh):
    fresh.states = [DIRTY] * len(fresh.states)
    fresh.bitmap()
    fresh.covers(SIZE, members=[0])
    fresh.data(130, 1)
    assert fresh.rules() == [("order", 1)] * 2


def test_written_while_it_is_being_stored(fresh):
    fresh.states = [DIRTY] * len(fresh.states)
    fresh.bitmap()
    fresh.covers(SIZE, flush=False)
    fresh.data(130, 1)
    assert fresh.rules() == [("order", 1)] * 2


def test_new_bitmap_of_an_array_said_to_be_clean(fresh):
    """--assume-clean: copies are taken to be equal."""
    fresh.covers(SIZE, state=FIRST_USE | ASSUME_CLEAN)
    fresh.data(130, 1, members=[0], flush=True)
    fresh.flush()
    fresh.flush()
    assert both(fresh.judge(30)) == ({"order"}, {"state"})


def test_new_bitmap_is_stored_first(fresh):
    fresh.states = [UNWRITTEN] * len(fresh.states)
    fresh.states[1] = DIRTY
    fresh.bitmap()
    fresh.covers(SIZE)
    fresh.data(130, 1)
    test = fresh.judge(30)
    assert both(test) == NOTHING and len(test.seen) > 5


def test_new_bitmap_of_an_array_that_was_used(fresh):
    """It was given up before it was stored, and the array went on: all of it will be synced."""
    fresh.size(2, SIZE)
    fresh.data(130, 1, members=[0], flush=True)
    assert both(fresh.judge(30)) == NOTHING


def test_bytes_that_are_no_states(log):
    """These chunks will be synced."""
    log.state(1, 0xff)
    log.data(130, 1, members=[0], flush=True)
    assert both(log.judge(30)) == NOTHING


# -- nobody can assemble it -----------------------------------------------------------------------

def test_while_it_is_created():
    """One superblock after the other, and the first members are enough before they are durable."""
    log = ParityLog(5)
    there, log.entries = log.entries, []
    for member in log.members:
        log.write(member, 8, superblock(member, 4, log.members) + bytes(7 * SECTOR))
        log.write(member, BITMAP, there[0].data)
    begin = len(log.entries)
    for entry in there:
        log.entries.append(dataclasses.replace(
            entry, number=len(log.entries),
            sector=entry.sector + begin if entry.kind == DONE else entry.sector))
    assert log.rules() == []


def test_nobody_is_trusted(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    for member in (0, 1):
        log.write(member, 8, superblock(member, 6, (FAULTY, FAULTY)))
    test = log.judge(30)
    assert both(test) == ({"enough"}, {"state"})
    assert "only disks [] can be trusted" in test.violations[0].text


def test_event_counts_too_far_apart(log):
    """Each member is the only one; the freshest says that it is none."""
    log.write(0, 8, superblock(0, 9, (FAULTY, 1)))
    log.flush()
    assert both(log.judge(30)) == ({"enough"}, {"state"})


def test_one_member_is_left(log):
    log.state(1, DIRTY)
    log.without(1)
    log.data(130, 1, members=[0], flush=True)
    assert both(log.judge(30)) == NOTHING


def test_array_that_is_only_being_created(parity_log):
    """Superblocks come one by one, and are not durable at once."""
    log = parity_log
    del log.entries[:]
    log.size(5, SIZE, flush=False)
    log.covers(SIZE, flush=False)
    log.flush()
    assert log.rules() == []
    log.without(*range(log.array.layout.redundancy + 1))
    assert set(log.rules()) == {("enough", 0)}


def test_nobody_has_a_bitmap(log):
    log.covers(SIZE, magic=0, members=[0])
    log.flush()
    assert both(log.judge(30)) == NOTHING
    log.covers(SIZE, magic=0, members=[1])
    log.flush()
    assert both(log.judge(30)) == ({"enough"}, {"state"})


# -- what a member lacks that may come back by the bitmap -----------------------------------------

def left(log, generation=2):
    """Member 0 has left, and the chunk was written again."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.without(0)
    log.data(130, generation, members=[1], flush=True)
    log.mark(MARK_FLUSHED, generation)
    return log


RECOVERING, BY_BITMAP = 2, 128


def test_clean_while_degraded(log):
    left(log).state(1, CLEAN, members=[1])
    log.flush()
    test = log.judge(30)
    assert both(test) == CLEAN_AND_STATES
    assert all("disk 0" in violation.text for violation in test.violations)


def test_left_before_what_was_cleaned(log):
    """Its event count is lower: it will be synced as a whole."""
    left(log)
    log.covers(SIZE, cleared=6, members=[1])
    log.state(1, CLEAN, members=[1])
    log.flush()
    assert both(log.judge(30)) == NOTHING


def test_events_cleared_are_kept_too_late(log):
    left(log)
    log.covers(SIZE, cleared=6, members=[1], flush=False)
    log.state(1, CLEAN, members=[1], flush=False)
    assert both(log.judge(30)) == CLEAN_AND_STATES


def test_missed_by_who_left_and_known(log):
    left(log)
    for state in (DIRTY, NEEDSYNC, 4):
        log.state(1, state, members=[1])
    log.flush()
    assert both(log.judge(30)) == NOTHING


def test_bitmap_that_is_out_of_date(log):
    """Everything will be synced."""
    left(log)
    log.covers(SIZE, state=STALE, members=[1])
    log.flush()
    log.state(1, CLEAN, members=[1])
    log.flush()
    assert both(log.judge(30))[1] == set()


def test_has_what_it_left_with(log):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.state(1, CLEAN)
    log.without(0)
    log.flush()
    assert both(log.judge(30)) == NOTHING
    log.state(1, NEEDSYNC, members=[1])
    log.data(130, 2, members=[1], flush=True)
    assert both(log.judge(30)) == NOTHING


def test_left_before_it_had_what_is_clean(log):
    log.state(1, DIRTY)
    log.data(130, 1, members=[1], flush=True)
    log.data(130, 1, members=[0])
    log.state(1, CLEAN)
    log.without(0)
    assert ("clean", 1) in log.rules()


@pytest.mark.parametrize("features, found", [(RECOVERING, NOTHING),
                                             (RECOVERING | BY_BITMAP, CLEAN_AND_STATES)])
def test_power_cut_during_a_recovery(log, features, found):
    """That goes on when the array is assembled: of all, or of what the bitmap tells."""
    left(log)
    log.write(1, 8, superblock(1, 9))
    log.write(0, 8, superblock(0, 9, features=features))
    log.covers(SIZE, cleared=10, members=[1])
    log.state(1, CLEAN, members=[1])
    log.flush()
    assert both(log.judge(30)) == found


def test_what_is_a_spare_by_its_own_word(log):
    left(log)
    for member in (1, 0):
        log.write(member, 8, superblock(member, 7, (SPARE, 1)))
    log.state(1, CLEAN, members=[1])
    log.flush()
    assert both(log.judge(30)) == NOTHING


# -- the array changes its size -----------------------------------------------------------------

HALF = SIZE // 2


@pytest.fixture
def small(log):
    """It was of full size, with data in what is gone now, and the bytes are as they were."""
    log.state(6, DIRTY)
    log.data(6 * CHUNK, 1, members=[0])
    log.shrink(HALF)
    log.size(6, HALF)
    log.covers(HALF)
    return log


def test_shrinking_and_growing(small):
    small.state(6, UNWRITTEN)
    small.covers(SIZE)
    small.size(7, SIZE)
    small.state(6, DIRTY)
    small.data(6 * CHUNK, 2)
    test = small.judge()
    assert test.judge.violations == [] and test.violations == []
    assert test.judge.checked["cover"] > 4


def test_bitmap_shrinks_before_the_array(log):
    log.covers(HALF)
    log.shrink(HALF)
    log.size(6, HALF)
    test = log.judge()
    assert {violation.rule for violation in test.judge.violations} == {"cover"}
    assert any("covers less" in violation.text for violation in test.violations)


def test_bitmap_shrinks_when_one_member_knows(log):
    """The other one alone would make an array of the old size."""
    log.shrink(HALF)
    log.size(6, HALF, flush=False)
    log.covers(HALF, flush=False)
    assert log.rules()[0][0] == "cover"


def test_array_grows_before_the_bitmap(small):
    small.state(6, UNWRITTEN)
    small.size(7, SIZE)
    small.covers(SIZE)
    assert small.rules()[0] == ("cover", 8)


@pytest.mark.parametrize("state", [CLEAN, DIRTY, 0xff])
def test_old_bytes_come_back(small, state):
    small.state(6, state)
    small.covers(SIZE)
    small.size(7, SIZE)
    assert small.rules() == [("cover", 6)]


def test_new_bytes_are_not_durable(small):
    small.state(6, UNWRITTEN, flush=False)
    small.covers(SIZE, flush=False)
    small.size(7, SIZE, flush=False)
    assert ("cover", 6) in small.rules()


# -- parity -------------------------------------------------------------------------------------

class ParityLog(Log):
    """RAID5 of three, RAID6 of five; one chunk of the array is one of the bitmap."""

    def __init__(self, level, litter=(), events=5):
        self.members = tuple(range(3 if level == 5 else 5))
        layout = ParityLayout(level, len(self.members), SIZE, CHUNK)
        self.array = Parities(self.members, layout, CHUNK, BITMAP, DATA)
        self.disks = [bytearray(SIZE * SECTOR) for _ in self.members]
        super().__init__(litter, events)

    def data(self, sector, generation, members=None, flush=False, wrong=(), late=()):
        """A write to an array sector and what goes with it. Parity on the roles `wrong` is left as
        it was; `late` members are not flushed."""
        layout = self.array.layout
        role, where = layout.place(sector)
        place = slice(where * SECTOR, (where + 1) * SECTOR)
        self.disks[role][place] = pattern(sector, generation)
        data, p, q = layout.roles(where // CHUNK)
        for parity in {p, q} - {None, *wrong}:
            blocks = {i: bytes(self.disks[i][place]) for i in data}
            self.disks[parity][place] = parity_of(layout, blocks, where // CHUNK, parity)
        for member in {role, p, q} - {None, *wrong}:
            if members is None or member in members:
                self.write(member, DATA + where, bytes(self.disks[member][place]),
                           flush and member not in late)


def parity_of(layout, blocks, stripe, role):
    """P or Q of these data, found by trying what parity_is_right() says of each byte."""
    _, p, q = layout.roles(stripe)
    first = bytearray(SECTOR)
    for block in blocks.values():
        first = bytes(a ^ b for a, b in zip(first, block))
    if role == p:
        return first
    known, found = {}, bytearray(SECTOR)        # nearly all of it are zeroes
    for i, column in enumerate(zip(*blocks.values(), first)):
        if column not in known:
            row = {j: bytes([byte]) for j, byte in zip([*blocks, p], column)}
            known[column] = next(value for value in range(256) if layout.parity_is_right(
                {**row, q: bytes([value])}, stripe))
        found[i] = known[column]
    return bytes(found)


@pytest.fixture(params=[5, 6])
def parity_log(request):
    return ParityLog(request.param)


def parity_role(log, chunk, which=0):
    return [role for role in log.array.layout.roles(chunk)[1:] if role is not None][which]


@pytest.fixture
def small_parity(parity_log):
    """As `small`; sizes of bitmap and members are in sectors of a member, the array's end is not."""
    log = parity_log
    log.state(6, NEEDSYNC)
    log.data(log.array.ranges(6)[0][0], 1, wrong=[parity_role(log, 6)])
    log.shrink(log.array.ranges(4)[0][0])
    log.size(6, HALF)
    log.covers(HALF)
    return log


def test_parity_array_shrinks_and_grows(small_parity):
    log = small_parity
    log.state(6, UNWRITTEN)
    log.covers(SIZE)
    log.size(7, SIZE)
    log.state(6, NEEDSYNC)
    log.data(log.array.ranges(6)[0][0], 2, flush=True)
    log.state(6, CLEAN)
    test = log.judge()
    assert test.judge.violations == [] and test.violations == []
    assert min(test.judge.checked[rule] for rule in ("cover", "clean", "order")) > 0


def test_parity_array_grows_before_the_bitmap(small_parity):
    log = small_parity
    log.state(6, UNWRITTEN)
    log.size(7, SIZE)
    log.covers(SIZE)
    assert log.rules()[0] == ("cover", 8)


@pytest.mark.parametrize("state", [CLEAN, NEEDSYNC])
def test_old_bytes_come_back_with_parity(small_parity, state):
    log = small_parity
    log.state(6, state)
    log.covers(SIZE)
    log.size(7, SIZE)
    assert log.rules() == [("cover", 6)]


def test_parity_in_order(parity_log):
    log = parity_log
    log.state(1, NEEDSYNC)
    sector = log.array.ranges(1)[0][0] + 2
    log.data(sector, 1)
    log.data(sector + CHUNK, 2)
    log.flush()
    log.mark(MARK_FLUSHED, 2)
    log.state(1, CLEAN)
    test = log.judge()
    assert test.judge.violations == [] and test.violations == []
    assert all(test.judge.checked.values())


def test_a_kept_log_is_judged_again(parity_log, tmp_path):
    parity_log.data(parity_log.array.ranges(1)[0][0], 1)
    parity_log.recording().keep(tmp_path / "log", 7)
    recording, seed = pickle.loads((tmp_path / "log").read_bytes())
    again = CrashTest(recording, seed).run(len(recording.log), 6)
    assert {(v.rule, v.chunk) for v in again.judge.violations} == {("order", 1)}


def test_data_and_parity_before_the_byte(parity_log):
    log = parity_log
    log.data(log.array.ranges(1)[0][0], 1)
    assert set(log.rules()) == {("order", 1)}
    assert len(log.rules()) == log.array.layout.redundancy + 1


def test_clean_with_wrong_parity(parity_log):
    log = parity_log
    log.state(1, NEEDSYNC)
    which = parity_role(log, 1, log.array.layout.redundancy - 1)    # on RAID6, Q alone is wrong
    log.data(log.array.ranges(1)[0][0], 1, wrong=[which], flush=True)
    log.state(1, CLEAN)
    test = log.judge()
    assert {(v.rule, v.chunk) for v in test.judge.violations} == {("clean", 1)}
    assert any("parity" in v.text for v in test.violations)


def test_clean_before_parity_is_durable(parity_log):
    log = parity_log
    log.state(1, NEEDSYNC)
    log.data(log.array.ranges(1)[0][0], 1, flush=True, late=[parity_role(log, 1)])
    log.state(1, CLEAN, members=[m for m in log.members if m != parity_role(log, 1)], flush=False)
    assert {rule for rule, _ in log.rules()} == {"clean"}


def test_what_a_lost_member_had(parity_log):
    """It is computed from the others; who gives something else has lost it."""
    log = parity_log
    sector = log.array.ranges(1)[0][0]
    lost = log.array.layout.place(sector)[0]
    log.state(1, NEEDSYNC)
    log.data(sector, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.state(1, CLEAN)
    log.without(lost)
    assert log.rules() == [] and log.judge(20).violations == []

    parity = parity_role(log, 1)
    log.state(1, NEEDSYNC, members=set(log.members) - {lost})
    log.write(parity, DATA + log.array.position(sector), b"x" * SECTOR)
    log.state(1, CLEAN, members=set(log.members) - {lost})
    assert {rule for rule, _ in log.rules()} == {"clean"}


def test_discard_of_all_that_a_chunk_stands_for(parity_log):
    log = parity_log
    first, count = log.array.ranges(2)[0][0], CHUNK * log.array.layout.data_disks
    log.mark(MARK_DISCARD, first, count)
    for member in log.members:
        log.done(log.begin(DISCARD, member, DATA + 2 * CHUNK, sectors=CHUNK))
    log.mark(MARK_DISCARDED, first, count)
    assert log.rules() == []
    log.mark(MARK_DISCARD, first, count - CHUNK)
    log.done(log.begin(DISCARD, 0, DATA + 2 * CHUNK, sectors=CHUNK))
    assert log.rules() == [("order", 2)]


def test_recovery_of_what_is_being_discarded(parity_log):
    """Written while its member was missing, and first seen when recovery brings it there."""
    log = parity_log
    first, count = log.array.ranges(2)[0][0], CHUNK * log.array.layout.data_disks
    log.state(2, NEEDSYNC)
    log.mark(MARK_DISCARD, first, count, third=5)
    log.data(first, 5, flush=True)
    for member in log.members:
        log.done(log.begin(DISCARD, member, DATA + 2 * CHUNK, sectors=CHUNK))
    log.mark(MARK_DISCARDED, first, count)
    log.flush()
    log.state(2, UNWRITTEN)
    assert log.rules() == []

    log.state(2, NEEDSYNC)
    log.data(first, 6, flush=True)      # newer than the discard
    log.done(log.begin(DISCARD, log.array.layout.place(first)[0], DATA + 2 * CHUNK, sectors=CHUNK))
    log.flush()
    log.state(2, UNWRITTEN)
    assert {rule for rule, _ in log.rules()} == {"clean"}


# -- parity of what was not written, and without a member -----------------------------------------

@pytest.mark.parametrize("level, disks", [(4, 3), (5, 4), (6, 5)])
def test_row_from_what_is_left_of_it(level, disks):
    layout, rng = ParityLayout(level, disks, SIZE, CHUNK), random.Random(level)
    for stripe in range(disks):
        whole = layout.complete({role: rng.randbytes(64) for role in layout.roles(stripe)[0]}, stripe)
        assert layout.parity_is_right(whole, stripe)
        for left in itertools.combinations(range(disks), layout.data_disks):
            assert layout.complete({role: whole[role] for role in left}, stripe) == whole


@pytest.fixture
def littered(parity_log):
    """There is something else where parity will be, of what was never written: row 9 of chunk 1."""
    first = parity_log.array.ranges(1)[0][0]
    where = DATA + parity_log.array.position(first) + 9
    log = ParityLog(parity_log.array.layout.level, [(parity_role(parity_log, 1), where)])
    log.first, log.where = first, where
    return log


@pytest.fixture
def half_built(littered):
    """... and another row of the chunk was written: of that one parity is right."""
    littered.state(1, NEEDSYNC)
    littered.data(littered.first, 1, flush=True)
    return littered


@pytest.mark.parametrize("state", [UNWRITTEN, DIRTY, NEEDSYNC])
def test_parity_that_nobody_vouches_for(littered, state):
    littered.state(1, state)
    littered.flush()
    assert both(littered.judge(30)) == NOTHING


def test_parity_of_a_chunk_without_data(littered):
    littered.state(1, CLEAN)
    littered.flush()
    assert both(littered.judge(30)) == CLEAN_AND_STATES


def test_bitmap_with_junk_in_it_that_was_never_stored(littered):
    """As mdadm leaves it for a moment."""
    log = ParityLog(littered.array.layout.level, [(parity_role(littered, 1), littered.where)], 1)
    log.covers(SIZE, state=FIRST_USE)
    log.state(1, CLEAN)
    log.flush()
    assert both(log.judge(30)) == NOTHING


def test_member_with_junk_in_a_chunk_without_data(parity_log):
    log = parity_log
    log.state(1, CLEAN)
    log.without(0)
    log.write(0, DATA + CHUNK + 9, b"x" * SECTOR)
    log.size(7, SIZE)
    log.flush()
    test = log.judge(30)
    assert both(test) == CLEAN_AND_STATES
    assert "become in-sync" in test.judge.violations[0].text


def test_parity_of_what_was_not_written(half_built):
    """In a Clean chunk all of it is right."""
    log = half_built
    assert both(log.judge(30)) == NOTHING
    log.state(1, CLEAN)
    log.flush()
    assert both(log.judge(30)) == CLEAN_AND_STATES


def test_parity_of_what_was_not_written_is_built(half_built):
    log = half_built
    log.write(parity_role(log, 1), log.where, bytes(SECTOR))
    log.state(1, CLEAN)
    log.flush()
    assert both(log.judge(30)) == NOTHING


def test_parity_of_what_was_not_written_is_not_durable(half_built):
    log, late = half_built, parity_role(half_built, 1)
    log.write(late, log.where, bytes(SECTOR), flush=False)
    log.state(1, CLEAN, members=[member for member in log.members if member != late])
    assert both(log.judge(30)) == CLEAN_AND_STATES


def test_q_is_wrong_without_a_member():
    log = ParityLog(6)
    sector = log.array.ranges(1)[0][0]
    log.state(1, NEEDSYNC)
    log.data(sector, 1, flush=True)
    log.state(1, CLEAN)
    log.without(log.array.layout.place(sector)[0])
    assert both(log.judge(20)) == NOTHING
    log.write(parity_role(log, 1, 1), DATA + log.array.position(sector), b"x" * SECTOR)
    log.flush()
    assert "state" in both(log.judge(20))[1]


@pytest.fixture
def degraded(parity_log):
    """Something was written and flushed, and its member has left; the chunk is to be synced."""
    log = parity_log
    log.sector = log.array.ranges(1)[0][0]
    log.lost = log.array.layout.place(log.sector)[0]
    log.state(1, NEEDSYNC)
    log.data(log.sector, 1, flush=True)
    log.mark(MARK_FLUSHED, 1)
    log.without(log.lost)
    return log


def there(log, *lost):
    return [member for member in log.members if member not in (log.lost, *lost)]


def test_parity_is_overwritten_without_a_member(degraded):
    log = degraded
    log.calm()
    log.flush(there(log))
    assert both(log.judge(20)) == NOTHING
    log.write(parity_role(log, 1), DATA + log.array.position(log.sector), b"x" * SECTOR)
    log.calm()
    log.flush(there(log))
    assert both(log.judge(30)) == ({"flushed"}, {"state"})


def test_parity_was_not_right_when_the_member_left(parity_log):
    log = parity_log
    sector = log.array.ranges(1)[0][0]
    log.state(1, NEEDSYNC)
    log.data(sector, 1, flush=True, wrong=[parity_role(log, 1)])
    log.mark(MARK_FLUSHED, 1)
    log.calm()
    assert log.rules() == []
    log.without(log.array.layout.place(sector)[0])
    assert log.rules() == [("flushed", 1)] * len(log.rules()) != []


def test_row_that_is_written_without_a_member(degraded):
    """The write hole: what only parity has is lost in a cut between data and parity."""
    log = degraded
    log.data(log.sector + CHUNK, 2, members=[log.array.layout.place(log.sector + CHUNK)[0]], flush=True)
    log.flush(there(log))
    log.mark(MARK_FLUSHED, 1)
    assert both(log.judge(30))[1] == set()
    log.data(log.sector + CHUNK, 2, members=there(log), flush=True)
    log.mark(MARK_FLUSHED, 2)
    log.calm()
    log.flush(there(log))
    assert both(log.judge(30)) == NOTHING


def test_row_is_left_half_written_without_a_member(degraded):
    log = degraded
    log.data(log.sector + CHUNK, 2, members=[log.array.layout.place(log.sector + CHUNK)[0]], flush=True)
    log.calm()
    log.flush(there(log))
    assert both(log.judge(30)) == ({"flushed"}, {"state"})


def test_row_that_never_becomes_durable_without_a_member(degraded):
    """... may be the old one or the new one, as long as nobody was told that it is flushed."""
    log = degraded
    log.data(log.sector + CHUNK, 2, members=there(log))
    log.calm()
    assert both(log.judge(30)) == NOTHING


def test_two_are_missing():
    log = ParityLog(6)
    sector = log.array.ranges(1)[0][0]
    log.state(1, NEEDSYNC)
    log.data(sector, 1, flush=True)
    log.data(sector + CHUNK, 2, flush=True)
    log.mark(MARK_FLUSHED, 2)
    lost = [log.array.layout.place(one)[0] for one in (sector, sector + CHUNK)]
    log.without(*lost)
    log.calm()
    log.flush([0])
    assert both(log.judge(20)) == NOTHING
    log.write(parity_role(log, 1, 1), DATA + log.array.position(sector), b"x" * SECTOR)
    log.calm()
    log.flush([0])
    assert both(log.judge(30)) == ({"flushed"}, {"state"})


def test_too_many_are_missing(degraded):
    log = degraded
    more = [member for member in log.members if member != log.lost][:log.array.layout.redundancy]
    log.without(log.lost, *more, events=7)
    log.flush()
    assert both(log.judge(30)) == ({"enough"}, {"state"})


@pytest.mark.parametrize("what", ["data", "parity"])
def test_clean_while_degraded_with_parity(degraded, what):
    """The member that left lacks its part of a write, which the others have."""
    log = degraded
    if what == "parity":
        log = ParityLog(degraded.array.layout.level)
        log.sector, log.lost = degraded.sector, parity_role(log, 1)
        log.state(1, NEEDSYNC)
        log.without(log.lost)
    log.data(log.sector, 2, members=there(log), flush=True)
    log.state(1, NEEDSYNC, members=there(log))
    log.calm()
    log.flush(there(log))
    assert both(log.judge(30)) == NOTHING
    log.state(1, CLEAN, members=there(log))
    log.flush(there(log))
    test = log.judge(30)
    assert both(test) == CLEAN_AND_STATES
    assert f"disk {log.lost}" in test.judge.violations[0].text


def test_left_before_what_was_cleaned_with_parity(parity_log):
    log = parity_log
    log.lost = parity_role(log, 1)
    log.state(1, NEEDSYNC)
    log.without(log.lost)
    log.data(log.array.ranges(1)[0][0], 2, members=there(log), flush=True)
    log.covers(SIZE, cleared=6, members=there(log))
    log.state(1, CLEAN, members=there(log))
    log.flush(there(log))
    assert both(log.judge(30)) == NOTHING


def test_has_what_it_left_with_and_parity(parity_log):
    log = parity_log
    sector = log.array.ranges(1)[0][0]
    log.state(1, NEEDSYNC)
    log.data(sector, 1, flush=True)
    log.state(1, CLEAN)
    for lost in log.members[:log.array.layout.redundancy]:
        log.without(*log.members[:lost + 1], events=6 + lost)
        log.flush()
        assert both(log.judge(20)) == NOTHING


# -- two requests to a sector -------------------------------------------------------------------

def test_two_bitmap_writes_at_once(log):
    """The first may land last: then the byte is Clean again, and data go out."""
    log.states[1] = CLEAN
    first = log.begin(WRITE, 0, BITMAP + 2, bytes(log.states).ljust(SECTOR, b"\0"))
    log.state(1, DIRTY)
    log.done(first)
    log.flush()
    assert log.rules() == [("overlap", 0)]


def test_a_bitmap_write_after_the_other(log):
    log.state(1, CLEAN, flush=False)
    log.state(1, DIRTY, flush=False)
    log.flush()
    assert log.rules() == []


# -- what became of a state that the kernel assembled --------------------------------------------

def image_of(log, folder):
    """The Image that is left after all of the log, and the disk files of it: {member: path}."""
    judge = log.judge().judge
    content = {member: medium.base for member, medium in judge.media.items()}
    image = Image(log.array, 0, content, judge.promised.live, judge.promised.flushed, judge.trusted)
    paths = {member: folder / f"disk{member}" for member in log.members}
    for member, path in paths.items():
        path.touch()
        image.write(member, path, (DATA + SIZE) * SECTOR)
    return image, paths


def test_assembled_as_it_was(log, parity_log, tmp_path):
    for one in log, parity_log:
        one.state(1, DIRTY)
        one.data(one.array.ranges(1)[0][0], 1, flush=True)
        one.mark(MARK_FLUSHED, 1)
        one.state(1, CLEAN)
        image, paths = image_of(one, tmp_path)
        assert image.compare(paths) == []


def test_member_is_thrown_out(log, tmp_path):
    """What it lacks nobody would see: the other one alone is compared."""
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    image, _ = image_of(log, tmp_path)
    log.without(1)
    _, paths = image_of(log, tmp_path)
    wrong, = image.compare(paths)
    assert "only disks [0] can be trusted" in wrong and "disks [0, 1]" in wrong


def test_row_without_data_was_not_synced(half_built, tmp_path):
    half_built.state(1, CLEAN)
    image, paths = image_of(half_built, tmp_path)
    wrong, = image.compare(paths)
    assert "chunk 1 is Clean: parity" in wrong


def test_copies_were_not_synced(log, tmp_path):
    log.state(1, DIRTY)
    log.data(130, 1, flush=True)
    log.data(130, 2, members=[0], flush=True)
    image, paths = image_of(log, tmp_path)
    wrong, = image.compare(paths)
    assert "copies differ" in wrong
