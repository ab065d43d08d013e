# SPDX-License-Identifier: GPL-2.0-or-later
"""Promise 1, judged on a trace: what reached a member when, and what was durable by then."""
from support import AREA_BEGIN, AREA_SECTORS, HEADER

DATA = AREA_BEGIN + AREA_SECTORS


def data_writes(trace, members, array):
    """Writes and discards of data that were handed to the members."""
    numbers = {member.number for member in members}
    data_offset = array.member_images()[0].data_offset
    return [event for event in trace.events("block_bio_queue")
            if event.dev in numbers and event.sectors and event.sector >= data_offset
            and set(event.rwbs) & set("WD")]


class MemberSectors(dict):
    """Parity levels: the bitmap counts the members' own sectors."""

    def __init__(self, piece):
        super().__init__()
        self.piece = piece

    def __missing__(self, key):
        return key[1] * self.piece


def array_pieces(array):
    """(role, member sector / piece) -> the bitmap's sector, for every aligned piece."""
    if array.member_images()[0].level in (4, 5, 6):
        return 8, MemberSectors(8)
    layout = array.layout()
    pieces = {}
    for sector in range(0, layout.sectors, layout.piece):
        for role, where in layout.copies(sector):
            pieces[role, where // layout.piece] = sector
    return layout.piece, pieces


def check_order(trace, members, array):
    """Each data write finds its chunks Dirty, NeedSync or Syncing on disk.

    A chunk is so from the end of a bitmap write that carries the transition, and no longer from
    the moment that the next transition makes it Clean or Unwritten.
    """
    chunk_sectors = array.metadata()["chunksize"]
    images = {image.path: image for image in array.member_images()}
    roles = {member.number: images[member.path] for member in members}
    piece, pieces = array_pieces(array)
    safe, pending = set(), {}           # chunks; chunk -> (page, seq) that makes it safe
    durable = {}                        # page -> seq
    known = set()                       # chunks whose state the trace tells
    data = {id(event) for event in data_writes(trace, members, array)}
    checked = 0

    for event in trace.all():
        if event.name == "transition":
            for chunk in event.chunks():
                known.add(chunk)
                page = (HEADER + chunk) // 4096
                if event.to in ("Clean", "Unwritten"):
                    safe.discard(chunk)
                    pending.pop(chunk, None)
                elif event.source in ("Clean", "Unwritten"):
                    pending[chunk] = (page, event.seq)
        elif event.name == "writeback" and event.op == "end" and event.error == 0:
            durable[event.page] = event.seq
            for chunk, (page, seq) in list(pending.items()):
                if page == event.page and seq <= event.seq:
                    safe.add(chunk)
                    del pending[chunk]
        elif id(event) in data:
            image = roles[event.dev]
            first = event.sector - image.data_offset
            for sector in range(first, first + event.sectors, 8):
                start = pieces[image.role, sector // piece]
                chunk = (start + sector % piece) // chunk_sectors
                if chunk in known:
                    assert chunk in safe, f"chunk {chunk} is not durably non-clean at {event}"
                    checked += 1
    assert checked, "nothing was checked"
