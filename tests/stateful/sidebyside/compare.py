# SPDX-License-Identifier: GPL-2.0-or-later
"""The members' files against the model: bitmap, copies, parity. Each check gives complaints."""
import itertools

from .contents import SECTOR
from .model import CLEAN, DIRTY, STATES, UNWRITTEN
from .shape import CHUNK


def bitmaps(model, images, exact):
    """The bytes on each in-sync member: never cleaner than in memory; after a flush, the same."""
    found = [list(image.bitmap().states()) for image in images]
    for image, states in zip(images, found):
        if len(states) < len(model.states):
            yield f"{name(image)}: {len(states)} chunks of {len(model.states)} in its bitmap"
            return
        for chunk, (disk, memory) in enumerate(zip(states, model.states)):
            if exact and disk != memory:
                yield (f"chunk {chunk} on {name(image)} is {state(disk)}, and {STATES[memory]} in "
                       "memory")
            elif model.too_clean(chunk, disk):
                yield f"chunk {chunk} is {STATES[memory]}, but {state(disk)} on {name(image)}"
    if any(states[:len(model.states)] != found[0][:len(model.states)] for states in found):
        yield "the members' bitmaps differ"


def late(model, images):
    """What this operation had to make durable before it was over says so on every in-sync member.
    No second look: a write to the bitmap that is still on its way now came too late."""
    for image in images:
        states = image.bitmap().states()
        for chunk in sorted(model.stored):
            if states[chunk] == CLEAN or \
                    states[chunk] == UNWRITTEN and chunk not in model.discarding:
                yield (f"chunk {chunk} is still {state(states[chunk])} on {name(image)}, when what "
                       "made it something else is over")


def state(byte):
    return STATES[byte] if byte < len(STATES) else hex(byte)


def name(image):
    return f"the member with role {image.role}"


def unwritten(model):
    """A chunk that holds data is not Unwritten."""
    unit = model.shape.unit
    for chunk, one in enumerate(model.states):
        if one == UNWRITTEN and model.contents.runs(chunk * unit, (chunk + 1) * unit):
            yield f"chunk {chunk} is Unwritten and holds data"


def copies(model, images):
    """RAID1 and RAID10: each copy of what was written has it."""
    layout, contents = model.shape.layout, model.contents
    by_role = {image.role: image for image in images}
    for first, count in contents.runs():
        while count:
            length = min(count, layout.piece - first % layout.piece)
            wanted = contents.expected(first, length)
            for role, where in layout.copies(first):
                if role in by_role and by_role[role].data(where, length) != wanted:
                    bad = differing(by_role[role].data(where, length), wanted)
                    yield (f"sector {first + bad} (chunk {(first + bad) // model.shape.unit}) is "
                           f"not on the member with role {role}")
            first += length
            count -= length


def differing(data, wanted):
    """The first sector in which they do."""
    return next((at // SECTOR for at in range(0, len(wanted), SECTOR)
                 if data[at:at + SECTOR] != wanted[at:at + SECTOR]), 0)


def parity_gives_data(model, images):
    """RAID5 and RAID6: what was written comes back without any member."""
    layout = model.shape.layout
    present = {image.role for image in images}
    missing = tuple(role for role in range(layout.disks) if role not in present)
    for more in range(layout.redundancy - len(missing) + 1):
        for lost in itertools.combinations(sorted(present), more):
            for first, count in model.contents.runs():
                data = layout.read(images, first, count, (*missing, *lost))
                wanted = model.contents.expected(first, count)
                if data != wanted:
                    bad = first + differing(data, wanted)
                    yield (f"sector {bad} (chunk {bad // model.shape.unit}) does not come back "
                           f"without the members {(*missing, *lost)}")
                    break


def parity_is_right(model, images):
    """Of every stripe of a chunk that is Clean or Dirty, with all members there."""
    layout = model.shape.layout
    if len(images) < layout.disks:
        return
    for chunk, one in enumerate(model.states):
        if one not in (CLEAN, DIRTY):
            continue
        last = min((chunk + 1) * CHUNK, layout.size) - 1
        if layout.wrong_parity(images, chunk * CHUNK, last):
            yield f"chunk {chunk} is {STATES[one]}, and its parity is wrong"


def complaints(model, images, exact):
    """All of them. images: of the in-sync members."""
    found = [*bitmaps(model, images, exact), *unwritten(model)]
    for image in images:
        if image.size != model.shape.kib * 2:
            found.append(f"{name(image)} says that it has {image.size} sectors")
    if model.shape.parity:
        found += [*parity_gives_data(model, images), *parity_is_right(model, images)]
    else:
        found += copies(model, images)
    return found
