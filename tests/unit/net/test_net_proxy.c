/*
 * test_net_proxy.c - PROXY protocol headers, good and bad, whole and in pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "net/net_proxy.h"
#include "net/stream.h"
#include "task/task.h"

#define V2      "\r\n\r\n\0\r\nQUIT\n"
#define V4_PART "\300\0\2\54\300\0\2\1\234\100\0\31"
#define FF_PART "\0\0\0\0\0\0\0\0\0\0\377\377"
#define V6_PART                                                                                    \
	"\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\2\234\100\0\31"

struct header {
	const char *bytes;
	size_t len;
	const char *
	    expect; /* client address and port, server address and port; "" unchanged; NULL: refused */
};

#define TEXT(text, expect)                                                                         \
	{                                                                                          \
		text, sizeof(text) - 1, expect                                                     \
	}

static const struct header headers[] = {
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 40000 25\r\n", "192.0.2.44 40000 192.0.2.1 25"),
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 40000 25\n", "192.0.2.44 40000 192.0.2.1 25"),
    TEXT("PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", "2001:db8::1 40000 2001:db8::2 25"),
    TEXT("PROXY TCP6 ::ffff:192.0.2.44 ::ffff:192.0.2.1 1 65535\r\n",
	"192.0.2.44 1 192.0.2.1 65535"),
    TEXT("PROXY UNKNOWN\r\n", NULL),
    TEXT("PROXY UNKNOWN 192.0.2.44 192.0.2.1 40000 25\r\n", NULL),
    TEXT("PROXY TCP4 foo bar 1 2\r\n", NULL),
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 40000\r\n", NULL),
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 65536 25\r\n", NULL),
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 40000 -1\r\n", NULL),
    TEXT("PROXY TCP4 [192.0.2.44] 192.0.2.1 40000 25\r\n", NULL),
    TEXT("PROXY TCP4 2001:db8::1 2001:db8::2 40000 25\r\n", NULL),
    TEXT("PROXY TCP6 192.0.2.44 192.0.2.1 40000 25\r\n", NULL),
    TEXT("PROXY TCP6 fe80::1%lo ::1 40000 25\r\n", NULL),
    TEXT("PRAXY TCP4 192.0.2.44 192.0.2.1 40000 25\r\n", NULL),
    TEXT("PROXY TCP4 192.0.2.44 192.0.2.1 40000 25                                              "
	 "                                \r\n",
	NULL),
    TEXT("EHLO x\r\n", NULL),
    TEXT("\r\n", NULL),
    TEXT(V2 "\x21\x11\0\14" V4_PART, "192.0.2.44 40000 192.0.2.1 25"),
    /* with extensions, which nobody reads */
    TEXT(V2 "\x21\x11\0\21" V4_PART "\4\0\2xx", "192.0.2.44 40000 192.0.2.1 25"),
    TEXT(V2 "\x21\x21\0\44" V6_PART, "2001:db8::1 40000 2001:db8::2 25"),
    TEXT(V2 "\x21\x21\0\44" FF_PART "\300\0\2\54" FF_PART "\300\0\2\1\234\100\0\31",
	"192.0.2.44 40000 192.0.2.1 25"),
    TEXT(V2 "\x20\0\0\0", ""),
    TEXT(V2 "\x20\x11\0\14" V4_PART, ""),
    TEXT(V2 "\x11\x11\0\14" V4_PART, NULL),
    TEXT(V2 "\x22\x11\0\14" V4_PART, NULL),
    TEXT(V2 "\x21\x12\0\14" V4_PART, NULL),
    TEXT(V2 "\x21\x31\0\14" V4_PART, NULL),
    TEXT(V2 "\x21\x11\0\13" V4_PART, NULL),
    TEXT(V2 "\x21\x21\0\14" V4_PART, NULL),
    TEXT(V2 "\x21\x11\2\11" V4_PART, NULL),
    TEXT("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\14" V4_PART, NULL),
};

struct feed {
	int fd;
	const struct header *header;
	bool slowly;
};

static void
feed(void *arg)
{
	const struct feed *f = arg;
	size_t piece = f->slowly ? 1 : f->header->len;

	for (size_t i = 0; i < f->header->len; i += piece) {
		MUST(send(f->fd, f->header->bytes + i, piece, MSG_NOSIGNAL) == (ssize_t)piece);
		(void)task_yield();
	}
	MUST(send(f->fd, "EHLO next\r\n", 11, MSG_NOSIGNAL) == 11);
}

static void
check(struct stream *s, const struct header *h)
{
	struct net_addr client = {0}, server = {0};
	struct err err = {0};
	char a[NET_ADDR_TEXT], b[NET_ADDR_TEXT], both[300] = "";
	struct span line;

	stream_set_deadline(s, clock_deadline(10 * CLOCK_SECOND));
	if (!net_proxy_read(s, false, &client, &server, &err)) {
		MUST(h->expect == NULL && err.kind == ERR_TEMP && err.text[0] != '\0');
		return;
	}
	MUST(h->expect != NULL);
	net_addr_text(&client, a, sizeof(a));
	net_addr_text(&server, b, sizeof(b));
	if (client.len != 0)
		(void)snprintf(both, sizeof(both), "%s %u %s %u", a, net_addr_port(&client), b,
		    net_addr_port(&server));
	MUST(strcmp(both, h->expect) == 0);
	/* nothing of what follows was taken */
	MUST(stream_read_line(s, 100, &line, NULL) == STREAM_OK);
	MUST(span_equal_str(line, "EHLO next"));
}

static void
check_all(void *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct feed f = {.header = &headers[i], .slowly = *(bool *)arg};
		struct stream *s;
		int ends[2];

		MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
		f.fd = ends[1];
		s = stream_new(ends[0]);
		MUST(task_start("feed", feed, &f) != NULL);
		check(s, f.header);
		while (task_count() > 1)
			(void)task_yield();
		stream_free(&s);
		(void)close(ends[1]);
	}
}

static void
run(void (*fn)(void *arg), void *arg)
{
	task_init(NULL);
	assert_non_null(task_start("test", fn, arg));
	task_run();
	task_done();
}

static void
headers_in_one_piece(void **state UNUSED)
{
	bool slowly = false;

	run(check_all, &slowly);
}

static void
headers_byte_by_byte(void **state UNUSED)
{
	bool slowly = true;

	run(check_all, &slowly);
}

static void
wait_in_vain(void *arg)
{
	struct net_addr client = {0}, server = {0};
	struct err err = {0};
	struct stream *s = arg;

	stream_set_deadline(s, clock_deadline(10 * CLOCK_MILLI));
	MUST(!net_proxy_read(s, false, &client, &server, &err));
	MUST(strstr(err.text, "timeout") != NULL);
	stream_free(&s);
}

static void
no_header_times_out(void **state UNUSED)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	task_init(NULL);
	assert_non_null(task_start("wait", wait_in_vain, stream_new(ends[0])));
	task_run();
	task_done();
	(void)close(ends[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers_in_one_piece),
	    cmocka_unit_test(headers_byte_by_byte),
	    cmocka_unit_test(no_header_times_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
