// SPDX-License-Identifier: GPL-2.0-or-later
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "model/names.h"
#include "output/foreign.h"
#include "top_screen.h"

enum pair { PAIR_GOOD = 1, PAIR_WARN, PAIR_BAD, PAIR_CLEAN };

struct top_screen {
	SCREEN *term;
	bool colour;
	bool paused;
	bool map; /* the chunk map below the details */
	bool help;
	char picked[32]; /* array whose details are shown */
};

/* Worst first: what a cell that stands for several chunks shows. */
static const struct {
	uint8_t state;
	char mark;
	short pair;
} marks[] = {
	{ LLB_NEEDSYNC, '!', PAIR_BAD },  { LLB_SYNCING, '>', PAIR_WARN },
	{ LLB_DIRTY, '#', PAIR_WARN },	  { LLB_CLEAN, '=', PAIR_CLEAN },
	{ LLB_UNWRITTEN, '.', 0 },
};

void top_screen_close(struct top_screen *s)
{
	if (!s)
		return;
	if (s->term) {
		endwin();
		delscreen(s->term);
	}
	free(s);
}

static bool has_cursor_address(void)
{
	char *text = tigetstr("cup");

	return text && text != (char *)-1;
}

int top_screen_open(bool colour, struct top_screen **out)
{
	struct top_screen *s;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return -ENOTTY;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	setlocale(LC_ALL, "");
	s->term = newterm(NULL, stdout, stdin);
	/* A dumb terminal cannot be written to in places. */
	if (!s->term || !has_cursor_address()) {
		top_screen_close(s);
		return -ENOTTY;
	}
	s->map = true;
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	s->colour = colour && has_colors() && start_color() == OK;
	if (s->colour) {
		use_default_colors();
		init_pair(PAIR_GOOD, COLOR_GREEN, -1);
		init_pair(PAIR_WARN, COLOR_YELLOW, -1);
		init_pair(PAIR_BAD, COLOR_RED, -1);
		init_pair(PAIR_CLEAN, COLOR_GREEN, -1);
	}
	*out = s;
	return 0;
}

bool top_screen_paused(const struct top_screen *s)
{
	return s->paused;
}

static void style(const struct top_screen *s, short pair, bool on)
{
	int attr = s->colour && pair ? COLOR_PAIR(pair) : pair == PAIR_BAD ? A_BOLD : 0;

	if (on)
		attron(attr);
	else
		attroff(attr);
}

/* At most to the end of the line, whatever the width. */
static void __attribute__((format(printf, 3, 4))) put(int y, int x, const char *format, ...)
{
	char text[512];
	va_list args;

	if (y >= LINES || x >= COLS)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	mvaddnstr(y, x, llb_foreign(text, text, sizeof(text)), COLS - x);
}

/* A figure in five columns: 1234, 12.3k, 4.56M. */
static const char *brief(double v, char *buf, size_t size)
{
	static const char units[] = " kMGT";
	int unit = 0;

	for (; v >= 9999.5 && units[unit + 1]; unit++)
		v /= 1000;
	if (!unit)
		snprintf(buf, size, v > 0 && v < 9.95 ? "%.1f" : "%.0f", v);
	else
		snprintf(buf, size, "%.*f%c", v < 99.95 ? 1 : 0, v, units[unit]);
	return buf;
}

static const char *count_text(uint64_t v, char *buf, size_t size)
{
	if (v < 100000)
		snprintf(buf, size, "%" PRIu64, v);
	else
		snprintf(buf, size, "%" PRIu64 "k", v / 1000);
	return buf;
}

static struct top_row *picked_row(struct top_screen *s, struct top *top, size_t *index)
{
	for (size_t i = 0; i < top->nrow; i++)
		if (!strcmp(top->row[i].array.name, s->picked)) {
			*index = i;
			return &top->row[i];
		}
	if (!top->nrow)
		return NULL;
	*index = 0;
	snprintf(s->picked, sizeof(s->picked), "%s", top->row[0].array.name);
	return &top->row[0];
}

static void draw_head(struct top_screen *s, struct top *top)
{
	uint64_t lost = top->lost;
	time_t now = time(NULL);
	char clock[16], loss[64];
	struct tm tm;
	int x;

	localtime_r(&now, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	put(0, 0, "llbitmapctl top  %s  %zu array%s by %s", s->paused ? "PAUSED  " : clock,
	    top->nrow, top->nrow == 1 ? "" : "s", top_sorts[top->sort]);
	/* What must not be missed stands at the end, whatever the width. */
	snprintf(loss, sizeof(loss), " lost %" PRIu64 "%s", lost,
		 top->unwatched ? ", arrays unseen" : "");
	x = COLS > (int)strlen(loss) ? COLS - (int)strlen(loss) : 0;
	style(s, lost || top->unwatched ? PAIR_BAD : PAIR_GOOD, true);
	put(0, x, "%s", loss);
	style(s, lost || top->unwatched ? PAIR_BAD : PAIR_GOOD, false);
	attron(A_REVERSE);
	mvhline(1, 0, ' ', COLS);
	put(1, 0, "%-8s %-6s %6s %6s %6s %6s %6s %7s %6s %6s", "ARRAY", "LEVEL", "UNWRIT", "CLEAN",
	    "DIRTY", "NEEDS", "SYNC", "CHUNK/s", "WRIT/s", "WAIT/s");
	attroff(A_REVERSE);
}

static void draw_row(struct top_screen *s, const struct top_row *row, int y, bool picked)
{
	char counts[LLB_NR_STATES][24], changes[16], writes[16], waits[16];
	const struct array_info *a = &row->array;
	short pair = row->gone || a->counts[LLB_NEEDSYNC] || a->degraded ? PAIR_BAD : 0;

	if (row->gone) {
		put(y, 0, "%c%-7.7s stopped", picked ? '>' : ' ', a->name);
		return;
	}
	for (int i = 0; i < LLB_NR_STATES; i++)
		count_text(a->counts[i], counts[i], sizeof(counts[i]));
	if (picked)
		attron(A_BOLD);
	style(s, pair, true);
	put(y, 0, "%c%-7.7s %-6s %6s %6s %6s %6s %6s %7s %6s %6s", picked ? '>' : ' ', a->name,
	    a->level, counts[0], counts[1], counts[2], counts[3], counts[4],
	    brief(top_transition_rate(row), changes, sizeof(changes)),
	    brief(top_rate(row, row->now.writes, row->before.writes), writes, sizeof(writes)),
	    brief(top_rate(row, row->now.waits, row->before.waits), waits, sizeof(waits)));
	style(s, pair, false);
	attroff(A_BOLD);
}

static void draw_actions(const struct top_row *row, int y)
{
	char buf[16], text[256] = "";
	size_t n = 0;

	for (int action = 0; action < LLB_NR_ACTIONS && n < sizeof(text); action++) {
		double rate = top_action_rate(row, action);

		if (rate > 0)
			n += snprintf(text + n, sizeof(text) - n, "  %s %s", llb_action_name(action),
				      brief(rate, buf, sizeof(buf)));
	}
	put(y, 0, "chunks/s%s", n ? text : "  none");
}

static void draw_details(const struct top_row *row, int y)
{
	const struct array_info *a = &row->array;
	uint64_t waits = row->now.waits - row->before.waits;
	uint64_t wait_ns = row->now.wait_ns - row->before.wait_ns;
	char buf[16];

	if (row->gone) {
		put(y, 0, "%s: stopped; it comes back here when it is assembled again", a->name);
		return;
	}
	put(y, 0, "%s: %s, %" PRIu32 " members, %" PRIu32 " missing; %" PRIu64 " chunks of %" PRIu64
	    " KiB", a->name, a->state, a->members, a->degraded, a->chunks, a->chunk_sectors / 2);
	if (a->sync_total) {
		double part = (double)a->sync_done / a->sync_total;
		char bar[31];

		for (int i = 0; i < 30; i++)
			bar[i] = i < part * 30 ? '=' : ' ';
		bar[30] = '\0';
		put(y + 1, 0, "sync      %s [%s] %.1f %%, %" PRIu64 " KiB/s", a->sync_action, bar,
		    part * 100, a->sync_speed);
	} else {
		put(y + 1, 0, "sync      %s", *a->sync_action ? a->sync_action : "none");
	}
	draw_actions(row, y + 2);
	put(y + 3, 0, "bitmap    %s KiB/s, errors %llu", brief(top_rate(row, row->now.write_sectors,
	    row->before.write_sectors) / 2, buf, sizeof(buf)), row->now.write_errors);
	put(y + 3, 40, "waits %.1f ms each, timeouts %llu", waits ? wait_ns / 1e6 / waits : 0.0,
	    row->now.timeouts);
	put(y + 4, 0, "daemon    %llu passes, %llu chunks cleaned", row->now.passes,
	    row->now.cleaned);
	put(y + 4, 40, "error events %llu", row->now.errors);
}

/* What the chunks first .. first + n - 1 show: index in marks, or -1. */
static int cell_mark(struct top *top, const struct top_row *row, size_t load, uint64_t first,
		     uint64_t n)
{
	int worst = -1;

	for (uint64_t c = first; c < first + n && c < row->array.chunks; c++) {
		uint8_t entry = session_shadow(top->session, load, c);

		for (int i = 0; entry && i < (int)(sizeof(marks) / sizeof(*marks)); i++)
			if (marks[i].state == (entry & 0xf) && (worst < 0 || i < worst))
				worst = i;
	}
	return worst;
}

static void draw_map(struct top_screen *s, struct top *top, const struct top_row *row, int y)
{
	int lines = LINES - 1 - y - 1;
	size_t load = session_load_find(top->session, row->dev, row->load);
	uint64_t cells, per, chunk;

	if (lines < 1 || row->gone || !row->array.chunks || COLS < 10)
		return;
	cells = (uint64_t)lines * COLS;
	per = (row->array.chunks + cells - 1) / cells;
	put(y, 0, "chunks, %" PRIu64 " a cell:", per);
	for (int i = 0; i < (int)(sizeof(marks) / sizeof(*marks)); i++)
		printw("  %c %s", marks[i].mark, llb_state_name(marks[i].state));
	for (int line = 0; line < lines; line++) {
		for (int x = 0; x < COLS; x++) {
			int mark;

			chunk = ((uint64_t)line * COLS + x) * per;
			if (chunk >= row->array.chunks)
				return;
			mark = cell_mark(top, row, load, chunk, per);
			style(s, mark < 0 ? 0 : marks[mark].pair, true);
			mvaddch(y + 1 + line, x, mark < 0 ? '?' : (chtype)marks[mark].mark);
			style(s, mark < 0 ? 0 : marks[mark].pair, false);
		}
	}
}

static void draw_help(void)
{
	static const char *const lines[] = {
		"Up, Down   pick an array",
		"s          sort by name, transitions, dirty chunks, bitmap writes",
		"p, space   pause, go on",
		"m          chunk map on and off",
		"+ -        longer or shorter interval",
		"q          end",
		"",
		"UNWRIT..SYNC: chunks by state.  CHUNK/s: chunks changed per second.",
		"WRIT/s: bitmap pages written.   WAIT/s: writers that waited for a page.",
		"lost: what the session did not see; not 0: the figures are too low.",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		put(3 + i, 2, "%s", lines[i]);
}

void top_screen_draw(struct top_screen *s, struct top *top, uint64_t interval_ns)
{
	size_t index = 0, shown, skip = 0;
	struct top_row *row;
	int y;

	erase();
	row = picked_row(s, top, &index);
	draw_head(s, top);
	if (s->help) {
		draw_help();
	} else if (!row) {
		put(3, 2, "no array with a lockless bitmap runs; waiting for one");
	} else {
		/* Half of the screen for the list, scrolled to the one picked. */
		shown = LINES > 14 ? (size_t)(LINES - 10) / 2 : 3;
		if (shown > top->nrow)
			shown = top->nrow;
		if (index >= shown)
			skip = index - shown + 1;
		for (size_t i = 0; i < shown; i++)
			draw_row(s, &top->row[skip + i], 2 + i, skip + i == index);
		y = 3 + shown;
		draw_details(row, y);
		if (s->map)
			draw_map(s, top, row, y + 6);
	}
	attron(A_REVERSE);
	mvhline(LINES - 1, 0, ' ', COLS);
	put(LINES - 1, 0, "q end  p pause  s sort  m map  up/down pick  +/- every %g s  h help",
	    interval_ns / 1e9);
	attroff(A_REVERSE);
	refresh();
}

static void pick(struct top_screen *s, struct top *top, int step)
{
	size_t index = 0;

	if (!picked_row(s, top, &index))
		return;
	if (step < 0 && index)
		index--;
	else if (step > 0 && index + 1 < top->nrow)
		index++;
	snprintf(s->picked, sizeof(s->picked), "%s", top->row[index].array.name);
}

enum top_key top_screen_key(struct top_screen *s, struct top *top, uint64_t *interval_ns)
{
	switch (getch()) {
	case ERR:
		return TOP_KEY_NONE;
	case 'q':
		return TOP_KEY_QUIT;
	case 'p':
	case ' ':
		s->paused = !s->paused;
		return TOP_KEY_REDRAW;
	case 's':
		top->sort = (top->sort + 1) % TOP_NR_SORTS;
		top_order(top);
		return TOP_KEY_REDRAW;
	case 'm':
		s->map = !s->map;
		return TOP_KEY_REDRAW;
	case 'h':
	case '?':
		s->help = !s->help;
		return TOP_KEY_REDRAW;
	case KEY_UP:
	case 'k':
		pick(s, top, -1);
		return TOP_KEY_REDRAW;
	case KEY_DOWN:
	case 'j':
		pick(s, top, 1);
		return TOP_KEY_REDRAW;
	case '+':
		if (*interval_ns < 60000000000ull)
			*interval_ns *= 2;
		return TOP_KEY_REDRAW;
	case '-':
		if (*interval_ns > 250000000ull)
			*interval_ns /= 2;
		return TOP_KEY_REDRAW;
	case 12: /* ^L */
		clearok(stdscr, TRUE);
		return TOP_KEY_REDRAW;
	default: /* KEY_RESIZE among them */
		return TOP_KEY_REDRAW;
	}
}
