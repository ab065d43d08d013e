# SPDX-License-Identifier: GPL-2.0-or-later
"""What can happen to an array: each operation on the model and on the real one.

An operation is a tuple of its name and numbers. Numbers fit any array: they are taken modulo what
there is. A function gives False, with nothing done, when the operation is not possible just now.
"""
from .model import MUST
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
    play.must("write", first, packed(data), answer=len(data))


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
    play.must("discard", first, count)
    if play.model.discarding:       # finished together, a moment later
        play.rig.ask(["sleep", 0.25])


# -- bitmap --------------------------------------------------------------------------------------

def flush(play):
    play.model.clean()
    play.must("set", "llbitmap/flush", "1")
    play.exact = not play.model.may_sync()


def mark(play, chunk, count):
    model = play.model
    chunk %= model.shape.chunks
    count = min(count, model.shape.chunks - chunk)
    model.mark(chunk, count)
    play.must("set", "llbitmap/mark", f"{chunk}-{chunk + count - 1}")


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
    model.wanted = MUST
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
    model.wanted = MUST
    play.must("set", "sync_action", "repair")
    return True


# -- life ------------------------------------------------------------------------------------------

def restart(play):
    """Stop and assemble."""
    play.stop()
    play.assemble()


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


def cut(play):
    """The power, as far as the members can tell."""
    play.lose_power(play.rig.cut)


def kill(play):
    """The power, really: the VM is killed and booted again."""
    play.lose_power(play.rig.kill)


def resize(play, number):
    model = play.model
    kib = SIZES[number % len(SIZES)]
    if model.frozen or model.held or model.pending or kib == model.shape.kib:
        return False
    model.resize(kib)
    play.mdadm("/dev/md0", "--grow", f"--size={kib}", seconds=SETTLE)
    return True


OPERATIONS = {function.__name__: function for function in (
    write, discard, discard_part, flush, mark, setting, fail, back, add, wiped, replace, freeze,
    thaw, hold, release, sync, check, repair, restart, restart_without, cut, kill, resize)}
