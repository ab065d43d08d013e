# SPDX-License-Identifier: GPL-2.0-or-later
"""What can happen to an array: each operation on the model and on the real one.

An operation is a tuple of its name and numbers. Numbers fit any array: they are taken modulo what
there is. A function gives False, with nothing done, when the operation is not possible just now.
"""
from .model import told
from .rig import SETTLE, packed
from .shape import CHUNK, SIZES


def place(model, chunk, offset, count):
    """(first, count) of array sectors inside the array."""
    first = chunk % model.shape.chunks * model.shape.unit + offset % model.shape.unit
    first = min(first, model.shape.sectors - 1)
    return first, min(count, model.shape.sectors - first)


# -- data ----------------------------------------------------------------------------------------

def write(play, chunk, offset, count):
    """`count` sectors from so far into a chunk on."""
    first, count = place(play.model, chunk, offset, count)
    data = play.model.write(first, count)
    play.must_store("write", first, packed(data), answer=len(data))


def discard(play, chunk, count):
    """Whole chunks."""
    model = play.model
    chunk %= model.shape.chunks
    first = chunk * model.shape.unit
    do_discard(play, first, min(count * model.shape.unit, model.shape.sectors - first))


def discard_part(play, chunk, offset, count):
    do_discard(play, *place(play.model, chunk, offset, count))


def do_discard(play, first, count):
    play.model.discard(first, count)
    play.must_store("discard", first, count)
    if play.model.discarding:       # finished together, a moment later
        play.rig.ask(["sleep", 0.25])


# -- bitmap --------------------------------------------------------------------------------------

def flush(play):
    play.model.clean()
    play.must("set", "llbitmap/flush", "1")
    play.exact = not play.model.may_sync()


def some_chunks(model, chunk, count):
    """(first, count) of those that there are."""
    chunk %= model.shape.chunks
    return chunk, min(count, model.shape.chunks - chunk)


def mark(play, chunk, count):
    first, count = some_chunks(play.model, chunk, count)
    play.model.mark(first, count)
    play.must_store("set", "llbitmap/mark", f"{first}-{first + count - 1}")


def set_bits(play, chunk, count):
    """As if somebody wrote to these chunks."""
    first, count = some_chunks(play.model, chunk, count)
    play.model.set_bits(first, count)
    play.must_store("set", "bitmap_set_bits", f"{first}-{first + count - 1}")


def rebitmap(play, chunk, offset, count):
    """The bitmap is removed, and another one made, with a write in between."""
    model = play.model
    if model.frozen or model.held or model.syncing:
        return False
    first, count = place(model, chunk, offset, count)
    status, text = play.rig.remove_bitmap()
    play.expect(status == 0, f"mdadm --grow --bitmap=none: {text}")
    play.expect(play.rig.ask(["get", "bitmap/location"]) == ["none"], "the bitmap is still there")
    data = model.contents.write(first, count)
    play.must("write", first, packed(data), answer=len(data))
    error = play.rig.add_bitmap(model.present)
    play.expect(error is None, f"a bitmap for the running array: {error}")
    model.new_bitmap()
    model.settings["llbitmap/daemon_sleep"] = 3600
    return True


def setting(play, name, value):
    """Seconds; what is out of bounds changes nothing."""
    low, high = {"daemon_sleep": (1, 3600), "barrier_idle": (0, 3600)}[name]
    good = low <= value <= high
    if name == "daemon_sleep" and good and value < 600:
        return False                # the daemon would run on its own
    play.must("set", f"llbitmap/{name}", str(value), answer=None if good else "EINVAL")
    if good:
        play.model.settings[f"llbitmap/{name}"] = value
    return True


# -- members ---------------------------------------------------------------------------------------

def fail(play, number):
    """A member, or one that is to become one, and its place is free."""
    model = play.model
    disks = model.may_leave()
    if not disks:
        return False
    disk = disks[number % len(disks)]
    if model.syncing:
        model.interrupt()
    model.leave(disk)
    play.mdadm("/dev/md0", "--fail", play.rig.device(disk))
    if model.held:      # md does not wake a sync that waits there, to tell it that it is over
        set_hold(play)
    # md may be busy with it for a moment
    play.mdadm("/dev/md0", "--remove", play.rig.device(disk), seconds=SETTLE)
    return True


def fail_two(play, number):
    """Two members, with nothing in between."""
    model = play.model
    pairs = [(one, two) for role, one in sorted(model.roles.items())
             for other, two in sorted(model.roles.items()) if role < other
             and model.shape.can_lose(model.roles, role)
             and model.shape.can_lose(model.roles.keys() - {role}, other)]
    if not pairs:
        return False
    disks = pairs[number % len(pairs)]
    model.interrupt()
    for disk in disks:
        model.leave(disk)
    play.mdadm("/dev/md0", "--fail", *map(play.rig.device, disks))
    if model.held:
        set_hold(play)
    for disk in disks:
        play.mdadm("/dev/md0", "--remove", play.rig.device(disk), seconds=SETTLE)
    return True


def back(play, number):
    """One that left: with what the bitmap knows of it, or else as a new one."""
    model = play.model
    if not model.out:
        return False
    disk = model.out.pop(number % len(model.out))
    status, _ = play.rig.mdadm("/dev/md0", "--re-add", play.rig.device(disk))
    if status:
        play.add_new(disk)
    model.pending.append(disk)
    return True


def add(play):
    """One that never was a member; a spare if nobody is missing."""
    return add_one(play, play.model.spares())


def wiped(play, number):
    """One that left, as a new one."""
    out = play.model.out
    if not out:
        return False
    disk = out[number % len(out)]
    out.remove(disk)
    return add_one(play, [disk])


def add_one(play, disks):
    if not disks:
        return False
    play.add_new(disks[0])
    play.model.pending.append(disks[0])
    return True


def replace(play, number):
    """A member by another disk, while it is in use."""
    model = play.model
    disks = [*model.pending, *model.spares()]
    if model.degraded or model.frozen or model.held or model.syncing or not disks:
        return False
    new = disks[0]
    old = model.roles[sorted(model.roles)[number % len(model.roles)]]
    if new not in model.pending:
        play.add_new(new)
        model.pending.append(new)
    play.mdadm("/dev/md0", "--replace", play.rig.device(old), "--with", play.rig.device(new))
    done, = play.rig.ask(["wait_in_sync", SETTLE * play.scale, play.rig.device(new)[5:]])
    play.expect(done, "the replacement does not come to its end")
    play.mdadm("/dev/md0", "--remove", play.rig.device(old), seconds=SETTLE)
    model.leave(old)        # and the new one is due in its place
    return True


# -- syncs -----------------------------------------------------------------------------------------

def freeze(play):
    if play.model.frozen:
        return False
    play.model.interrupt()
    play.model.frozen = True
    play.must("set", "sync_action", "frozen")
    return True


def thaw(play):
    if not play.model.frozen:
        return False
    play.model.frozen = False
    play.must("set", "sync_action", "idle")
    return True


def hold(play, chunk):
    """The next sync stops before this chunk, and does not end."""
    if play.model.held:
        return False
    play.model.held = True
    play.model.hold_at = chunk % play.model.shape.chunks
    set_hold(play)
    return True


def set_hold(play):
    """md takes no smaller one while it is busy, and that it is for a moment after each change."""
    request = ["set", "sync_max", str(play.model.hold_at * CHUNK)]
    for _ in range(SETTLE):
        if play.rig.ask(request) != ["EBUSY"]:
            break
        play.rig.ask(["sleep", 0.1])
    play.must(*request)


def release(play):
    if not play.model.held:
        return False
    play.model.held = False
    play.must("set", "sync_max", "max")
    return True


def sync(play):
    """The daemon is let run until nothing is left to sync, as far as members allow it."""
    model = play.model
    if model.frozen or model.held:
        return False
    model.daemon_may_run()
    model.want()
    play.rig.ask(["set", "llbitmap/daemon_sleep", "1"], play.settling(),
                 ["set", "llbitmap/daemon_sleep", str(model.settings["llbitmap/daemon_sleep"])])
    return True


def check(play):
    """check-is-blind; parity that was built is right."""
    model = play.model
    if model.frozen or model.held or model.degraded:
        return False
    *_, count = play.rig.ask(["set", "sync_action", "check"],
                             ["settle", SETTLE * play.scale, model.due_members(), False],
                             ["get", "mismatch_cnt"])
    if model.shape.parity:
        play.expect(count == "0", f"check counts {count} mismatches")
    return True


def repair(play):
    model = play.model
    if model.frozen or model.held or model.degraded:
        return False
    model.want()
    play.must("set", "sync_action", "repair")
    return True


# -- life ------------------------------------------------------------------------------------------

def restart(play, look):
    """Stop and assemble."""
    play.stop()
    play.assemble(look)


def restart_without(play, number):
    """A member was not there when the array was assembled."""
    model = play.model
    disks = model.may_leave()
    if not disks:
        return False
    play.stop()
    model.leave(disks[number % len(disks)])
    play.assemble()
    return True


def read_only(play):
    """For a while: it leaves what a stop leaves, and then nobody writes anything to the members."""
    model = play.model
    if model.frozen:            # md forgets that
        return False
    model.stop()
    play.mdadm("--readonly", "/dev/md0", seconds=SETTLE)
    for disk, states in play.bytes_on_disks().items():
        wrong = model.wrong_states(states)
        play.expect(not wrong, f"on disk {disk} of the read-only array: {told(wrong)}")
    before = play.rig.freeze_disks()
    for request in (("llbitmap/flush", "1"), ("llbitmap/mark", "0"), ("bitmap_set_bits", "0"),
                    ("llbitmap/daemon_sleep", "3000")):
        play.must("set", *request, answer="EROFS")
    play.rig.ask(["sleep", 0.3])
    changed = [disk for disk, (old, new) in enumerate(zip(before, play.rig.freeze_disks()))
               if old != new]
    play.expect(not changed, f"disks {changed} of the read-only array were written to")
    play.mdadm("--readwrite", "/dev/md0")
    return True


def cut(play, torn, look):
    """The power, as far as the members can tell."""
    play.lose_power(play.rig.cut, torn, look)


def kill(play):
    """The power, really: the VM is killed and booted again."""
    play.lose_power(play.rig.kill)


def resize(play, number):
    """To one of the other sizes."""
    model = play.model
    if model.frozen or model.held or model.pending:
        return False
    others = [kib for kib in SIZES if kib != model.shape.kib]
    kib = others[number % len(others)]
    model.resize(kib)
    play.mdadm("/dev/md0", "--grow", f"--size={kib}", seconds=SETTLE)
    return True


OPERATIONS = {function.__name__: function for function in (
    write, discard, discard_part, flush, mark, set_bits, rebitmap, setting, fail, fail_two, back,
    add, wiped, replace, freeze, thaw, hold, release, sync, check, repair, restart, restart_without,
    read_only, cut, kill, resize)}
