# SPDX-License-Identifier: GPL-2.0-or-later
"""What proofs that take hours have in common: a seed that says what is done, a file that keeps what
was done, and an end by Ctrl-C or SIGTERM after which the same command goes on."""
import dataclasses
import json
import pathlib
import random
import signal


def keep(path, document):
    """Puts it there as JSON, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
    new.replace(path)


@dataclasses.dataclass
class Rounds:
    """What was done with a seed: a dict for each piece of work. Without path it is not kept."""
    path: pathlib.Path | None
    seed: int
    done: list = dataclasses.field(default_factory=list)
    key: str = ""

    @classmethod
    def load(cls, path, seed=None, over=lambda rounds: False, key=""):
        """Those begun with this seed (with any, if None), unless they are over; or none yet.

        key: of what is looked at, modules for example; what was done on another does not count
        """
        if path and path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            rounds = cls(path, old["seed"], old["done"], old.get("key", ""))
            if seed in (None, rounds.seed) and rounds.key == key and not over(rounds):
                return rounds
        return cls(path, random.randrange(1 << 30) if seed is None else seed, key=key)

    def add(self, **one):
        self.done.append(one)
        if self.path:
            keep(self.path, {"seed": self.seed, "key": self.key, "done": self.done})

    def sum(self, field, **where):
        """Of a field, over those that have these values in others."""
        return sum(one[field] for one in self.done if where.items() <= one.items())

    def next_seed(self, number):
        """The seed of a round, the same each time for the same number."""
        return random.Random(f"{self.seed} {number}").randrange(1 << 30)


def interruptible(work):
    """The exit status that work() gives; 130 if it was told to stop."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130
