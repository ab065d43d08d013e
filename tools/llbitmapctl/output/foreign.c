// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "foreign.h"

unsigned int llb_utf8_length(const unsigned char *s)
{
	unsigned int n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
		s[0] < 0xf5 ? 4 : 0;

	for (unsigned int i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool llb_is_control(const unsigned char *s)
{
	return *s < ' ' || *s == 0x7f || (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0);
}

const char *llb_foreign(const char *text, char *buf, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t at = 0, n;

	for (; s[at]; at += n) {
		n = llb_is_control(s + at) ? 0 : llb_utf8_length(s + at);
		if (at + (n ?: 1) >= size)
			break;
		if (n)
			memmove(buf + at, s + at, n);
		else
			buf[at] = '?';
		n = n ?: 1;
	}
	buf[at] = 0;
	return buf;
}
