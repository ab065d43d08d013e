# SPDX-License-Identifier: GPL-2.0-or-later
"""What the comparison must find, and what it must let pass, on members made by hand."""
import functools

import pytest

from sidebyside import play
from sidebyside.compare import complaints, late
from sidebyside.model import CLEAN, DIRTY, NEEDSYNC, UNWRITTEN, Model
from vmtest.parity import times, to_int, _tables

DATA = [(5, 10), (700, 300), (2047, 1)]        # array sectors that are written


class Made:
    """An image whose data and states are given."""

    def __init__(self, role, model):
        self.role = role
        self.size = model.shape.kib * 2
        self.bytes = bytearray(bytes([0x90 + role]) * self.size * 512)
        self.made = list(model.states)

    def active(self):
        return True

    def bitmap(self):
        return self

    def states(self):
        return bytes(self.made)

    def data(self, sector, count):
        return bytes(self.bytes[sector * 512:(sector + count) * 512])

    def put(self, sector, data):
        self.bytes[sector * 512:sector * 512 + len(data)] = data


def build_parity(layout, images):
    for stripe in range(layout.size // layout.chunk):
        data, p, q = layout.roles(stripe)
        at, count = stripe * layout.chunk, layout.chunk
        blocks = {role: images[role].data(at, count) for role in data}
        size = count * 512
        images[p].put(at, functools.reduce(lambda a, b: a ^ b, map(to_int, blocks.values()))
                      .to_bytes(size, "little"))
        if q is not None:
            powers, order = _tables()[0], layout._order(data, p, q)
            value = functools.reduce(lambda a, b: a ^ b, (
                to_int(times(powers[order.index(role)], block)) for role, block in blocks.items()))
            images[q].put(at, value.to_bytes(size, "little"))


def made(level):
    """A model with data and its members, all as it should be."""
    model = Model(level, True)
    model.states = [CLEAN] * model.shape.chunks
    model.begin()
    images = [Made(role, model) for role in range(model.shape.disks)]
    layout = model.shape.layout
    for first, count in DATA:
        data = model.write(first, count)
        for index in range(count):
            piece = data[index * 512:(index + 1) * 512]
            places = [layout.place(first + index)] if model.shape.parity else \
                layout.copies(first + index)
            for role, where in places:
                images[role].put(where, piece)
    if model.shape.parity:
        build_parity(layout, images)
    return model, images


def place(model, sector):
    """Where one copy of an array sector is."""
    layout = model.shape.layout
    return layout.place(sector) if model.shape.parity else layout.copies(sector)[-1]


LEVELS = pytest.mark.parametrize("level", [1, 10, 5, 6])


@LEVELS
def test_all_is_well(level):
    model, images = made(level)
    assert complaints(model, images, True) == []
    assert complaints(model, images[1:], False) == []
    if level == 6:
        assert complaints(model, images[2:], False) == []


@LEVELS
@pytest.mark.parametrize("sector", [5, 800, 2047])
def test_a_sector_is_lost(level, sector):
    model, images = made(level)
    role, where = place(model, sector)
    images[role].put(where, b"\0" * 512)
    assert any(f"sector {sector}" in text for text in complaints(model, images, True))
    model.contents.forget(sector, 1)
    found = complaints(model, images, True)
    assert all("parity is wrong" in text or "come back" in text for text in found)
    assert bool(found) == model.shape.parity


@pytest.mark.parametrize("level", [5, 6])
def test_wrong_parity(level):
    model, images = made(level)
    layout = model.shape.layout
    # nothing is written there
    images[layout.roles(20)[1]].put(20 * layout.chunk + 9, b"\0" * 512)
    assert complaints(model, images, True) == ["chunk 10 is Clean, and its parity is wrong"]
    for image in images:
        image.made[10] = NEEDSYNC
    model.states[10] = NEEDSYNC
    assert complaints(model, images, True) == []


@LEVELS
def test_bytes_on_disk(level):
    model, images = made(level)
    model.states[3] = DIRTY
    found = complaints(model, images, False)
    assert found[0].startswith("chunk 3 is Dirty, but Clean on the member with role 0")
    images[0].made[3] = DIRTY
    assert any("role 1" in text for text in complaints(model, images, False))
    assert "the members' bitmaps differ" in complaints(model, images, False)
    for image in images:
        image.made[3] = NEEDSYNC
    assert complaints(model, images, False) == []
    assert complaints(model, images, True)


@LEVELS
def test_what_was_written_is_not_late(level):
    """Nor Clean or Unwritten on any member, once the write is over; of others nothing is said."""
    model, images = made(level)
    assert model.stored == {0, *model.shape.chunks_of(700, 300), *model.shape.chunks_of(2047, 1)}
    assert len(list(late(model, images))) == len(model.stored) * len(images)
    for image in images:
        for chunk in model.stored:
            image.made[chunk] = NEEDSYNC if chunk else DIRTY
    assert list(late(model, images)) == []
    images[1].made[0] = UNWRITTEN
    text, = late(model, images)
    assert text.startswith("chunk 0 is still Unwritten on the member with role 1")
    model.discarding = {0}              # its discard may be over
    assert list(late(model, images)) == []
    images[1].made[0] = CLEAN
    assert list(late(model, images))
    model.states[0] = DIRTY
    model.begin()                       # another operation: nothing is late of it
    assert list(late(model, images)) == []


class Later:
    """A rig whose members are right at the second look only."""

    class vm:
        scale = 0

    def __init__(self, before, after):
        self.looks = [before, after, after]

    def image(self, disk):
        return self.looks[0][disk] if disk < len(self.looks[0]) - 1 else self.looks.pop(0)[disk]


@pytest.mark.parametrize("wrote, forgiven", [(True, False), (False, True)])
def test_no_second_look_at_what_was_written(wrote, forgiven):
    """A byte that is Clean for a moment, and not as in memory a moment later."""
    model, after = made(1)
    before = made(1)[1]
    for chunk in model.stored:
        model.states[chunk] = DIRTY
        for image in after:
            image.made[chunk] = DIRTY
    if not wrote:
        model.stored.clear()
    one = play.Play(Later(before, after))
    one.model = model
    if forgiven:
        one.compare()
    else:
        with pytest.raises(play.Finding, match="is still Clean on"):
            one.compare()


@LEVELS
def test_unwritten_with_data(level):
    model, images = made(level)
    model.states[0] = UNWRITTEN
    for image in images:
        image.made[0] = UNWRITTEN
    assert complaints(model, images, True) == ["chunk 0 is Unwritten and holds data"]
