# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be on the array: what each write wrote, and which sectors nobody has to remember."""
import struct

SECTOR = 512
TAG = struct.Struct("<QQ")


def content(number, first, count):
    """Bytes of write `number`; each sector says which it is."""
    return b"".join(TAG.pack(number, sector) * (SECTOR // TAG.size)
                    for sector in range(first, first + count))


class Contents:
    """`live` has a 1 for each sector that was written and not discarded since."""

    def __init__(self, sectors):
        self.bytes = bytearray(sectors * SECTOR)
        self.live = bytearray(sectors)
        self.writes = 0

    def write(self, first, count):
        """Gives the bytes to write."""
        self.writes += 1
        data = content(self.writes, first, count)
        self.bytes[first * SECTOR:(first + count) * SECTOR] = data
        self.live[first:first + count] = b"\1" * count
        return data

    def forget(self, first, count):
        self.live[first:first + count] = bytes(count)

    def resize(self, sectors):
        """What is gone is gone; nothing is known of what is new."""
        more = sectors - len(self.live)
        if more < 0:
            del self.live[sectors:], self.bytes[sectors * SECTOR:]
        else:
            self.live.extend(bytes(more))
            self.bytes.extend(bytes(more * SECTOR))

    def runs(self, first=0, end=None):
        """[(first, count), ...] of live sectors."""
        end = len(self.live) if end is None else min(end, len(self.live))
        found = []
        while True:
            first = self.live.find(1, first, end)
            if first < 0:
                return found
            stop = self.live.find(0, first, end)
            stop = end if stop < 0 else stop
            found.append((first, stop - first))
            first = stop

    def expected(self, first, count):
        return bytes(self.bytes[first * SECTOR:(first + count) * SECTOR])
