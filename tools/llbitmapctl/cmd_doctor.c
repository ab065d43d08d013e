// SPDX-License-Identifier: GPL-2.0-or-later
/* doctor: what this kernel, tool and user can do, and what to do about the rest. */
#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include "command.h"
#include "live_frame.h"
#include "model/names.h"
#include "output/foreign.h"
#include "version.h"

enum grade { GOOD, REMARK, BAD };

struct doctor {
	struct llb_out *out;
	unsigned int bad;
	bool tracepoints; /* all are there */
};

/* One finding: what was looked at, how it is, and what to do about it ("" if nothing). */
static void __attribute__((format(printf, 5, 6)))
finding(struct doctor *d, enum grade grade, const char *what, const char *advice,
	const char *format, ...)
{
	static const char *const words[] = { "ok", "note", "missing" };
	static const enum llb_style styles[] = { LLB_GOOD, LLB_WARN, LLB_BAD };
	char text[512], name[LLB_NAME_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	d->bad += grade == BAD;
	if (d->out->json) {
		llb_json_object(d->out, NULL);
		llb_json_string(d->out, "what", what);
		llb_json_string(d->out, "grade", words[grade]);
		llb_json_string(d->out, "found", text);
		if (grade != GOOD && *advice)
			llb_json_string(d->out, "advice", advice);
		llb_json_close(d->out);
		return;
	}
	llb_styled(d->out, styles[grade], "%-8s", words[grade]);
	llb_text(d->out, "%-12s %s\n", llb_foreign(what, name, sizeof(name)),
		 llb_foreign(text, text, sizeof(text)));
	if (grade != GOOD && *advice)
		llb_text(d->out, "%20s -> %s\n", "", advice);
}

static void look_at_kernel(struct doctor *d)
{
	unsigned int major = 0, minor = 0;
	struct utsname uts;

	uname(&uts);
	sscanf(uts.release, "%u.%u", &major, &minor);
	finding(d, major > 6 || (major == 6 && minor >= 12) ? GOOD : BAD, "kernel",
		"the tool needs Linux 6.12 or newer, our md modules 6.12: boot one", "%s, tool %s",
		uts.release, LLB_TOOL_VERSION);
}

/* Tracepoints are types of the module's BTF, which everybody may read. */
static void look_at_tracepoints(struct doctor *d)
{
	struct btf *vmlinux = btf__load_vmlinux_btf(), *md;
	char missing[256] = "", name[64];
	unsigned int all = 0;
	const char *event;
	size_t n = 0;

	if (!vmlinux) {
		finding(d, BAD, "BTF", "use a kernel with CONFIG_DEBUG_INFO_BTF; Debian's have it",
			"no /sys/kernel/btf/vmlinux");
		return;
	}
	finding(d, GOOD, "BTF", "", "/sys/kernel/btf/vmlinux");
	md = btf__load_module_btf("md_mod", vmlinux);
	for (int type = 0; type < LLB_NR_EVENT_TYPES; type++) {
		event = llb_tracepoint_name(type);
		if (!event)
			continue;
		all++;
		snprintf(name, sizeof(name), "btf_trace_llbitmap_%s", event);
		if (btf__find_by_name_kind(md ?: vmlinux, name, BTF_KIND_TYPEDEF) < 0)
			n += snprintf(missing + n, sizeof(missing) - n, " llbitmap_%s", event);
	}
	d->tracepoints = !n;
	if (!n)
		finding(d, GOOD, "tracepoints", "", "all %u", all);
	else if (!md && access("/sys/module/md_mod", F_OK))
		finding(d, BAD, "tracepoints",
			live_modules_fit() ? "modprobe md-mod, then look again" :
					     live_modules_advice(), "md-mod is not loaded");
	else
		finding(d, BAD, "tracepoints", live_modules_advice(), "this md has no%s", missing);
	btf__free(md);
	btf__free(vmlinux);
}

static bool have(cap_value_t cap)
{
	cap_flag_value_t value = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps) {
		cap_get_flag(caps, cap, CAP_EFFECTIVE, &value);
		cap_free(caps);
	}
	return value == CAP_SET;
}

static void look_at_privileges(struct doctor *d)
{
	bool admin = have(CAP_SYS_ADMIN);
	bool bpf = admin || have(CAP_BPF), perfmon = admin || have(CAP_PERFMON);

	if (bpf && perfmon)
		finding(d, GOOD, "privileges", "", "CAP_BPF, CAP_PERFMON%s",
			geteuid() ? "" : " (root)");
	else
		finding(d, BAD, "privileges",
			"run as root; status, table, replay and audit FILE need no privilege",
			"no%s%s", bpf ? "" : " CAP_BPF", perfmon ? "" : " CAP_PERFMON");
	if (!have(CAP_SYSLOG) && !admin)
		finding(d, REMARK, "symbols", "CAP_SYSLOG shows function names in stacks",
			"kernel addresses are hidden");
}

/* MiB that can be had without swapping; SIZE_MAX: not known. */
static size_t available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	size_t kib = SIZE_MAX;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %zu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib == SIZE_MAX ? kib : kib >> 10;
}

/* Maps are filled at the start. They count to the cgroup, not to the limit of locked memory. */
static void look_at_memory(struct doctor *d)
{
	struct session_config audit = {}, record = { .stream = true }, hist = { .latencies = true };
	struct session_config least = { .slots = 1 };
	size_t most = session_memory(&hist) >> 20, have = available();
	char text[64] = "how much there is is not known";

	if (session_memory(&record) >> 20 > most)
		most = session_memory(&record) >> 20;
	if (have != SIZE_MAX)
		snprintf(text, sizeof(text), "%zu MiB are available", have);
	finding(d, have > most ? GOOD : have > session_memory(&least) >> 20 ? REMARK : BAD, "memory",
		"free some, or watch fewer arrays at a time: --arrays",
		"for %d arrays audit takes %zu MiB, record %zu, hist %zu; %s",
		SESSION_SLOTS, session_memory(&audit) >> 20, session_memory(&record) >> 20,
		session_memory(&hist) >> 20, text);
}

/* The programs on this kernel: the proof that all the above suffices. */
static void look_at_programs(struct doctor *d)
{
	struct session_config config = { .slots = 1 };
	enum session_fault fault;
	struct session *session;
	int err;

	if (!have(CAP_SYS_ADMIN) && !(have(CAP_BPF) && have(CAP_PERFMON)))
		return;
	err = session_open(&config, &session, &fault);
	if (!err) {
		finding(d, GOOD, "programs", "", "load, attach and detach");
		session_close(session);
	} else if (fault == SESSION_FAULT_LOAD) {
		finding(d, BAD, "programs", "report this, with the kernel's version",
			"the kernel does not take them: %s", strerror(-err));
	} else if (fault == SESSION_FAULT_TRACEPOINTS && d->tracepoints) {
		finding(d, BAD, "programs", "report this, with the kernel's version",
			"load, but the tracepoints do not take them: %s", strerror(-err));
	} else if (fault == SESSION_FAULT_TRACEPOINTS) {
		finding(d, REMARK, "programs", "", "load; there are no tracepoints to attach them to");
	} else if (fault == SESSION_FAULT_PRIVILEGE) {
		finding(d, BAD, "programs",
			"lockdown or a container forbids BPF: run on the machine itself",
			"%s", strerror(-err));
	}
}

static void look_at_mdadm(struct doctor *d)
{
	unsigned int major = 0, minor = 0;
	char line[256] = "";
	const char *v;
	FILE *p;

	p = popen("PATH=$PATH:/usr/sbin:/sbin mdadm --version 2>&1", "re");
	if (p) {
		if (!fgets(line, sizeof(line), p))
			line[0] = '\0';
		if (pclose(p))
			line[0] = '\0';
	}
	line[strcspn(line, "\n")] = '\0';
	v = strstr(line, " v");
	if (!v || sscanf(v, " v%u.%u", &major, &minor) != 2)
		finding(d, REMARK, "mdadm",
			"install mdadm 4.6 or newer to create arrays; make mdadm builds one",
			"not found");
	else if (major < 4 || (major == 4 && minor < 6))
		finding(d, REMARK, "mdadm",
			"mdadm 4.6 or newer creates arrays with --bitmap=lockless (make mdadm builds "
			"one); once they are there, it assembles and manages them",
			"%s", line);
	else
		finding(d, GOOD, "mdadm", "", "%s", line);
}

static void look_at_arrays(struct doctor *d)
{
	static const char *const words[] = { "no bitmap", "classic bitmap", "lockless bitmap" };
	struct array_list list;
	char file[128];

	if (arrays_scan(&array_system_roots, &list))
		return;
	for (size_t i = 0; i < list.n; i++) {
		const struct array_info *a = &list.v[i];
		bool ours = a->bitmap == ARRAY_BITMAP_LLBITMAP;

		snprintf(file, sizeof(file), "/sys/block/%s/md/llbitmap/snapshot", a->name);
		if (ours && !a->traced)
			finding(d, REMARK, a->name, "only status sees it: another kernel's llbitmap",
				"%s, %s without tracepoints", a->level, words[a->bitmap]);
		else if (ours && access(file, W_OK))
			finding(d, BAD, a->name, "audit and record must write there: run as root",
				"%s, %s; %s: %s", a->level, words[a->bitmap], file, strerror(errno));
		else
			finding(d, ours ? GOOD : REMARK, a->name, "", "%s, %s", a->level,
				words[a->bitmap]);
	}
	if (!list.n)
		finding(d, REMARK, "arrays", "", "none runs");
	arrays_free(&list);
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	struct doctor d = { .out = out };

	if (out->json) {
		llb_json_begin(out);
		llb_json_array(out, "findings");
	}
	look_at_kernel(&d);
	look_at_tracepoints(&d);
	look_at_privileges(&d);
	look_at_memory(&d);
	look_at_programs(&d);
	look_at_mdadm(&d);
	look_at_arrays(&d);
	if (out->json) {
		llb_json_close(out);
		llb_json_bool(out, "ready", !d.bad);
		llb_json_end(out);
	} else if (d.bad) {
		llb_styled(out, LLB_BAD, "\n%u missing: until then status, table, replay and audit FILE "
			   "work\n", d.bad);
	} else {
		llb_styled(out, LLB_GOOD, "\nready\n");
	}
	return d.bad ? LLB_EXIT_ENVIRONMENT : 0;
}

const struct llb_command llb_cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "what this machine can do, and what is missing",
	.details = "Looks at kernel, tracepoints, BTF, privileges, mdadm and arrays, attaches for a\n"
		   "moment, and says what to do about what is missing. Exit status 4: something is.",
	.run = run,
};
