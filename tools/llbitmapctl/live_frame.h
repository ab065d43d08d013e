/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all commands on the running kernel share: which arrays, attach, go on
 * until told to end, detach. Says what is wrong; returns exit statuses.
 */
#ifndef LLB_LIVE_FRAME_H
#define LLB_LIVE_FRAME_H

#include "command.h"
#include "live/child.h"
#include "live/session.h"

/* Rows that the option tables of several commands have; members of the same names. */
#define LIVE_OPTION_DURATION(options)                                          \
	{                                                                      \
		'd', "duration", "SECONDS", "end after this time",             \
			LLB_OPT_SECONDS, offsetof(options, duration_ns),       \
			NS_PER_SECOND / 1000, 1000000 * NS_PER_SECOND          \
	}
#define LIVE_OPTION_ARRAY(options)                                             \
	{                                                                      \
		'a', "array", "ARRAY",                                         \
			"watch this array only; may be repeated",              \
			LLB_OPT_LIST, offsetof(options, arrays), 0, 0          \
	}
#define LIVE_OPTION_SLOTS(options)                                             \
	{                                                                      \
		0, "arrays", "N",                                              \
			"watch up to N arrays at the same time (default 16); " \
			"each takes 1 MiB, 2 for hist",                        \
			LLB_OPT_NUMBER, offsetof(options, slots), 1,           \
			SESSION_SLOTS_MAX                                      \
	}

/* What the details of a command that takes "-- COMMAND" end with. */
#define LIVE_COMMAND_STATUS                                                            \
	"What COMMAND ends with is told on standard error, if it is not 0, and not passed\n"  \
	"on; one that cannot be run is bad usage (2), and leaves everything as it was."

struct live_request {
	struct session_config config; /* .all is set here */
	char *const *names; /* of arrays; none: all */
	size_t nr_names;
	uint64_t duration_ns; /* 0: until a signal */
	const struct llb_trailing *command; /* or NULL */
	bool waits; /* for arrays, if none runs yet, though neither time nor command end it */
	const struct llb_sink *sink; /* takes the events, those of live_begin() too; or NULL */
	/*
	 * Called when all is watched and the command runs, while there are privileges; nonzero:
	 * what to exit with.
	 */
	int (*ready)(struct llb_out *out, void *ctx);
	bool progress; /* a line on a terminal shows how far it is */
	/* What it has beside events and losses: ", 5 bytes"; or NULL. */
	void (*progress_more)(void *ctx, char *text, size_t size);
	void *ctx; /* of ready and progress_more */
	/* Called after each poll, 20 times a second, with the sink's ctx; nonzero ends it. */
	int (*tick)(void *ctx);
};

struct live {
	struct session *session;
	struct array_list arrays; /* as they were at the start */
	struct child child;
	bool has_child;
	uint64_t start_ns;
	uint64_t end_ns; /* 0: no end */
	const struct llb_sink *sink;
	int (*tick)(void *ctx);
	bool progress;
	void (*progress_more)(void *ctx, char *text, size_t size);
	void *ctx; /* of progress_more */
};

/*
 * The arrays that are meant and have a lockless bitmap with tracepoints, in
 * @arrays; all, when none is named. Returns 0 or an exit status after saying why.
 */
int live_arrays(struct llb_out *out, char *const *names, size_t nr, struct array_list *arrays);

/* The kernel is of the version that our md modules are for. */
bool live_modules_fit(void);

/* What to do about an md without our tracepoints. */
const char *live_modules_advice(void);

/* Attaches, watches, starts the command, drops privileges. 0, or an exit status. */
int live_begin(struct llb_out *out, const struct live_request *request, struct live *live);

/* What to add to a time of an event, or of session_now(), for nanoseconds since 1970. */
int64_t live_clock_offset(void);

/* Nobody asked to end, time is not over, the command still runs. */
bool live_goes_on(struct live *live);

/* Says on a terminal what begins: "@doing 2 arrays@end". */
void live_announce(struct llb_out *out, const struct live *live, const char *doing,
		   const char *end);

/*
 * Polls until the end, or until sink or tick want no more; then finishes. Without
 * a sink there is no tick. Returns 0 or an exit status.
 */
int live_run(struct llb_out *out, struct live *live);

/* Detaches, gives the rest to the sink, says how the command ended. 0, or an exit status. */
int live_finish(struct llb_out *out, struct live *live);

void live_close(struct live *live);

/* LLB_EXIT_INCONCLUSIVE when events were lost, with a remark, or arrays not watched; else 0. */
int live_losses(struct llb_out *out, struct live *live);

#endif
