# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: options, help, exit statuses, errors, colour."""
import json
import os
import pathlib
import pty
import re
import subprocess
import tempfile

import pytest

from conftest import BUILD, TOP

MAN = BUILD / "llbitmapctl.8"
COMMON = {"--json", "--no-colour", "--help"}
VIEWS = ("audit", "trace", "top", "hist")
PASS = "load chunks=10\ntransition from=None action=Init to=Unwritten count=10\n"


def commands(tool):
    return re.findall(r"^  (\w+) +\S", tool("help").out, re.M)


def options_of_help(text):
    return set(re.findall(r"^ +(?:-\w, )? *(--[a-z-]+)", text.split("Options:")[1], re.M))


def one_line(result, status):
    assert result.status == status
    assert result.out == ""
    assert result.err.startswith("llbitmapctl: ") and result.err.count("\n") == 1, result.err


def test_help_lists_commands(tool):
    assert {"audit", "replay", "table"} <= set(commands(tool))
    assert tool("--help").out == tool("-h").out == tool("help").out


def test_every_command_has_help(tool):
    for command in commands(tool):
        result = tool(command, "--help")
        assert (result.status, result.err) == (0, "")
        assert result.out.startswith(f"usage: llbitmapctl {command}")
        assert COMMON <= options_of_help(result.out)
        assert tool("help", command).out == result.out


def test_help_stands_alone(tool):
    """What a word in it means is said in it, from the tables that the tool goes by."""
    for command in commands(tool):
        text = tool(command, "--help").out
        told = "\nARRAY is /dev/mdX, mdX, a name below /dev/md/, or a UUID" in text
        assert told == ("ARRAY" in text.split("Options:")[1].split("\n\n")[0]), command
    text, table = tool("trace", "--help").out, tool("table", "--json").json
    for what, names in (("STATE", table["states"]), ("ACTION", table["actions"])):
        listed = re.search(rf"^{what} is (.*)\.$", text, re.M)[1]
        assert re.split(", | or ", listed) == names
    listed = re.search(r"^EVENT is (.*)\.$", text, re.M)[1]
    assert listed == re.search(r"takes (.*), not", tool("trace", "-t", "loss").err)[1]
    text = tool("help").out
    for words in ("llbitmapctl help COMMAND", "--version", "llbitmapctl(8)", "Exit status:"):
        assert words in text
    section = man_text().split(".SH EXIT STATUS")[1].split(".SH ")[0]
    assert re.findall(r"^ (\d)  \w", text, re.M) == re.findall(r"^\.B (\d)$", section, re.M)


def test_version(tool):
    assert re.fullmatch(r"llbitmapctl \S+\n", tool("--version").out)


@pytest.mark.parametrize("args", [
    [], ["nonsense"], ["repl"], ["help", "nonsense"], ["replay"], ["replay", "--nonsense", "x"],
    ["replay", "-z", "x"], ["replay", "--as"], ["replay", "--as", "film", "x"],
    ["replay", "--as", "trace", "-n", "0", "x"], ["replay", "--as", "trace", "-n", "-1", "x"],
    ["replay", "--as", "trace", "-n", "1x", "x"],
    ["replay", "--as", "trace", "-n", "99999999999999999999", "x"],
    ["replay", "-n", "5", "x"], ["replay", "-T", "x"], ["replay", "--as", "top", "--time", "x"],
    ["replay", "-a", "trace", "x"], ["replay", "--lines", "5", "x"], ["table", "extra"], ["table", "--dot", "--markdown"],
    ["audit", "--"], ["hist", "-d", "1", "--"], ["record", "-o", "x", "--"], ["audit", "x", "--"],
    ["audit", "x", "--", "true"], ["audit", "--json=1"], ["audit", "-d", "0"], ["audit", "-d", "nan"],
    ["audit", "-d", "1e9"], ["audit", "--arrays", "0"], ["audit", "--arrays", "129"],
    *([command, "--arrays", "129"] for command in ("top", "trace", "hist", "record")), ["top", "-i", "0"], ["top", "-s", "colour"], ["record"],
    ["record", "-o", "x", "y"], ["trace", "-s", "none"], ["trace", "-s", "grey"], ["trace", "-A", "9"],
    ["audit", "-a", "md0", "x"], ["audit", "--arrays", "3", "x"], ["audit", "-d", "3", "x"],
    ["trace", "-t", "loss"], ["trace", "-c", "5-3"], ["trace", "-c", "-3"], ["trace", "-c", "3-"],
    ["trace", "--sectors", "5"], ["trace", "-c", "1", "--sectors", "5"], ["trace", "-p", ""],
    ["trace", "-p", "longer-than-any-name"], ["trace", "-n", "0x10"], ["replay", "-n", "0x1", "x"],
    *(["trace", "-p", pid] for pid in ("0", "-5", "+5", "4194305", "4294967297", "9" * 30)), ["trace", "-n", "0"], ["doctor", "x"],
])
def test_bad_usage(tool, args):
    one_line(tool(*args), 2)


def test_what_is_taken_is_said(tool):
    """Not only that it is wrong."""
    for args, words in ((["trace", "-s", "grey"], "Unwritten, Clean, Dirty, NeedSync or Syncing"),
                        (["trace", "-t", "loss"], "transition, snapshot, load"),
                        (["top", "-s", "colour"], "name, transitions, dirty or writes"),
                        (["audit", "--arrays", "0"], "from 1 to 128"),
                        (["trace", "-c", "x"], "--chunks takes FIRST[-LAST], such as 5 or 100-199, not 'x'"),
                        (["trace", "--sectors", "x", "md0"], "--sectors takes FIRST[-LAST], such as"),
                        (["audit", "--json=1"], "--json takes no argument")):
        assert words in tool(*args).err


@pytest.mark.parametrize("command", ["status", "top -b", "trace", "hist", "audit -d 1",
                                     "record -o /dev/null"])
def test_every_command_on_arrays_takes_array(tool, command):
    for option in (["-a", "no-such"], ["--array=no-such"], ["-ano-such"]):
        result = tool(*command.split(), *option)
        one_line(result, 4)
        assert "no array 'no-such'" in result.err


def test_what_cannot_be_recorded_changes_nothing(tool, record):
    path = record(PASS)
    path.chmod(0o640)
    before = path.read_bytes()
    # a file that just has such a name, or is of another recorder
    other = path.with_name(path.name + ".new")
    other.write_text("mine")
    for target in (path, path.parent / "new"):
        one_line(tool("record", "-o", target, "-a", "no-such"), 4)
    assert (path.read_bytes(), set(path.parent.iterdir())) == (before, {path, other})
    assert other.read_text() == "mine"
    one_line(tool("record", "-o", path.parent, "-d", "1"), 5)
    one_line(tool("record", "-o", path.parent / "absent" / "new", "-d", "1"), 5)


def test_record_to_standard_output(tool, tmp_path):
    """Not a file of that name, and no text."""
    one_line(tool("record", "-o", "-", "-a", "no-such", cwd=tmp_path), 4)
    assert list(tmp_path.iterdir()) == []
    master, slave = pty.openpty()
    done = subprocess.run([tool.path, "record", "-o", "-", "-a", "no-such"], stdout=slave,
                          stderr=subprocess.PIPE, text=True, check=False)
    os.close(slave)
    os.close(master)
    assert (done.returncode, "not for a terminal" in done.stderr) == (2, True), done.stderr


def test_arrays_by_option_and_by_argument(tool):
    for args in (["second", "-a", "first"], ["-a", "first", "--", "second"], ["-afirst", "second"]):
        assert "no array 'first'" in tool("status", *args).err
    assert "64 times at most" in tool("status", *["-a", "x"] * 65).err
    many = tool("status", *["-a", "x"] * 64, *["y"] * 100)
    assert many.status == 4 and "no array 'x'" in many.err


@pytest.mark.parametrize("array", ["md0", "/dev/md0", "/dev/md/home"])
@pytest.mark.parametrize("command", ["audit", "replay"])
def test_array_for_a_recording(tool, command, array):
    result = tool(command, array)
    one_line(result, 5)
    assert f"`llbitmapctl audit --array {array}`" in result.err


def test_every_tracepoint_is_a_type(tool):
    source = "".join(path.read_text(encoding="utf-8")
                     for path in (TOP / "kernel-patch").glob("*tracepoints.patch"))
    raised = re.findall(r"TRACE_EVENT\(llbitmap_(\w+),", source)
    assert "transition" in raised and "resize" in raised
    for name in raised:
        one_line(tool("trace", "-t", name, "no-such-array"), 4)
    listed = re.search(r"takes (.*), not", tool("trace", "-t", "loss").err)[1]
    assert set(re.split(", | or ", listed)) == set(raised)


def test_every_command_refuses_unknown_options(tool):
    for command in commands(tool):
        one_line(tool(command, "--no-such-option"), 2)


def test_errors_are_json_too(tool, tmp_path):
    for args, status in ((["replay", "--json", tmp_path / "absent"], 5),
                         (["replay", "--json", "--nonsense"], 2), (["nonsense", "--json"], 2)):
        result = tool(*args)
        assert result.status == status
        assert result.json["schema"] == "llbitmapctl.error/1"
        assert result.json["exit"] == status
        assert result.err == f"llbitmapctl: {result.json['error']}\n"


def test_options_before_the_command(tool):
    """Bad usage, of no command; the line says where they go."""
    result = tool("--json", "replay", "x")
    assert (result.status, result.json["exit"], result.json["command"]) == (2, 2, None)
    assert "llbitmapctl COMMAND --json" in result.err
    assert tool("nonsense", "--json").json["command"] is None


def test_out_of_memory_is_the_environments_fault(tool, record):
    """Said, and with one status, wherever it runs out."""
    path, said = record(PASS), 0
    for kib in range(4_000, 60_000, 250):
        done = subprocess.run(["bash", "-c", f"ulimit -v {kib}; exec {tool.path} replay {path}"],
                              capture_output=True, text=True, check=False)
        if not done.returncode:
            break
        if done.returncode != 127:      # that is the loader's, of the libraries
            assert done.returncode == 4 and "out of memory" in done.stderr, (kib, done)
            said += 1
    assert said and not done.returncode


def test_numbers_are_decimal(tool, record):
    path = record(PASS + "barrier ns=1\n" * 20)
    assert tool("replay", "--as", "trace", "-n", "010", path).out.count("\n") == 10


@pytest.mark.parametrize("process", ["1", "4194304", "dd", "7zip"])
def test_processes(tool, process):
    one_line(tool("trace", "-p", process, "no-such-array"), 4)


def test_line_breaks_in_names_do_not_break_the_line(tool, tmp_path):
    one_line(tool("replay", tmp_path / "a\nb"), 5)


def test_worst_of_several_files(tool, record):
    good = record(PASS, "good")
    lossy = record(PASS + "loss count=1\n", "lossy")
    wrong = record(PASS + "transition from=Clean to=Dirty\n", "wrong")
    absent = good.parent / "absent"
    assert tool("replay", good, good).status == 0
    assert tool("replay", good, lossy).status == 3
    assert tool("replay", wrong, lossy, good).status == 1
    assert tool("replay", wrong, absent, lossy).status == 5
    reports = tool("replay", "--json", good, wrong).documents
    assert [r["verdict"] for r in reports] == ["pass", "fail"]


def test_audit_of_files_is_the_same(tool, record):
    path = record(PASS)
    assert tool("audit", path).out == tool("replay", path).out
    assert tool("audit", "--json", path).json["schema"] == "llbitmapctl.audit/1"


def in_terminal(tool, args, env):
    """Output of the tool when it writes to a terminal."""
    master, slave = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    subprocess.run([tool.path, *map(str, args)], stdout=slave, env={**clean, **env}, timeout=30)
    os.close(slave)
    out = b""
    try:
        while chunk := os.read(master, 65536):
            out += chunk
    except OSError:
        pass
    os.close(master)
    return out


def test_colour_only_on_a_terminal(tool, record):
    path = record(PASS)
    args = ["replay", path]
    assert "\033" not in tool(*args).out
    assert b"\033[32mpass" in in_terminal(tool, args, {"TERM": "xterm"})
    assert b"\033" not in in_terminal(tool, args, {"TERM": "xterm", "NO_COLOR": "1"})
    assert b"\033" in in_terminal(tool, args, {"TERM": "xterm", "NO_COLOR": ""})
    assert b"\033" not in in_terminal(tool, args, {"TERM": "dumb"})
    assert b"\033" not in in_terminal(tool, ["replay", "--json", path], {"TERM": "xterm"})
    for args in (["replay", path], ["replay", "--as", "top", path], ["table"], ["doctor"]):
        assert b"\033" in in_terminal(tool, args, {"TERM": "xterm"}), args
        plain = in_terminal(tool, [*args, "--no-colour"], {"TERM": "xterm"})
        assert plain and b"\033" not in plain, args


@pytest.mark.parametrize("output, why", [(">/dev/full", "No space left on device"),
                                         (">&-", "Bad file descriptor")])
@pytest.mark.parametrize("args", [*(f"replay --as {how} FILE" for how in VIEWS),
                                  *(f"replay --json --as {how} FILE" for how in VIEWS),
                                  "audit FILE", "table", "help", "replay --help"])
def test_output_that_cannot_be_written(tool, record, args, output, why):
    """Said once, and nothing else: the recording is whole."""
    path = record(PASS + "barrier ns=1\n" * 1000)
    done = subprocess.run(["sh", "-c", f"exec {tool.path} {args.replace('FILE', str(path))} {output}"],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        5, "", f"llbitmapctl: cannot write the output: {why}\n")


def test_doctor_advises_what_can_be_done(tool):
    """Our modules are for one version of Linux; on another they cannot be installed."""
    done = subprocess.run(["setarch", "--uname-2.6", tool.path, "doctor", "--json"], capture_output=True,
                          text=True, check=False)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["kernel"]["found"].startswith("2.6.") and findings["kernel"]["grade"] == "missing"
    assert findings["kernel"]["advice"] == "the tool needs Linux 6.12 or newer, our md modules 6.12: boot one"
    if findings["BTF"]["grade"] != "ok":
        pytest.skip("a kernel without BTF")
    if findings["tracepoints"]["grade"] == "ok":
        pytest.skip("a kernel with our tracepoints")
    assert findings["tracepoints"]["advice"] == "our md modules are for Linux 6.12: boot one, with them"


def test_closed_pipe_is_quiet(tool, record):
    path = record(PASS + "barrier ns=1\n" * 100000)
    done = subprocess.run(["bash", "-c", f"{tool.path} replay --as trace {path} | head -n 2"],
                          capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 2


def test_works_without_root(record, tool):
    """replay and table need no privilege: run them with every capability dropped."""
    path = record(PASS)
    os.chmod(path, 0o644)
    for parent in path.parents:
        if parent == pathlib.Path(tempfile.gettempdir()):
            break
        os.chmod(parent, 0o755)
    if os.geteuid():
        pytest.skip("not root anyway: all other tests show it")
    for args in (["replay", path], ["table"]):
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "--bounding-set=-all", tool.path, *args], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr


# ---- the man page says what the tool does ----

def man_text():
    text = MAN.read_text()
    return text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")


def test_man_page_lists_the_commands(tool):
    listed = re.findall(r"^\.SS (\w+)", man_text(), re.M)
    assert listed == commands(tool)


def test_man_page_lists_the_options(tool):
    sections = re.split(r"^\.S[SH] ", man_text(), flags=re.M)
    for command in commands(tool):
        section, = [s for s in sections if s.split()[0] == command]
        listed = set(re.findall(r"(?<![\w-])(--[a-z-]+)", section))
        own = options_of_help(tool(command, "--help").out) - COMMON
        assert own <= listed, command
        assert listed <= own | COMMON, command


def man_documents():
    """{name: what the man page says of its document}"""
    section = man_text().split(".SH JSON DOCUMENTS")[1].split(".SH ")[0]
    return dict(re.findall(r"^\.TP\n\.B (\w+)\n((?:[^.].*\n)+)", section, re.M))


def test_man_page_describes_the_documents(tool, record):
    """Every command, and nothing that is not there in those that need no kernel."""
    about = man_documents()
    assert set(about) == {*commands(tool), "error"}
    path = record("meta clock_offset_ns 1\nmeta kernel 6\n" + PASS +
                  "transition from=Clean to=Dirty stack=1\nsnapshot count=10 state=Clean marks=3\nbarrier ns=5\n")
    for args in (["audit", path], ["table"], ["replay", "--as", "hist", path], ["replay", "absent"],
                 ["replay", "--as", "top", path]):
        text = json.dumps(tool(*args, "--json").json)
        name = "replay" if "top" in args else args[0] if args != ["replay", "absent"] else "error"
        name = "hist" if "hist" in args else name
        for member in re.findall(r'"(\w+)"', about[name]):
            assert f'"{member}":' in text or member in MORE, (name, member)


# in other documents of the command
MORE = {"repeated", "kernel_table", "differences", "what", "here", "kernel", "equal", "view", "state"}
SOURCES = {"status": "cmd_status", "top": "cmd_top", "trace": "output/events", "hist": "output/hist",
           "audit": "output/audit", "record": "cmd_record", "replay": "output/activity",
           "table": "output/table cmd_table", "doctor": "cmd_doctor"}
PARTS = {"geometry": {"level", "members", "chunks", "chunk_bytes"}, "flags": {"flags"}}


@pytest.mark.parametrize("name", SOURCES)
def test_man_page_has_every_member(name):
    """Whatever the source prints, and nothing else."""
    text = "".join((TOP / "tools/llbitmapctl" / f"{source}.c").read_text(encoding="utf-8")
                   for source in SOURCES[name].split())
    printed = set(re.findall(r'\bjson_(?:set|flags)\(out, "(\w+)"|$', text) +
                  re.findall(r'llb_json_\w+\((?:d->)?out, "(\w+)"', text)) - {""}
    for part, members in PARTS.items():
        printed |= members if f"llb_json_{part}(" in text else set()
    assert set(re.findall(r'"(\w+)"', man_documents()[name])) - {"view"} == printed


def test_man_page_has_examples(tool):
    """With commands and options that there are."""
    section = man_text().split(".SH EXAMPLES")[1].split(".SH ")[0]
    lines = re.findall(r"^\.B llbitmapctl (\w+)(.*)", section, re.M)
    assert len(lines) > 5 and {command for command, _ in lines} <= set(commands(tool))
    for command, rest in lines:
        mine = re.split(r" -- | \| ", rest)[0]
        known = tool(command, "--help").out
        for option in re.findall(r" (--?[A-Za-z-]+)", mine):
            assert re.search(rf"{option}[ ,]", known), (command, option)


def test_man_page_is_valid():
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MAN],
                          capture_output=True, text=True)
    if done.returncode == 127:
        pytest.skip("no man")
    assert done.stderr == ""


def test_doctor_tells_the_memory_that_a_session_takes(tool):
    """Most of it is for each array, and hist keeps as much again."""
    memory, = [f["found"] for f in tool("doctor", "--json").json["findings"] if f["what"] == "memory"]
    audit, record, hist = map(int, re.search(
        r"for 16 arrays audit takes (\d+) MiB, record (\d+), hist (\d+);", memory).groups())
    assert 16 < audit < record < audit + 17 and audit + 15 <= hist < 2 * audit


@pytest.mark.parametrize("available, grade", [(900, "ok"), (30, "note"), (1, "missing")])
def test_doctor_compares_with_the_memory_that_is_there(tool, tmp_path, available, grade):
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {available * 1024} kB\n")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", f"mount --bind {tmp_path}/meminfo /proc/meminfo"
                           f" && exec {tool.path} doctor --json"], capture_output=True, text=True)
    if not done.stdout:
        pytest.skip(f"no namespaces here: {done.stderr}")
    memory, = [f for f in json.loads(done.stdout)["findings"] if f["what"] == "memory"]
    assert (memory["grade"], "--arrays" in memory.get("advice", "")) == (grade, grade != "ok")
    assert memory["found"].endswith(f"; {available} MiB are available")


def test_doctor_says_of_the_programs_what_it_could_not_try(tool):
    found = {f["what"]: f for f in tool("doctor", "--json").json["findings"]}
    if found["privileges"]["grade"] != "ok" or found["tracepoints"]["grade"] == "ok":
        pytest.skip("only for root without the tracepoints")
    assert found["programs"]["grade"] == "note" and "no tracepoints" in found["programs"]["found"]
