# SPDX-License-Identifier: GPL-2.0-or-later
"""The table and its rules against the specification, written down here once more."""
import itertools
import random
import subprocess

import pytest

from conftest import BUILD

# Section 1 of the specification, by hand.
SPEC = """
|           | Startwrite | Startsync | Endsync | Abortsync | Reload | Daemon | Discard | Stale |
| Unwritten | Dirty | - | - | - | - | - | - | - |
| Clean     | Dirty | - | - | - | - | - | Unwritten | NeedSync |
| Dirty     | - | - | - | - | NeedSync | Clean | Unwritten | NeedSync |
| NeedSync  | - | Syncing | - | - | - | - | Unwritten | - |
| Syncing   | - | Syncing | Dirty | NeedSync | NeedSync | - | Unwritten | NeedSync |
"""
CONTEXT_RULES = {
    "parity-first-write", "degraded-write", "degraded-sync", "degraded-keep", "resync-first",
    "stale-all", "bad-byte", "partial-discard", "whole-discard", "drained-clean",
    "check-is-blind", "init-clean",
}
STATES = ["Unwritten", "Clean", "Dirty", "NeedSync", "Syncing"]
ACTIONS = ["Startwrite", "Startsync", "Endsync", "Abortsync", "Reload", "Daemon", "Discard",
           "Stale", "Init"]
# what the verifier finds out by itself
MEASURED = ["page-open", "page-suspended", "unstored", "unflushed"]
FLAGS = ["degraded", "parity", "recovering", "drained", "flushed", "discard", "whole",
         "assume-clean", "bad-byte", "user", "durable", "synced", "copies", "check",
         "all-discarded", "sync-io", *MEASURED]


def parse_markdown(text):
    """Cells of the first Markdown table: (row, column) -> text."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in text.strip().split("\n\n")[0].splitlines() if "---" not in line]
    head = rows[0][1:]
    return {(row[0], column): cell for row in rows[1:] for column, cell in zip(head, row[1:])}


TABLE = parse_markdown(SPEC)


def test_markdown_is_the_specification(tool):
    result = tool("table", "--markdown")
    assert result.status == 0
    assert parse_markdown(result.out) == TABLE


def test_text_shows_the_same(tool):
    lines = tool("table").out.splitlines()
    head = lines[0].split()
    for line in lines[1:6]:
        state, *cells = line.split()
        assert {(state, a): c for a, c in zip(head, cells)} == \
            {key: cell for key, cell in TABLE.items() if key[0] == state}


def test_json_has_table_and_rules(tool):
    document = tool("table", "--json").json
    assert document["schema"] == "llbitmapctl.table/1"
    assert document["states"] == STATES
    assert document["actions"] == ACTIONS
    cells = {(t["from"], t["action"]): t["to"] for t in document["transitions"]}
    assert cells == {key: cell for key, cell in TABLE.items() if cell != "-"}
    names = [rule["name"] for rule in document["rules"]]
    assert len(names) == len(set(names))
    assert CONTEXT_RULES <= set(names)
    assert CONTEXT_RULES == CONTEXT_RULES & {case["rule"] for case in document["cases"]}
    named = {flag for case in document["cases"] for flag in case["flags_set"] + case["flags_clear"]}
    assert named <= set(FLAGS) and set(MEASURED) <= named


def test_dot_has_every_edge(tool):
    out = tool("table", "--dot").out
    assert out.startswith("digraph")
    for (state, action), to in TABLE.items():
        edge = f'{state} -> {to} [label="{action}"];'
        assert (edge in out) == (to != "-")
    assert 'Unwritten -> NeedSync [label="Stale\\nstale-all", style=dashed];' in out


# ---- the judgement of single transitions ----

def lawful(state, action, to, flags):
    """The specification's answer: may this happen? States are names, 'None' or numbers above 4."""
    if to not in STATES or to == state:
        return False
    if action == "Init":
        return state == "None" and to == ("Clean" if "assume-clean" in flags else "Unwritten")
    if state not in STATES:         # None is the byte 0xff
        return action in ("Reload", "Stale") and "bad-byte" in flags and to == "NeedSync"
    if action in ("Startsync", "Endsync", "Abortsync") and "check" in flags:
        return False
    if action == "Startsync":
        if "sync-io" not in flags:
            return False
        if state == "NeedSync" and {"recovering", "copies"} <= flags:
            return False
        if state == "Dirty":
            return "recovering" in flags and to == "Syncing"
    if action == "Endsync" and "synced" not in flags:
        return False
    if action == "Daemon" and ("degraded" in flags or not {"drained", "flushed"} <= flags):
        return False
    if action in ("Daemon", "Discard") and {"page-open", "unflushed", "unstored"} & flags:
        return False
    if action == "Startwrite" and "page-suspended" in flags and "user" not in flags:
        return False
    if action == "Discard" and ("degraded" in flags or not {
            "whole", "durable", "all-discarded", "drained", "flushed"} <= flags):
        return False
    if action == "Startwrite":
        if state == "Unwritten" and {"discard", "whole"} <= flags:
            return False
        if state == "Unwritten" and "parity" in flags:
            return to == "NeedSync"
        if state in ("Unwritten", "Clean") and "degraded" in flags:
            return to == "NeedSync"
    if action == "Stale" and "user" not in flags:
        return to == "NeedSync"
    return TABLE[state, action] == to


def judge(cases):
    """Rule that the tool names for each (state, action, to, flags), 'ok' for none."""
    lines = "".join(f"{state} {action} {to} {','.join(sorted(flags)) or '-'}\n"
                    for state, action, to, flags in cases)
    done = subprocess.run([BUILD / "llb-generate", "-j"], input=lines, text=True, check=True,
                          capture_output=True)
    verdicts = done.stdout.split()
    assert len(verdicts) == len(cases)
    return verdicts


def all_cases():
    chance = random.Random(5)
    for state, action, to in itertools.product(
            STATES + ["None", "5", "7", "200"], ACTIONS, STATES + ["None", "6"]):
        yield state, action, to, frozenset()
        yield state, action, to, frozenset(FLAGS)
        for flag in FLAGS:
            yield state, action, to, frozenset([flag])
            yield state, action, to, frozenset(FLAGS) - {flag}
        for _ in range(150):
            yield state, action, to, frozenset(f for f in FLAGS if chance.random() < 0.5)


def test_judgement_is_the_specification():
    cases = list(all_cases())
    wrong = [(case, verdict) for case, verdict in zip(cases, judge(cases))
             if (verdict == "ok") != lawful(*case)]
    assert not wrong[:10]
    assert sum(lawful(*case) for case in cases) > 1000


# all that a discard of a whole chunk needs
DISCARDED = {"whole", "durable", "all-discarded", "drained", "flushed"}


@pytest.mark.parametrize("rule, case", [
    ("table", ("Clean", "Endsync", "Dirty", {"synced"})),
    ("table", ("Unwritten", "Stale", "NeedSync", {"user"})),
    ("parity-first-write", ("Unwritten", "Startwrite", "Dirty", {"parity"})),
    ("degraded-write", ("Unwritten", "Startwrite", "Dirty", {"degraded"})),
    ("degraded-write", ("Clean", "Startwrite", "Dirty", {"degraded"})),
    ("degraded-sync", ("Dirty", "Startsync", "Syncing", {"sync-io"})),
    ("degraded-keep", ("Dirty", "Daemon", "Clean", {"degraded", "drained", "flushed"})),
    ("resync-first", ("NeedSync", "Startsync", "Syncing", {"recovering", "copies", "sync-io"})),
    ("stale-all", ("Unwritten", "Stale", "Dirty", set())),
    ("bad-byte", ("6", "Reload", "Clean", {"bad-byte"})),
    ("bad-byte", ("6", "Startwrite", "Dirty", set())),
    ("partial-discard", ("Dirty", "Discard", "Unwritten",
                         DISCARDED - {"whole"} | {"discard"})),
    ("whole-discard", ("Unwritten", "Startwrite", "Dirty", {"discard", "whole"})),
    *(("whole-discard", ("Dirty", "Discard", "Unwritten", DISCARDED - {without}))
      for without in ("durable", "all-discarded", "drained", "flushed")),
    ("whole-discard", ("Dirty", "Discard", "Unwritten", DISCARDED | {"degraded"})),
    ("drained-clean", ("Dirty", "Daemon", "Clean", {"flushed"})),
    ("drained-clean", ("Dirty", "Daemon", "Clean", {"drained"})),
    ("drained-clean", ("Dirty", "Daemon", "Clean", {"drained", "flushed", "page-open"})),
    ("drained-clean", ("Dirty", "Daemon", "Clean", {"drained", "flushed", "unflushed"})),
    ("durable-first", ("Dirty", "Daemon", "Clean", {"drained", "flushed", "unstored"})),
    ("suspended-page", ("Clean", "Startwrite", "Dirty", {"page-suspended"})),
    ("check-is-blind", ("NeedSync", "Startsync", "Syncing", {"check", "sync-io"})),
    ("check-is-blind", ("NeedSync", "Startsync", "Syncing", set())),
    ("init-clean", ("None", "Init", "Clean", set())),
    ("init-clean", ("None", "Init", "Unwritten", {"assume-clean"})),
    ("synced-to-end", ("Syncing", "Endsync", "Dirty", set())),
    ("change", ("Dirty", "Startwrite", "Dirty", set())),
])
def test_broken_rule_is_named(rule, case):
    assert judge([case]) == [rule]
    assert not lawful(case[0], case[1], case[2], frozenset(case[3]))


# ---- comparison with a kernel's table ----

def kernel_text(drop=(), change=()):
    lines = ["# state action next"]
    for (state, action), to in TABLE.items():
        lines.append(f"{state} {action} {dict(change).get((state, action), to)}")
    lines += [f"rule {rule}" for rule in sorted(CONTEXT_RULES) if rule not in drop]
    return "\n".join(lines) + "\n"


def test_compare_equal(tool, tmp_path):
    path = tmp_path / "table"
    path.write_text(kernel_text())
    result = tool("table", "--compare", path)
    assert (result.status, result.err) == (0, "")
    assert "equal" in result.out
    document = tool("table", "--compare", path, "--json").json
    assert document["equal"] is True and document["differences"] == []


def test_compare_names_differences(tool, tmp_path):
    path = tmp_path / "table"
    path.write_text(kernel_text(drop=["stale-all"], change={("Clean", "Reload"): "NeedSync"}.items()))
    document = tool("table", "--compare", path, "--json")
    assert document.status == 1
    assert {d["what"] for d in document.json["differences"]} == {"rule stale-all", "Clean Reload"}


@pytest.mark.parametrize("text", ["", "# no line\n", "Clean Startwrite\n", "Clean Startwrite Lost\n",
                                  "x" * 500, "Clean Startwrite Dirty\nClean Startwrite Dirty\n"])
def test_compare_refuses_nonsense(tool, tmp_path, text):
    path = tmp_path / "table"
    path.write_text(text)
    result = tool("table", "--compare", path)
    assert result.status == 5
    assert result.err.startswith("llbitmapctl: ") and result.err.count("\n") == 1


def test_compare_without_kernel(tool):
    result = tool("table", "--kernel")
    assert result.status in (0, 4), result.err
