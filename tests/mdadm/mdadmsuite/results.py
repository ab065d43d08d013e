# SPDX-License-Identifier: GPL-2.0-or-later
"""What came out, compared with stock modules, and the explanations of the differences."""
import dataclasses
import json
import pathlib
import re

from vmtest.campaign import keep

MARKS = {"*": "waited for a sync that had nothing to do", "+": "mdadm refused or failed more",
         "~": "failed in another way", "!": "trouble in the kernel log", "!~": "other trouble",
         "0": "no array had a lockless bitmap"}
COMPARED = ("ours", "lockless")


@dataclasses.dataclass
class Results:
    """{script: {run: record}}, in a file after each. A record whose `key` (suite, kernel, modules)
    is another one's does not count."""
    path: pathlib.Path
    keys: dict
    records: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, path, keys):
        records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for runs in records.values():
            for run in [run for run, one in runs.items() if one["key"] != keys.get(run)]:
                del runs[run]
        return cls(path, keys, records)

    def get(self, script, run):
        return self.records.get(script, {}).get(run)

    def add(self, script, run, record):
        self.records.setdefault(script, {})[run] = record | {"key": self.keys[run]}
        keep(self.path, self.records)

    def forget(self, script, run):
        self.records.get(script, {}).pop(run, None)


def kind(trouble):
    """What it begins with, but for numbers and directories: they are others in other modules."""
    line = trouble.partition("\n")[0]
    return " ".join(re.sub(r"0x[0-9a-f]+|\d+|(?<= at )\S*/", "", line).split())


def label(record, stock=None):
    """`pass`, `fail`, ... with MARKS; some of them only in comparison with the stock record."""
    text = record["outcome"]
    if record["nothing_to_sync"]:
        text += "*"
    if stock and set(record["mdadm"]) - set(stock["mdadm"]):
        text += "+"
    if stock and record["outcome"] == stock["outcome"] and record["why"] != stock["why"]:
        text += "~"
    if record["trouble"]:
        text += "!"
        if stock and stock["trouble"] and kind(record["trouble"]) != kind(stock["trouble"]):
            text += "~"
    if record.get("made") == 0 and record["outcome"] != "skip":
        text += "0"
    return text


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One line of explained.tsv: why this run of the script gives this label instead of stock's.
    `evidence` is a regular expression for all that details() tell: under the same label a script
    can fail for quite another reason, and that one is not explained."""
    script: str
    run: str
    label: str
    reason: str
    evidence: str

    def fits(self, record, stock):
        return re.fullmatch(self.evidence, " | ".join(details(record, stock))) is not None


def read_explanations(path):
    """{(script, run, label): Explanation}; ValueError names a line that is none."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 5 or fields[1] not in COMPARED or not all(map(str.strip, fields)):
            raise ValueError(f"{path}:{number}: not SCRIPT, RUN, RESULT, REASON and EVIDENCE "
                             "with tabs")
        one = Explanation(*fields)
        try:
            anything = re.fullmatch(one.evidence, "anything | at all")
        except re.error as error:
            raise ValueError(f"{path}:{number}: {error}: {one.evidence}") from error
        if anything:
            raise ValueError(f"{path}:{number}: {one.evidence} takes anything for evidence")
        key = (one.script, one.run, one.label)
        if key in found:
            raise ValueError(f"{path}:{number}: {one.script} {one.run} {one.label} again")
        found[key] = one
    return found


def differences(results, scripts):
    """[(script, run, label)] where one of our runs did not do as the stock one."""
    found = []
    for script in scripts:
        stock = results.get(script, "stock")
        for run in COMPARED:
            record = results.get(script, run)
            if stock and record and label(record, stock) != label(stock):
                found.append((script, run, label(record, stock)))
    return found


def stale(results, scripts, explanations):
    """Explanations of (script, run) that are known, but whose difference did not occur."""
    there = set(differences(results, scripts))
    return [one for key, one in explanations.items()
            if key not in there and one.script in scripts and results.get(one.script, "stock")
            and results.get(one.script, one.run)]


def details(record, stock):
    """What a difference consists of, in lines."""
    if record["why"]:
        yield f"it said: {record['why']}"
    for command in sorted(set(record["mdadm"]) - set(stock["mdadm"])):
        yield f"failed: mdadm {command}"
    for command in sorted(set(stock["mdadm"]) - set(record["mdadm"])):
        yield f"failed on stock modules only: mdadm {command}"
    if record["nothing_to_sync"]:
        yield f"nothing to sync: {record['nothing_to_sync']}"
    yield from record["trouble"].splitlines()[:3]
    if stock["trouble"] and not record["trouble"]:
        yield f"on stock modules only: {stock['trouble'].splitlines()[0]}"


def report(results, scripts, explanations):
    """(lines of the table, how many differences have no explanation)"""
    width = max(map(len, scripts), default=0)
    lines = [f"{'script':{width}}  {'stock':10}{'ours':10}lockless"]
    there, unexplained = set(differences(results, scripts)), 0
    for script in scripts:
        stock = results.get(script, "stock")
        records = {run: results.get(script, run) for run in ("stock", *COMPARED)}
        texts = {run: label(one, stock if run != "stock" else None) if one else "-"
                 for run, one in records.items()}
        broken = "  (its authors say it is broken)" if any(
            one and one.get("known_broken") for one in records.values()) else ""
        lines.append(f"{script:{width}}  {texts['stock']:10}{texts['ours']:10}"
                     f"{texts['lockless']}{broken}".rstrip())
        for run in COMPARED:
            key = (script, run, texts[run])
            if key not in there:
                continue
            known = explanations.get(key)
            if known and known.fits(records[run], stock):
                lines.append(f"    {run}: {known.reason}")
                continue
            unexplained += 1
            lines.append(f"    {run}: NOT EXPLAINED" +
                         (f", for it is not {known.evidence}" if known else ""))
            lines += [f"      {line}" for line in details(records[run], stock)]
    lines += [f"{mark} {meaning}" for mark, meaning in MARKS.items()]
    lines += [f"stale explanation: {one.script} {one.run} {one.label}"
              for one in stale(results, scripts, explanations)]
    return lines, unexplained
