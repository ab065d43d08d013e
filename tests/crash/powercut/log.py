# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the log of all members, and what the load's data say about themselves."""
import dataclasses
import struct

SECTOR = 512

# kinds of entries
WRITE, DISCARD, FLUSH, DONE = "write", "discard", "flush", "done"
SHRINK = "shrink"       # no request: the array is going to end at this sector, nobody writes behind it

# Format of load.c: what each sector that it writes begins with (magic, array sector, generation),
# and a sector of the mark disk (magic, kind, three numbers; or MARK_WROTE, how many, and for each of
# them what WROTE says).
DATA = struct.Struct("<8sQQ")
DATA_MAGIC = b"LLBDATA\0"
MARK = struct.Struct("<8sQQQQ")
MARK_MAGIC = b"LLBMARK\0"
MARK_FLUSHED = 1        # generations up to `first`, and what the first `second` marks tell of, are
                        # done and an fsync after that is done, too
MARK_DISCARD = 2        # `first` sector, `second` sectors are going to be discarded; what was written
                        # there is of the third number's generation at most
MARK_DISCARDED = 3      # ... and that is done
MARK_WROTE = 4          # writes are done, and nobody has written there again
WROTE = struct.Struct("<QQQQ")      # first sector, sectors, generation, whether it is durable by that
WROTE_BEGIN = 24


@dataclasses.dataclass
class Entry:
    """The beginning of a request, or with kind DONE the end of request number `sector`."""
    kind: str
    disk: int
    sector: int
    sectors: int
    data: bytes
    fua: bool
    number: int = 0


def generation(raw, sector):
    """What a sector of data holds: a generation, 0 for zeroes, or the bytes themselves if it is
    not what the load writes to array sector `sector`."""
    magic, where, number = DATA.unpack_from(raw)
    if magic == DATA_MAGIC and where == sector:
        return number
    return 0 if raw.count(0) == SECTOR else raw


def wrote(raw):
    """[(first sector, sectors, generation, durable), ...] of a mark with MARK_WROTE."""
    _, _, count, *_ = MARK.unpack_from(raw)
    return [WROTE.unpack_from(raw, WROTE_BEGIN + i * WROTE.size) for i in range(count)]


def pattern(sector, number):
    """The sector that holds a generation."""
    return DATA.pack(DATA_MAGIC, sector, number).ljust(SECTOR, b"\0") if number else bytes(SECTOR)
