// SPDX-License-Identifier: GPL-2.0-or-later
/* Coding of events in a block: see FORMAT.md. */
#include <errno.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "format.h"

/* A template's bytes are these two ranges of struct llb_event. */
#define HEAD offsetof(struct llb_event, dev)
#define HEAD_SIZE (offsetof(struct llb_event, word) - HEAD)
#define TAIL offsetof(struct llb_event, word[3])
#define TAIL_SIZE (sizeof(struct llb_event) - TAIL)
#define TEMPLATE_SIZE (HEAD_SIZE + TAIL_SIZE)

_Static_assert(TEMPLATE_SIZE == 64, "file format");
_Static_assert(LLB_REC_BLOCK / (2 + TEMPLATE_SIZE) < LLB_TEMPLATES, "a block's templates fit");
_Static_assert(1 + 2 + TEMPLATE_SIZE + 4 * 8 <= LLB_CODED_MAX, "room for an event");

static const uint8_t lengths[4] = { 0, 1, 3, 8 };

uint64_t llb_file_hash(const struct llb_file_header *header)
{
	return XXH3_64bits(header, offsetof(struct llb_file_header, hash));
}

uint32_t llb_header_hash(const struct llb_block_header *header)
{
	return (uint32_t)XXH3_64bits(header, offsetof(struct llb_block_header, header_hash));
}

uint32_t llb_payload_hash(const struct llb_block_header *header, const void *payload)
{
	return (uint32_t)XXH3_64bits(payload, header->csize);
}

/*
 * The stream of a template's type and load; NULL: no room. Reader and writer
 * must come to the same.
 */
static struct llb_stream *stream_of(struct llb_decoder *d, const struct llb_event *e)
{
	uint64_t key = (uint64_t)e->dev << 40 ^ (uint64_t)e->load << 8 ^ e->type;
	uint8_t *guess = &d->guess[key * 0x9e3779b97f4a7c15 >> 54];

	if (*guess < d->nr_streams && d->stream[*guess].key == key)
		return &d->stream[*guess];
	for (unsigned int i = 0; i < d->nr_streams; i++)
		if (d->stream[i].key == key) {
			*guess = (uint8_t)i;
			return &d->stream[i];
		}
	if (d->nr_streams == LLB_STREAMS)
		return NULL;
	*guess = (uint8_t)d->nr_streams;
	d->stream[d->nr_streams] = (struct llb_stream){
		.key = key,
		.step = e->type == LLB_EV_TRANSITION || e->type == LLB_EV_SNAPSHOT,
	};
	return &d->stream[d->nr_streams++];
}

void llb_decoder_reset(struct llb_decoder *d)
{
	d->nr_templates = 0;
	d->nr_streams = 0;
	d->ts = 0;
}

void llb_encoder_reset(struct llb_encoder *e)
{
	llb_decoder_reset(&e->state);
	memset(e->hash, 0, sizeof(e->hash));
}

/* ---- encoding ---- */

static bool same_template(const struct llb_event *a, const struct llb_event *b)
{
	return !memcmp((const char *)a + HEAD, (const char *)b + HEAD, HEAD_SIZE) &&
	       !memcmp((const char *)a + TAIL, (const char *)b + TAIL, TAIL_SIZE);
}

static uint32_t hash_template(const struct llb_event *e)
{
	uint64_t hash = 0, word;

	for (size_t i = HEAD; i < sizeof(*e); i += 8) {
		if (i >= offsetof(struct llb_event, word) && i < TAIL)
			continue;
		memcpy(&word, (const char *)e + i, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return (uint32_t)(hash >> 32);
}

/* Finds or adds; LLB_TEMPLATES: no room. */
static unsigned int template_of(struct llb_encoder *e, const struct llb_event *event, bool *is_new)
{
	const unsigned int slots = sizeof(e->hash) / sizeof(e->hash[0]);
	uint32_t slot = hash_template(event) % slots;
	struct llb_decoder *s = &e->state;
	struct llb_stream *stream;

	*is_new = false;
	for (; e->hash[slot]; slot = (slot + 1) % slots)
		if (same_template(&s->template[e->hash[slot] - 1].event, event))
			return e->hash[slot] - 1u;
	stream = stream_of(s, event);
	if (!stream)
		return LLB_TEMPLATES;
	s->template[s->nr_templates].event = *event;
	s->template[s->nr_templates].stream = stream;
	e->hash[slot] = (uint16_t)(s->nr_templates + 1);
	*is_new = true;
	return s->nr_templates++;
}

/* Does it come back when only `length` bytes are kept, sign extended? */
static bool fits(uint64_t difference, unsigned int length)
{
	unsigned int shift = 64 - 8 * length;

	return length ? (uint64_t)((int64_t)(difference << shift) >> shift) == difference :
			!difference;
}

static uint8_t *put_number(uint8_t *to, uint8_t *control, unsigned int field, uint64_t difference)
{
	unsigned int code = 0;

	while (!fits(difference, lengths[code]))
		code++;
	*control |= (uint8_t)(code << 2 * field);
	memcpy(to, &difference, lengths[code]);
	return to + lengths[code];
}

size_t llb_encode(struct llb_encoder *e, const struct llb_event *event, uint8_t *to)
{
	struct llb_decoder *s = &e->state;
	struct llb_stream *stream;
	uint8_t *p = to, *control;
	bool is_new;
	unsigned int template = template_of(e, event, &is_new);

	if (template == LLB_TEMPLATES)
		return 0;
	control = p++;
	*control = 0;
	if (template < 128) {
		*p++ = (uint8_t)template;
	} else {
		*p++ = (uint8_t)(template | 128);
		*p++ = (uint8_t)(template >> 7);
	}
	if (is_new) {
		memcpy(p, (const char *)event + HEAD, HEAD_SIZE);
		memcpy(p + HEAD_SIZE, (const char *)event + TAIL, TAIL_SIZE);
		p += TEMPLATE_SIZE;
	}
	stream = s->template[template].stream;
	p = put_number(p, control, 0, event->ts_ns - s->ts);
	s->ts = event->ts_ns;
	for (unsigned int i = 0; i < 3; i++) {
		p = put_number(p, control, i + 1, event->word[i] - stream->expected[i]);
		stream->expected[i] = event->word[i];
	}
	stream->expected[0] += stream->step;
	return (size_t)(p - to);
}

/* ---- decoding ---- */

/* Returns what follows the template, NULL: not valid. */
static __attribute__((noinline)) const uint8_t *define_template(struct llb_decoder *d,
								unsigned int number,
								const uint8_t *p)
{
	struct llb_event *e;

	if (number != d->nr_templates || number >= LLB_TEMPLATES)
		return NULL;
	e = &d->template[number].event;
	memcpy((char *)e + HEAD, p, HEAD_SIZE);
	memcpy((char *)e + TAIL, p + HEAD_SIZE, TAIL_SIZE);
	e->comm[LLB_COMM_LEN - 1] = 0;
	if (e->type == LLB_EV_NONE || e->type >= LLB_NR_EVENT_TYPES ||
	    e->version != LLB_EVENT_VERSION)
		return NULL;
	d->template[number].stream = stream_of(d, e);
	if (!d->template[number].stream)
		return NULL;
	d->nr_templates++;
	return p + TEMPLATE_SIZE;
}

/* A number of three bytes: the most frequent length. */
static inline uint64_t get_three(const uint8_t *p)
{
	uint32_t coded;

	memcpy(&coded, p, 4);
	return (uint64_t)(int64_t)((int32_t)(coded << 8) >> 8);
}

/* A number of the length that a code other than 0 says. */
static inline uint64_t get_number(const uint8_t **p, unsigned int code)
{
	static const uint8_t shifts[4] = { 0, 56, 40, 0 };
	uint64_t coded;

	memcpy(&coded, *p, 8);
	*p += lengths[code];
	return (uint64_t)((int64_t)(coded << shifts[code]) >> shifts[code]);
}

#define CONTROL(ts, word0, word1, word2) ((ts) | (word0) << 2 | (word1) << 4 | (word2) << 6)

/*
 * Only the end is checked, after each event: no event takes more than
 * LLB_CODED_MAX bytes, and as many may be read after the end.
 */
int llb_decode_block(struct llb_decoder *d, const uint8_t *p, size_t size, uint32_t count,
		     const struct llb_sink *sink)
{
	int (*take)(void *ctx, const struct llb_event *event) = sink->event;
	const uint8_t *end = p + size;
	struct llb_template *t;
	struct llb_stream *s;
	void *ctx = sink->ctx;
	unsigned int control, number;
	uint64_t ts = d->ts;
	int ret;

	while (count--) {
		control = p[0];
		number = p[1];
		p += 2;
		if (__builtin_expect(number & 128, 0))
			number = (number & 127) | (unsigned int)*p++ << 7;
		if (__builtin_expect(number >= d->nr_templates, 0)) {
			p = define_template(d, number, p);
			if (!p)
				return -EBADMSG;
		}
		t = &d->template[number];
		s = t->stream;
		if (__builtin_expect(control == CONTROL(2, 0, 2, 0), 1)) {
			/* The next event, as far away as random writes are. */
			ts += get_three(p);
			s->expected[1] += get_three(p + 3);
			p += 6;
		} else {
			if (control & CONTROL(3, 0, 0, 0))
				ts += get_number(&p, control & 3);
			if (control & CONTROL(0, 3, 0, 0))
				s->expected[0] += get_number(&p, control >> 2 & 3);
			if (control & CONTROL(0, 0, 3, 0))
				s->expected[1] += get_number(&p, control >> 4 & 3);
			if (control & CONTROL(0, 0, 0, 3))
				s->expected[2] += get_number(&p, control >> 6);
		}
		if (__builtin_expect(p > end, 0))
			return -EBADMSG;
		t->event.ts_ns = ts;
		t->event.word[0] = s->expected[0];
		t->event.word[1] = s->expected[1];
		t->event.word[2] = s->expected[2];
		s->expected[0] += s->step;
		ret = take(ctx, &t->event);
		if (__builtin_expect(ret, 0))
			return ret;
	}
	d->ts = ts;
	return p == end ? 0 : -EBADMSG;
}
