# SPDX-License-Identifier: GPL-2.0-or-later
"""Offline view of a member of an md 1.2 array: superblock, bitmap, data.

Formats: struct mdp_superblock_1 in include/uapi/linux/raid/md_p.h; the bitmap's superblock and
states follow the superblock from byte 1024 on, one byte per chunk.
"""
import os
import struct
import uuid

SECTOR = 512
SUPER_OFFSET = 4096
MD_MAGIC = 0xa92b4efc
BITMAP_MAGIC = 0x6d746962
BITMAP_HEADER = 1024        # the first state byte stands here
SPARE_ROLES = 0xfffd        # this role and above: journal, faulty, spare
STATES = ("unwritten", "clean", "dirty", "need sync", "syncing")


class BitmapImage:
    """The bitmap as it stands on one member."""

    FIELDS = struct.Struct("<II16sQQQIIIII")

    def __init__(self, raw):
        (self.magic, self.version, self.uuid, self.events, self.events_cleared, self.sync_size,
         self.state, self.chunksize, self.daemon_sleep, self.write_behind,
         self.sectors_reserved) = self.FIELDS.unpack_from(raw)
        self.raw = raw

    def states(self):
        """One byte per chunk. Only when the kernel has written the chunk size (in sectors)."""
        chunks = -(-self.sync_size // self.chunksize)
        return self.raw[BITMAP_HEADER:BITMAP_HEADER + chunks]

    def bits(self):
        """Counts by state, as Array.bits() gives them; unknown bytes under their number."""
        counts = dict.fromkeys(STATES, 0)
        for value in self.states():
            name = STATES[value] if value < len(STATES) else value
            counts[name] = counts.get(name, 0) + 1
        return counts


class Member:
    """One member, from a disk file or a snapshot of one."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            file.seek(SUPER_OFFSET)
            raw = file.read(SUPER_OFFSET)
        if struct.unpack_from("<I", raw)[0] != MD_MAGIC:
            raise ValueError(f"{path}: no md 1.2 superblock")
        self.array_uuid = uuid.UUID(bytes=raw[16:32])
        self.level, self.layout = struct.unpack_from("<ii", raw, 72)
        self.size, self.chunk_sectors, self.raid_disks = struct.unpack_from("<QII", raw, 80)
        self.bitmap_offset, = struct.unpack_from("<i", raw, 96)
        (self.data_offset, self.data_size, self.super_offset,
         self.recovery_offset) = struct.unpack_from("<QQQQ", raw, 128)
        self.number, = struct.unpack_from("<I", raw, 160)
        self.bad_block_shift, self.bad_block_sectors, self.bad_block_offset = struct.unpack_from(
            "<BHi", raw, 185)
        self.events, self.resync_offset = struct.unpack_from("<QQ", raw, 200)
        max_dev, = struct.unpack_from("<I", raw, 220)
        roles = struct.unpack_from(f"<{max_dev}H", raw, 256)
        self.role = roles[self.number] if self.number < max_dev else 0xffff

    def active(self):
        return self.role < SPARE_ROLES

    def _pread(self, sector, sectors):
        with open(self.path, "rb") as file:
            return os.pread(file.fileno(), sectors * SECTOR, sector * SECTOR)

    def data(self, sector, sectors):
        """`sectors` sectors of data from member sector `sector` (0 is at data_offset) on."""
        return self._pread(self.data_offset + sector, sectors)

    def bitmap(self):
        start = self.super_offset + self.bitmap_offset
        head = BitmapImage(self._pread(start, 2))
        if head.magic != BITMAP_MAGIC:
            raise ValueError(f"{self.path}: no bitmap")
        return BitmapImage(self._pread(start, head.sectors_reserved or 256))
