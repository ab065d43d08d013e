# SPDX-License-Identifier: GPL-2.0-or-later
"""The judge of power cuts, on logs made by hand: two mirrors, and one thing wrong at a time."""
import struct

import pytest

from powercut.array import LoggedArray, Super, trusted
from powercut.crash import CrashTest
from powercut.log import (DISCARD, DONE, FLUSH, MARK, MARK_DISCARD, MARK_DISCARDED, MARK_FLUSHED,
                          MARK_MAGIC, SECTOR, SHRINK, WRITE, Entry, pattern)
from powercut.scene import Recording
from vmtest.geometry import Layout
from vmtest.member import BITMAP_MAGIC, MD_MAGIC

CHUNK, SIZE = 128, 8 * 128
BITMAP, DATA = 16, 300
MARKS = 9
UNWRITTEN, CLEAN, DIRTY = 0, 1, 2
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
    struct.pack_into("<I", raw, 216, (total & 0xffffffff) + (total >> 32))
    return bytes(raw)


class Log:
    """Writes a log as the array of these tests would: everything durable unless said otherwise."""

    def __init__(self):
        self.entries = []
        self.states = [UNWRITTEN] * (SIZE // CHUNK)
        self.covers(SIZE)
        self.size(5, SIZE)
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

    def flush(self, members=(0, 1)):
        for member in members:
            self.done(self.begin(FLUSH, member))

    def bitmap(self, members=(0, 1), flush=True):
        for member in members:
            self.write(member, BITMAP + 2, bytes(self.states).ljust(SECTOR, b"\0"), flush)

    def covers(self, sectors, flush=True):
        """The bitmap's superblocks."""
        for member in (0, 1):
            head = struct.pack("<II16sQQQIIIII", BITMAP_MAGIC, 6, b"", 99, 0, sectors, 0, CHUNK, 1,
                               0, 256)
            self.write(member, BITMAP, head.ljust(SECTOR, b"\0"), flush)

    def size(self, events, sectors, members=(0, 1), flush=True):
        """The array's superblocks."""
        for member in members:
            self.write(member, 8, superblock(member, events, size=sectors), flush)

    def shrink(self, sectors):
        self.entries.append(Entry(SHRINK, -1, sectors, 0, b"", False, len(self.entries)))

    def state(self, chunk, state, members=(0, 1), flush=True):
        self.states[chunk] = state
        self.bitmap(members, flush)

    def data(self, sector, generation, members=(0, 1), flush=False):
        for member in members:
            self.write(member, DATA + sector, pattern(sector, generation), flush)

    def mark(self, kind, first, second=0):
        data = MARK.pack(MARK_MAGIC, kind, first, second).ljust(SECTOR, b"\0")
        self.done(self.begin(WRITE, MARKS, 0, data))

    def discard(self, first, sectors, members=(0, 1)):
        self.mark(MARK_DISCARD, first, sectors)
        for member in members:
            self.done(self.begin(DISCARD, member, DATA + first, sectors=sectors))
        self.mark(MARK_DISCARDED, first, sectors)

    def judge(self, states=6):
        array = LoggedArray([0, 1], Layout(2, SIZE, 0), CHUNK, BITMAP, DATA)
        recording = Recording(array, self.entries, self.start, MARKS, "")
        return CrashTest(recording, 1).run(len(self.entries), states)

    def rules(self):
        return [(violation.rule, violation.chunk) for violation in self.judge().judge.violations]


@pytest.fixture
def log():
    return Log()


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
