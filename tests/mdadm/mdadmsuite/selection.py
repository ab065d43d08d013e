# SPDX-License-Identifier: GPL-2.0-or-later
"""Which scripts of the suite make a redundant array with 1.2 metadata, from their text.

A script is shell, and its options may stand in variables: those are replaced by all values that
the script (and what it sources) gives them in a loop or an assignment. Where that tells nothing,
the script is taken.
"""
import dataclasses
import re

REDUNDANT = {"1", "raid1", "mirror", "4", "raid4", "5", "raid5", "6", "raid6", "10", "raid10"}
METADATA = {"1", "1.2", "default"}      # names of the one that such a bitmap needs
EXTERNAL = {"ddf", "imsm"}

CREATE = re.compile(r"\bmdadm\b(?P<options>.*\s(-[A-Za-z]*C[A-Za-z]*|--create)\s.*)")
LEVEL = re.compile(r"\s(?:-l\s*|--level[= ]\s*)(\S+)")
VERSION = re.compile(r"\s(?:-e\s*|--metadata[= ]\s*)(\S+)")
SOURCED = re.compile(r"^\s*(?:\.|source)\s+(tests/\S+)", re.MULTILINE)
LOOP = re.compile(r"\bfor\s+(\w+)\s+in\s+([^;\n]+)")
ASSIGNMENT = re.compile(r"(?:^|[\s;])(\w+)\+?=(\([^)]*\)|\"[^\"\n]*\"|'[^'\n]*'|[^\s;]*)")
VARIABLE = re.compile(r"\$\{?(\w+)[^}\s]*\}?")
DEPTH = 4                               # of variables that stand for variables


@dataclasses.dataclass(frozen=True)
class Create:
    """One command that makes an array: what its level and metadata may be; None: not known."""
    levels: frozenset | None
    metadata: frozenset | None          # {"default"}: not said

    def redundant(self):
        return self.levels is None or bool(self.levels & REDUNDANT)

    def fits(self):
        return self.redundant() and (self.metadata is None or bool(self.metadata & METADATA))


def _values(text):
    """{variable: texts that it is given anywhere}"""
    found = {}
    for pattern in (LOOP, ASSIGNMENT):
        for name, value in pattern.findall(text):
            found.setdefault(name, set()).update(value.strip("()\"'").split())
    return found


def _resolve(word, values, depth=DEPTH):
    """The plain words that this one may stand for; None if that cannot be told."""
    word = word.strip("\"'")
    match = VARIABLE.search(word)
    if not match:
        return frozenset([word])
    if match[1] not in values or depth == 0:
        return None
    words = set()
    for value in values[match[1]]:
        inner = _resolve(value, values, depth - 1)
        if inner is None:
            return None
        words |= inner
    return frozenset(words)


def creates(text):
    """The Create of each command in a script's text, with what it sources."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
    values = _values(text)
    found = []
    for match in CREATE.finditer(text):
        options = match["options"] + " "
        level, version = LEVEL.search(options), VERSION.search(options)
        found.append(Create(_resolve(level[1], values) if level else frozenset(),
                            _resolve(version[1], values) if version else frozenset(["default"])))
    return found


def why_not(text):
    """Why the script is left out; "" if it is taken."""
    found = creates(text)
    if not found:
        return "makes no array with --create"
    if any(one.metadata and one.metadata & EXTERNAL for one in found):
        # then an array without --metadata is one inside of such a container
        found = [one for one in found if one.metadata != {"default"}]
        if not any(one.fits() for one in found):
            return "arrays in DDF or IMSM containers only"
    if not any(one.redundant() for one in found):
        return "no redundant array"
    if not any(one.fits() for one in found):
        others = {name for one in found if one.redundant() for name in one.metadata}
        return f"redundant arrays with metadata {', '.join(sorted(others))} only"
    return ""


def with_sources(suite, path):
    """The script's text, and before it that of the files that it sources."""
    text = path.read_text(errors="replace")
    sourced = [with_sources(suite, suite / name) for name in SOURCED.findall(text)
               if (suite / name).is_file()]
    return "\n".join([*sourced, text])


def scripts(suite):
    """{name: "" or why it is left out} of a suite's directory, in the suite's order."""
    paths = [path for path in sorted((suite / "tests").iterdir())
             if re.match(r"\d\d", path.name) and path.suffix not in (".broken", ".inject_error")]
    return {path.name: why_not(with_sources(suite, path)) for path in paths}


def seconds_of_long_ones(suite):
    """{name: seconds} as the suite's own list of slow scripts has it."""
    text = (suite / "tests" / "skiptests").read_text(encoding="ascii")
    return {name: int(seconds) for name, seconds in re.findall(r"^(\d\d\S+):(\d+)", text, re.M)}
