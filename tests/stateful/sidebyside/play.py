# SPDX-License-Identifier: GPL-2.0-or-later
"""A script played on the model and on the real array, which are compared after each operation.

A script is a list of operations. The first is ("create", level, 1 for --assume-clean or 0).
"""
import re
import time
import zlib

from vmtest.errors import CommandTimeout, VMLost, VMPanic

from .compare import complaints, late
from .model import STATES, Model, told
from .operations import OPERATIONS
from .rig import SETTLE, runs

AGAIN = 3               # md writes superblocks, and a page of the bitmap with them, when it likes


class Finding(AssertionError):
    """Model and array disagree."""

    def __init__(self, script, text):
        super().__init__(f"{text}\nafter\n{shown(script)}")
        self.script = script
        self.text = text

    @property
    def reason(self):
        """The words of the first complaint; where it was, and on which member, does not matter."""
        return re.findall("[A-Za-z]+", re.sub(r"/dev/\w+", "", re.split("[;\n]", self.text)[0]))


def shown(script):
    """As it stands in kept.py."""
    return "[" + ",\n ".join(repr(tuple(one)) for one in script) + "]"


class Play:
    """done: the operations that were possible, the script without the others."""

    def __init__(self, rig):
        self.rig = rig
        self.scale = rig.vm.scale
        self.model = None
        self.done = []
        self.exact = False          # bytes on disk are as in memory

    def run(self, script):
        """Raises Finding. Leaves no array behind."""
        try:
            for operation in script:
                self.step(tuple(operation))
            self.end()
        except (VMPanic, VMLost, CommandTimeout) as error:
            raise Finding(self.done, f"{type(error).__name__}: {error}") from error
        except KeyboardInterrupt:
            self.rig.array = None       # the player may be in the middle of an answer
            raise
        finally:
            if self.rig.vm.usable():
                self.rig.destroy()
        return self.done

    def step(self, operation):
        name, *numbers = operation
        self.done.append(operation)
        self.exact = False
        if name == "create":
            self.create(*numbers)
        else:
            self.model.begin()
            if OPERATIONS[name](self, *numbers) is False:
                self.done.pop()
                return
        self.look()

    def create(self, level, clean):
        self.model = Model(level, clean)
        self.rig.create(level, clean)

    # -- what operations need ----------------------------------------------------------------------

    def expect(self, true, text):
        if not true:
            raise Finding(self.done, text)

    def must(self, *request, answer=None):
        said, = self.rig.ask(request)
        self.expect(said == answer, f"{request[0]} gives {said!r}, not {answer!r}")

    def mdadm(self, *arguments, seconds=0):
        status, text = self.rig.mdadm(*arguments, seconds=seconds)
        self.expect(status == 0, f"mdadm {' '.join(map(str, arguments))}: {text}")

    def must_store(self, *request, answer=None):
        """As must(), of what makes bytes on disk durable before it is over: they are looked at
        before anything else is done."""
        self.must(*request, answer=answer)
        found = list(late(self.model, [self.rig.head(disk) for disk in self.model.roles.values()]))
        self.expect(not found, "\n".join(found[:5]))

    def add_new(self, disk):
        """Whatever was on it."""
        self.rig.mdadm("--zero-superblock", self.rig.device(disk))
        self.mdadm("/dev/md0", "--add", self.rig.device(disk), seconds=SETTLE)

    def stop(self):
        """Stops the array. What is on disk then is what the specification says of a stop."""
        self.model.stop()
        status, text = self.rig.stop()
        self.expect(status == 0, f"mdadm --stop: {text}")
        found = self.bytes_on_disks()
        for disk, states in found.items():
            wrong = self.model.wrong_states(states)
            self.expect(not wrong, f"on disk {disk} after the stop: {told(wrong)}")
        self.model.allowed = [set(states) for states in zip(*found.values())]

    def assemble(self, look=0, force=False):
        """look: before any resync. Read-only, an array shows what it loaded, and writes nothing."""
        model = self.model
        before = self.rig.freeze_disks() if look else None
        options = ["--readonly"] * look + ["--force"] * force
        status, text = self.rig.assemble(model.present, *options)
        self.expect(status == 0, f"mdadm --assemble: {text}")
        model.load()
        if look:
            wrong = model.wrong_states(self.rig.states())
            self.expect(not wrong, f"as it was loaded, {told(wrong)}")
            after = self.rig.freeze_disks()
            changed = [disk for disk in model.present if before[disk] != after[disk]]
            # mdadm raises event counts when it is forced to
            self.expect(force or not changed, f"a read-only load writes to disks {changed}")
        self.rig.read_write()

    def lose_power(self, how, torn=0, look=0):
        """Which bytes the members have then is judged as it is at any time, and loaded. torn: the
        number of the place where a write was cut in the middle; 0: none."""
        model = self.model
        how()
        found = self.bytes_on_disks()
        for disk, states in found.items():
            for chunk, byte in enumerate(states):
                self.expect(not model.too_clean(chunk, byte), f"chunk {chunk} was "
                            f"{STATES[model.states[chunk]]}, but {STATES[byte]} on disk {disk}")
        model.allowed = [set(states) for states in zip(*found.values())]
        places = model.may_be_torn() if torn else []
        if places:
            role, sector = places[(torn - 1) % len(places)]
            self.rig.tear(model.roles[role], sector)
        self.assemble(look, force=model.shape.parity and model.degraded > 0)

    def bytes_on_disks(self):
        """Of the in-sync members, which a load may read. A bitmap may cover more than the array."""
        found = {disk: self.rig.image(disk).bitmap().states()[:self.model.shape.chunks]
                 for disk in self.model.roles.values()}
        for disk, states in found.items():
            self.expect(max(states) < len(STATES), f"bytes that are no states on disk {disk}")
        return found

    # -- after each operation ----------------------------------------------------------------------

    def settling(self):
        """The request that waits for the syncs that are due; True is the answer to it."""
        model = self.model
        if model.frozen or model.held:
            return ["sleep", 0.4 if model.held or model.syncing else 0.05]
        if not model.may_sync():
            return ["sleep", 0]
        return ["settle", SETTLE * self.scale, model.due_members(), model.sync_is_due()]

    def look(self):
        model = self.model
        ranges = model.contents.runs()
        (settled, sums), sight = self.rig.look(self.settling(), ["checksums", ranges])
        self.expect(settled is not False, f"{len(sight.roles)} of {model.due_members()} members "
                    f"are in-sync, sync_action is {sight.action}, states "
                    f"{runs(STATES[state] for state in sight.states)}")
        model.expect_syncs(sight.action)
        wrong = model.wrong_states(sight.states)
        self.expect(not wrong, told(wrong))
        self.expect(sight.sectors == model.shape.sectors, f"the array has {sight.sectors} sectors")
        members = model.due_members()
        self.expect(members in (None, len(sight.roles)),
                    f"{sight.roles} are in-sync, and {members} members have to be")
        strange = set(sight.roles.values()) - set(model.present)
        self.expect(not strange, f"disks {strange} are in-sync")
        self.expect(sight.degraded == model.shape.disks - len(sight.roles),
                    f"degraded is {sight.degraded} with members {sight.roles}")
        self.expect(sight.settings == model.settings, f"settings are {sight.settings}")
        model.saw(sight.states, sight.roles, sight.action)
        for (first, count), found in zip(ranges, sums):
            self.expect(found == zlib.crc32(model.contents.expected(first, count)),
                        f"the array does not give what was written to {count} sectors from {first}")
        self.compare()

    def compare(self):
        """The members with the model. What md may just be writing is looked at again; what had to be
        there before the operation was over is not."""
        model = self.model
        for _ in range(AGAIN):
            images = [self.rig.image(disk) for disk in model.roles.values()]
            found = list(late(model, images))
            if found:
                break
            found = complaints(model, images, self.exact)
            if not found:
                return
            time.sleep(0.2 * self.scale)
        self.expect(False, "\n".join(found[:5]))

    def end(self):
        """At the end of a script: a stop, and what the kernel has to say."""
        trouble = self.rig.trouble()
        self.expect(not trouble, f"the kernel log: {trouble}")
