# SPDX-License-Identifier: GPL-2.0-or-later
"""README says what the tool and the Makefile say."""
import html
import json
import re
import subprocess
import sys

from conftest import TOP

README = (TOP / "README.md").read_text(encoding="utf-8")


def test_transition_table_is_the_tools(tool):
    shown = re.search(r"<!-- table:begin .*?-->\n(.*?)<!-- table:end -->", README, re.DOTALL)
    assert shown.group(1) == tool("table", "--markdown").out


def test_operations_are_those_of_the_kernel():
    shown = re.search(r"<!-- operations:begin .*?-->\n(.*?)<!-- operations:end -->", README, re.DOTALL)
    made = subprocess.run([TOP / "kernel-patch/operations", "--markdown"], check=True,
                          capture_output=True, text=True)
    assert shown.group(1) == made.stdout


def operations():
    rows = [line.split("\t") for line in (TOP / "kernel-patch/operations.tsv").read_text(
        encoding="utf-8").splitlines() if not line.startswith("#")]
    assert rows and all(len(row) == 7 for row in rows)
    return rows


def test_operations_have_their_tests():
    assert {cell for row in operations() for cell in row[1:4]} == {"works", "refused", "-"}
    for row in operations():
        tests = row[6].split()
        assert tests, row[0]
        for test in tests:
            path, name = test.split("::")
            source = (TOP / "tests" / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", source, re.MULTILINE), test


def test_what_works_is_tested_on_that_level():
    """On one of the levels of each column, at least."""
    tests = sorted({test for row in operations() for test in row[6].split()})
    done = subprocess.run([sys.executable, TOP / "tests/unit/levels_shown.py", *tests],
                          cwd=TOP / "tests", check=True, capture_output=True, text=True)
    shown = json.loads(done.stdout.splitlines()[-1])
    for operation, *columns, _, _, tests in operations():
        levels = {level for test in tests.split() for level in shown[test]}
        for says, column in zip(columns, ({1}, {10}, {4, 5, 6}), strict=True):
            assert says != "works" or column & levels, f"{operation}: no test on any of {column}"


def test_what_is_refused_says_why_and_what_instead():
    for operation, *levels, why, instead, _ in operations():
        assert "refused" not in levels or why and instead, operation


def test_man_page_has_the_operations():
    """All of the row: what it says of each level, why, what instead, the tests."""
    text = subprocess.run([TOP / "kernel-patch/operations", "--man"], check=True, capture_output=True,
                          text=True).stdout.replace("\\-", "-").replace("\\:", "")
    table, _, notes = text.partition(".TE\n")
    notes = dict(re.findall(r"^\.TP\n\.B (.*)\n((?:(?!\.TP).*\n)+)", notes, re.MULTILINE))
    assert list(notes) == [row[0] for row in operations()]
    for operation, *levels, why, instead, tests in operations():
        assert "\t".join([operation, *levels]) + "\n" in table
        for wanted in (why, instead, *tests.split()):
            assert wanted in notes[operation], operation


def words(text):
    return " ".join(text.split())


def test_every_patch_is_explained():
    explained = words((TOP / "kernel-patch/README.md").read_text(encoding="utf-8"))
    for path in TOP.glob("kernel-patch/0*.patch"):
        title = words(re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)",
                                path.read_text(encoding="utf-8"), re.MULTILINE)[1])
        # with or without "md/llbitmap: ": one table is of nothing else
        assert re.search(rf"\*({re.escape(title)}|{re.escape(title.removeprefix('md/llbitmap: '))})[.*]",
                         explained), title


def test_where_things_are_refused():
    """The functions that the kernel side's README names for it are in the patches."""
    text = (TOP / "kernel-patch/README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)\(\)`", text.split("**What is refused**")[1].split("## ")[0])
    added = "".join(path.read_text(encoding="utf-8") for path in TOP.glob("kernel-patch/0*.patch"))
    assert len(named) > 5
    assert [name for name in named if not re.search(rf"^\+.*\b{name}\(", added, re.MULTILINE)] == []


def test_no_patch_is_named_by_its_number():
    """The next one put before it makes that another one."""
    for path in [*TOP.glob("*.md"), *TOP.glob("kernel-patch/*.md"), *TOP.glob("tests/**/*.md")]:
        assert not re.search(r"\b00\d\d\b(?!-\*)", path.read_text(encoding="utf-8")), path


def test_commands_are_the_tools(tool):
    section = README.split("## The commands")[1].split("## ")[0]
    named = set(re.findall(r"`([a-z]+)`", " ".join(
        line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))))
    offered = set(re.findall(r"^  ([a-z]+) {2,}", tool("help").out, re.MULTILINE))
    assert named == offered


def test_make_verbs_exist():
    makefiles = "".join(path.read_text(encoding="utf-8") for path in
                        [TOP / "Makefile", *TOP.glob("*/*.mk"), *TOP.glob("*/*/*.mk")])
    verbs = set(re.findall(r"`?make ([a-z][a-z-]*)\b", README)) - {"an"}
    assert verbs, "README names no verb"
    missing = {verb for verb in verbs
               if not re.search(rf"^{verb}( [a-z-]+)*:", makefiles, re.MULTILINE)}
    assert not missing


def test_every_section_of_make_help_has_verbs():
    shown = subprocess.run(["make", "-s", "-C", TOP, "help"], check=True, capture_output=True,
                           text=True).stdout
    sections = [part.splitlines() for part in shown.strip().split("\n\n")]
    assert len(sections) > 3
    assert [lines[0] for lines in sections if len(lines) < 2] == []
    # what they do begins in one column
    verbs = [line for lines in sections for line in lines[1:]]
    assert len({re.match(r"  \S+ +", line).end() for line in verbs}) == 1, verbs


def test_every_fragment_says_where_its_verbs_belong():
    """Else make help shows them below the heading of another file."""
    for path in [TOP / "Makefile", *TOP.glob("*/*.mk"), *TOP.glob("*/*/*.mk")]:
        marks = re.findall(r"^##@|^[a-z][a-z.-]*:.*## ", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not marks or marks[0] == "##@", path


def test_one_version_of_mdadm():
    """That is the first to create such arrays, wherever it is told."""
    told = {}
    for name in ("README.md", "kernel-patch/README.md", "tools/llbitmapctl/cmd_doctor.c",
                 "tests/vm/guest/packages"):
        told[name] = re.findall(r"(\d\.\d) (?:or newer|is the first)",
                                (TOP / name).read_text(encoding="utf-8"))
    for path in TOP.glob("kernel-patch/0*.patch"):
        added = re.findall(r"^\+(.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if found := re.findall(r"mdadm (\d\.\d)\s+(?:or|and)\s+later", "\n".join(added)):
            told[path.name] = found
    assert len(told) == 4 + 3, told
    assert {version for found in told.values() for version in found} == {"4.6"}, told
    assert all(told.values()), told


def test_one_newer_debian():
    """The guest's user space and make mdadm are from the same."""
    suites = [re.findall(r"^suite=(\w+)$", (TOP / name).read_text(encoding="utf-8"), re.MULTILINE)
              for name in ("tests/vm/guest-root", "kernel-patch/mdadm-source")]
    assert len(suites[0]) == 1 and suites[0] == suites[1], suites
    assert f"Debian {suites[0][0]}" in README


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (TOP / link).exists()] == []


def test_picture_is_of_this_tool():
    """`make pictures` takes it anew."""
    source = (TOP / "tools/llbitmapctl/top_screen.c").read_text(encoding="utf-8")
    foot, = re.findall(r'put\(LINES - 1, 0, "([^"]+)"', source)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (
        TOP / "tools/llbitmapctl/pictures/top.svg").read_text(encoding="utf-8"))
    shown = [html.unescape(text).replace("\N{NO-BREAK SPACE}", " ").strip() for text in texts]
    assert re.fullmatch(re.escape(foot).replace("%g", "[0-9.]+"), shown[-2]), shown[-2]
