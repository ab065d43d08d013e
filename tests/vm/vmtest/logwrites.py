# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a log of writes as QEMU's blklogwrites driver (DiskOptions.log_writes) and the kernel's
dm-log-writes make it: in which order which data reached a disk, and when it was flushed.

Format: Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c
of Linux. QEMU logs a request when it arrives, dm-log-writes when it is complete.
"""
import dataclasses
import os
import struct

MAGIC = 0x6a736677736872
VERSION = 1
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True)
class Entry:
    """One request. `sector` and `sectors` are in 512-byte units whatever the disk's block size;
    the data stands at `offset` of the log (nothing there for discards and empty flushes)."""
    index: int
    sector: int
    sectors: int
    flags: int
    offset: int
    length: int

    def is_write(self):
        return self.length > 0 and not self.flags & (DISCARD | MARK)


class LogWrites:
    """An open log. Iterating gives its entries, in order, in bounded memory."""

    def __init__(self, path):
        self.path = path
        self._file = open(path, "rb")  # pylint: disable=consider-using-with
        head = self._file.read(SUPER.size)
        if len(head) < SUPER.size:
            raise ValueError(f"{path}: too short for a log of writes")
        magic, version, self.count, self.sector_size = SUPER.unpack(head)
        if magic != MAGIC or version != VERSION:
            raise ValueError(f"{path}: no log of writes, or another version")
        if self.sector_size < 512 or self.sector_size & (self.sector_size - 1):
            raise ValueError(f"{path}: sector size {self.sector_size}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        position = self.sector_size
        size = os.fstat(self._file.fileno()).st_size
        scale = self.sector_size // 512
        for index in range(self.count):
            raw = os.pread(self._file.fileno(), ENTRY.size, position)
            if len(raw) < ENTRY.size:
                raise ValueError(f"{self.path}: entry {index} is cut off")
            sector, sectors, flags, data_length = ENTRY.unpack(raw)
            position += self.sector_size
            if flags & MARK:        # the mark's text stands right behind the entry
                where = position - self.sector_size + ENTRY.size
                length = min(data_length, self.sector_size - ENTRY.size)
            else:
                where = position
                length = 0 if flags & DISCARD else sectors * self.sector_size
                position += length
            if where + length > size:
                raise ValueError(f"{self.path}: data of entry {index} is cut off")
            yield Entry(index, sector * scale, sectors * scale, flags, where, length)

    def data(self, entry):
        return os.pread(self._file.fileno(), entry.length, entry.offset)

    def apply(self, entry, target):
        """Does a write or discard to the open file descriptor `target`, a disk image."""
        if entry.is_write():
            os.pwrite(target, self.data(entry), entry.sector * 512)
        elif entry.flags & DISCARD:
            left, position = entry.sectors * 512, entry.sector * 512
            while left:
                piece = min(left, 1 << 20)
                os.pwrite(target, bytes(piece), position)
                left, position = left - piece, position + piece
