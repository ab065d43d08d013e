// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "top_sample.h"

const char *const top_sorts[TOP_NR_SORTS] = { "name", "transitions", "dirty", "writes" };

double top_rate(const struct top_row *row, uint64_t now, uint64_t before)
{
	return row->seconds > 0 && now > before ? (now - before) / row->seconds : 0;
}

double top_action_rate(const struct top_row *row, int action)
{
	return top_rate(row, row->now.chunks[action], row->before.chunks[action]);
}

double top_transition_rate(const struct top_row *row)
{
	double sum = 0;

	for (int action = 0; action < LLB_NR_ACTIONS; action++)
		sum += top_action_rate(row, action);
	return sum;
}

static double sort_key(const struct top_row *row, enum top_sort sort)
{
	switch (sort) {
	case TOP_BY_TRANSITIONS:
		return top_transition_rate(row);
	case TOP_BY_DIRTY:
		return row->array.counts[LLB_DIRTY];
	case TOP_BY_WRITES:
		return top_rate(row, row->now.writes, row->before.writes);
	default:
		return 0;
	}
}

static int compare(const void *x, const void *y, void *arg)
{
	const struct top_row *a = x, *b = y;
	const struct top *top = arg;
	double ka = sort_key(a, top->sort), kb = sort_key(b, top->sort);

	if (ka != kb)
		return ka > kb ? -1 : 1;
	return strverscmp(a->array.name, b->array.name);
}

static struct top_row *row_of(struct top *top, const struct session_load *l)
{
	struct top_row *v;

	for (size_t i = 0; i < top->nrow; i++)
		if (top->row[i].dev == l->dev && top->row[i].load == l->load)
			return &top->row[i];
	/* A bitmap loaded again takes the row of its array. */
	for (size_t i = 0; i < top->nrow; i++) {
		v = &top->row[i];
		if (!strcmp(v->array.name, l->name)) {
			array_free(&v->array);
			memset(v, 0, sizeof(*v));
			v->dev = l->dev;
			v->load = l->load;
			return v;
		}
	}
	v = reallocarray(top->row, top->nrow + 1, sizeof(*v));
	if (!v)
		return NULL;
	top->row = v;
	v += top->nrow++;
	memset(v, 0, sizeof(*v));
	v->dev = l->dev;
	v->load = l->load;
	return v;
}

static int sample_load(struct top *top, size_t i, double seconds)
{
	const struct session_load *l = session_load_at(top->session, i);
	struct top_row *row;
	bool fresh;

	/* Of several loads of one device only the last is shown. */
	for (size_t j = i + 1; j < session_loads(top->session); j++)
		if (session_load_at(top->session, j)->dev == l->dev)
			return 0;
	if (!l->name[0] || l->unwatched)
		return 0;
	row = row_of(top, l);
	if (!row)
		return -ENOMEM;
	fresh = !row->array.name[0];
	if (fresh ? array_read(&array_system_roots, l->name, &row->array) :
		    array_refresh(&array_system_roots, &row->array))
		row->gone = true;
	else
		row->gone = l->unloaded;
	if (!row->array.name[0])
		snprintf(row->array.name, sizeof(row->array.name), "%s", l->name);
	row->before = row->now;
	row->seconds = fresh ? 0 : seconds;
	return session_stats(top->session, i, &row->now);
}

void top_order(struct top *top)
{
	if (top->nrow)
		qsort_r(top->row, top->nrow, sizeof(*top->row), compare, top);
}

int top_sample(struct top *top)
{
	uint64_t now = session_now();
	const struct llb_audit *audit;
	double seconds = top->taken_ns ? (now - top->taken_ns) / 1e9 : 0;
	int err = 0;

	top->taken_ns = now;
	for (size_t i = 0; i < session_loads(top->session) && !err; i++)
		err = sample_load(top, i, seconds);
	top_order(top);
	audit = session_audit(top->session);
	top->lost = llb_audit_lost(audit);
	top->unwatched = audit->unwatched;
	return err;
}

void top_free(struct top *top)
{
	for (size_t i = 0; i < top->nrow; i++)
		array_free(&top->row[i].array);
	free(top->row);
}
