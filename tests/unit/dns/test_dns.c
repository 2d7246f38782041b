/*
 * test_dns.c - the look-ups, against a name server in this program that answers by script, over UDP and TCP.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "dns/dns_int.h"
#include "task/task.h"

#define TEST_PATIENCE (60 * CLOCK_SECOND)

/* ---- the name server ------------------------------------------------------------------------------------------- */

static struct {
	int udp;
	int tcp;
	int port;
	int dropped;  /* questions left to ignore */
	bool no_edns; /* it is a very old server */
	size_t udp_questions;
	size_t tcp_questions;
} server;

/* One record: owner (a pointer to the question's name when NULL), type, data. */
static void
add_name(struct buf *out, const char *name)
{
	while (*name != '\0') {
		size_t len = strcspn(name, ".");

		buf_add_u8(out, (uint8_t)len);
		buf_add(out, name, len);
		name += len + (name[len] == '.');
	}
	buf_add_u8(out, 0);
}

static void
add_record(struct buf *out, int *count, const char *owner, int type, const char *data, size_t len)
{
	if (owner == NULL)
		buf_add_u16(out, 0xc00c);
	else
		add_name(out, owner);
	buf_add_u16(out, (uint16_t)type);
	buf_add_u16(out, 1);
	buf_add_u32(out, 300);
	buf_add_u16(out, (uint16_t)len);
	buf_add(out, data, len);
	(*count)++;
}

static void
add_pointing(struct buf *out, int *count, const char *owner, int type, const char *target)
{
	struct buf data = {0};

	add_name(&data, target);
	add_record(out, count, owner, type, data.ptr, data.len);
	buf_done(&data);
}

static void
add_mx(struct buf *out, int *count, const char *owner, uint16_t preference, const char *host)
{
	struct buf data = {0};

	buf_add_u16(&data, preference);
	add_name(&data, host);
	add_record(out, count, owner, DNS_TYPE_MX, data.ptr, data.len);
	buf_done(&data);
}

#define ADD_LIT(owner, type, lit) add_record(out, count, owner, type, lit, sizeof(lit) - 1)

static void
fill_mail(struct buf *out, int *count)
{
	add_mx(out, count, NULL, 20, "Backup.Example.ORG");
	add_mx(out, count, NULL, 10, "mx1.example.org");
	ADD_LIT("other.example.org", DNS_TYPE_MX, "\0\1\3bad\0");
	ADD_LIT(NULL, DNS_TYPE_A, "\1\2\3\4");
}

static void
fill_null_mx(struct buf *out, int *count)
{
	add_mx(out, count, NULL, 0, "");
}

static void
fill_alias(struct buf *out, int *count)
{
	/* Out of order, as some servers send it. */
	add_pointing(out, count, "b.example.org", DNS_TYPE_CNAME, "c.example.org");
	add_mx(out, count, "C.example.org", 5, "mx.c.example.org");
	add_pointing(out, count, NULL, DNS_TYPE_CNAME, "B.example.org");
}

static void
fill_loop(struct buf *out, int *count)
{
	add_pointing(out, count, "b.example.org", DNS_TYPE_CNAME, "loop.example.org");
	add_pointing(out, count, NULL, DNS_TYPE_CNAME, "b.example.org");
}

static void
fill_a(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_A, "\xc0\0\2\1");
	ADD_LIT(NULL, DNS_TYPE_A, "\xc0\0\2\2");
}

static void
fill_aaaa(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_AAAA, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1");
}

static void
fill_many(struct buf *out, int *count)
{
	for (int i = 0; i < 150; i++) {
		char ip[4] = {10, 0, 0, (char)i};

		add_record(out, count, NULL, DNS_TYPE_A, ip, sizeof(ip));
	}
}

static void
fill_short(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_A, "\xc0\0\2");
}

static void
fill_cut(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_MX, "\0\1\3abc");
	*count += 3;
}

static void
fill_ptr(struct buf *out, int *count)
{
	add_pointing(out, count, NULL, DNS_TYPE_PTR, "Host.Example.org");
	add_pointing(out, count, NULL, DNS_TYPE_PTR, "bad name.example.org");
	add_pointing(out, count, NULL, DNS_TYPE_PTR, "second.example.org");
}

static void
fill_bad_ptr(struct buf *out, int *count)
{
	add_pointing(out, count, NULL, DNS_TYPE_PTR, "-.example.org");
}

static void
fill_txt(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_TXT, "\6v=spf1\5 -all");
	ADD_LIT(NULL, DNS_TYPE_TXT, "\3a\0b");
	ADD_LIT(NULL, DNS_TYPE_TXT,
	    "\x09"
	    "cut");
	ADD_LIT(NULL, DNS_TYPE_TXT, "\0");
}

static void
fill_tlsa(struct buf *out, int *count)
{
	ADD_LIT(NULL, DNS_TYPE_TLSA, "\3\1\1\xaa\xbb\xcc");
	ADD_LIT(NULL, DNS_TYPE_TLSA, "\3\1\1");
}

enum { SERVFAIL = 2, NXDOMAIN = 3, SILENT = 100 };

static const struct script {
	const char *name;
	int type;
	int rcode;
	bool ad;
	void (*fill)(struct buf *out, int *count);
} scripts[] = {
    {"mail.example.org", DNS_TYPE_MX, 0, true, fill_mail},
    {"xn--mller-kva.example.org", DNS_TYPE_MX, 0, false, fill_mail},
    {"nomail.example.org", DNS_TYPE_MX, 0, false, fill_null_mx},
    {"alias.example.org", DNS_TYPE_MX, 0, false, fill_alias},
    {"loop.example.org", DNS_TYPE_MX, 0, false, fill_loop},
    {"cut.example.org", DNS_TYPE_MX, 0, false, fill_cut},
    {"empty.example.org", DNS_TYPE_MX, 0, false, NULL},
    {"broken.example.org", DNS_TYPE_MX, SERVFAIL, false, NULL},
    {"silent.example.org", DNS_TYPE_MX, SILENT, false, NULL},
    {"both.example.org", DNS_TYPE_A, 0, true, fill_a},
    {"both.example.org", DNS_TYPE_AAAA, 0, false, fill_aaaa},
    {"four.example.org", DNS_TYPE_A, 0, false, fill_a},
    {"four.example.org", DNS_TYPE_AAAA, SERVFAIL, false, NULL},
    {"half.example.org", DNS_TYPE_A, 0, false, NULL},
    {"half.example.org", DNS_TYPE_AAAA, SERVFAIL, false, NULL},
    {"many.example.org", DNS_TYPE_A, 0, false, fill_many},
    {"short.example.org", DNS_TYPE_A, 0, false, fill_short},
    {"1.2.0.192.in-addr.arpa", DNS_TYPE_PTR, 0, false, fill_ptr},
    {"2.2.0.192.in-addr.arpa", DNS_TYPE_PTR, 0, false, fill_bad_ptr},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_TYPE_PTR, 0,
	false, fill_ptr},
    {"txt.example.org", DNS_TYPE_TXT, 0, false, fill_txt},
    {"_25._tcp.mx.example.org", DNS_TYPE_TLSA, 0, true, fill_tlsa},
};

static const struct script *
find_script(const char *name, int type)
{
	static const struct script unknown = {.rcode = NXDOMAIN};

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
		if (strcmp(scripts[i].name, name) == 0 && scripts[i].type == type)
			return &scripts[i];
	return &unknown;
}

/* False: no answer. `limit`: bytes a UDP answer may have. */
static bool
answer(const char *bytes, size_t len, size_t limit, struct buf *out)
{
	struct buf records CLEANUP(buf_done) = {0};
	char name[DNS_NAME_MAX];
	size_t end = 12;
	const struct script *s;
	bool truncated;
	int count = 0;
	int type;

	assert_true(dns_wire_name(span_of(bytes, len), &end, name));
	type = (unsigned char)bytes[end] << 8 | (unsigned char)bytes[end + 1];
	end += 4;
	s = find_script(name, type);
	if (s->rcode == SILENT || (server.dropped > 0 && server.dropped-- > 0))
		return false;
	if (server.no_edns && bytes[11] != 0) {
		buf_add(out, bytes, 2);
		buf_add_u16(out, 0x8181);
		buf_add_u16(out, 1);
		buf_add_u16(out, 0);
		buf_add_u32(out, 0);
		buf_add(out, bytes + 12, end - 12);
		return true;
	}
	if (s->fill != NULL)
		s->fill(&records, &count);
	truncated = end + records.len > limit;
	buf_add(out, bytes, 2);
	buf_add_u8(out, (uint8_t)(truncated ? 0x83 : 0x81));
	buf_add_u8(out, (uint8_t)(0x80 | (s->ad ? 0x20 : 0) | s->rcode));
	buf_add_u16(out, 1);
	buf_add_u16(out, (uint16_t)(truncated ? 0 : count));
	buf_add_u32(out, 0);
	buf_add(out, bytes + 12, end - 12);
	if (!truncated)
		buf_add(out, records.ptr, records.len);
	return true;
}

static void
udp_task(void *arg UNUSED)
{
	struct task_fd *watch = task_fd_new(server.udp);

	for (;;) {
		char question[1500];
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		struct buf out = {0};
		ssize_t n =
		    recvfrom(server.udp, question, sizeof(question), 0, (void *)&from, &from_len);

		if (n < 0 && task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
		if (n <= 12)
			continue;
		server.udp_questions++;
		if (answer(question, (size_t)n, 1232, &out))
			(void)sendto(server.udp, out.ptr, out.len, 0, (void *)&from, from_len);
		buf_done(&out);
	}
	task_fd_free(&watch);
	close(server.udp);
}

static void
tcp_session(int fd)
{
	struct task_fd *watch = task_fd_new(fd);
	struct buf in = {0};
	struct buf out = {0};
	struct buf framed = {0};

	for (;;) {
		ssize_t n = recv(fd, buf_room(&in, 2000), 2000, 0);

		if (n < 0 && task_fd_wait_read(watch, clock_deadline(TEST_PATIENCE)) == TASK_READY)
			continue;
		if (n <= 0)
			break;
		buf_added(&in, (size_t)n);
		if (in.len < 14)
			continue;
		server.tcp_questions++;
		if (answer(in.ptr + 2, in.len - 2, 65535, &out)) {
			buf_add_u16(&framed, (uint16_t)out.len);
			buf_add(&framed, out.ptr, out.len);
			assert_int_equal(send(fd, framed.ptr, framed.len, 0), framed.len);
		}
		break;
	}
	buf_done(&in);
	buf_done(&out);
	buf_done(&framed);
	task_fd_free(&watch);
	close(fd);
}

static void
tcp_task(void *arg UNUSED)
{
	struct task_fd *watch = task_fd_new(server.tcp);

	for (;;) {
		int fd = accept4(server.tcp, NULL, NULL, SOCK_NONBLOCK);

		if (fd >= 0)
			tcp_session(fd);
		else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
	close(server.tcp);
}

/* ---- frame ------------------------------------------------------------------------------------------------------- */

/* One port for both, if that of the UDP socket is free for TCP too: other programs have ports as well. */
static bool
server_bind(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);

	server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(server.udp, (void *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(server.udp, (void *)&sin, &len), 0);
	server.port = ntohs(sin.sin_port);
	if (bind(server.tcp, (void *)&sin, sizeof(sin)) == 0)
		return true;
	close(server.udp);
	close(server.tcp);
	return false;
}

static void
server_start(void)
{
	bool bound = false;

	memset(&server, 0, sizeof(server));
	for (int tries = 0; tries < 100 && !bound; tries++)
		bound = server_bind();
	assert_true(bound);
	assert_int_equal(listen(server.tcp, 8), 0);
	assert_non_null(task_start("udp", udp_task, NULL));
	assert_non_null(task_start("tcp", tcp_task, NULL));
}

struct test_body {
	void (*fn)(void);
	bool dnssec;
	bool done;
};

static void
test_task(void *arg)
{
	struct test_body *body = arg;
	char servers[32];
	struct dns_settings settings = {
	    .servers = servers,
	    .timeout = 200 * CLOCK_MILLI,
	    .tries = 3,
	    .dnssec = body->dnssec,
	};
	struct err err = {0};

	server_start();
	(void)snprintf(servers, sizeof(servers), "127.0.0.1:%d", server.port);
	if (!dns_init(&settings, &err))
		fail_msg("%s", err.text);
	body->fn();
	dns_done();
	body->done = true;
	task_stop(TEST_PATIENCE);
}

static void
run_with(void (*fn)(void), bool dnssec)
{
	struct test_body body = {.fn = fn, .dnssec = dnssec};

	task_init(NULL);
	assert_non_null(task_start("test", test_task, &body));
	task_run();
	task_done();
	assert_true(body.done);
}

static int64_t
soon(void)
{
	return clock_deadline(TEST_PATIENCE);
}

/* ---- MX ----------------------------------------------------------------------------------------------------------- */

static void
body_mx(void)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};
	bool secure = true;

	assert_int_equal(
	    dns_mx("Mail.example.org.", soon(), &mx, &count, &secure, &err), DNS_FOUND);
	assert_int_equal(count, 2);
	assert_string_equal(mx[0].host, "backup.example.org");
	assert_int_equal(mx[0].preference, 20);
	assert_int_equal(mx[0].ttl, 300);
	assert_string_equal(mx[1].host, "mx1.example.org");
	assert_int_equal(mx[1].preference, 10);
	/* Nobody asked for validation, so AD means nothing. */
	assert_false(secure);
	mem_free(mx);

	assert_int_equal(dns_mx("nomail.example.org", soon(), &mx, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(count, 1);
	assert_string_equal(mx[0].host, "");
	mem_free(mx);

	assert_int_equal(dns_mx("alias.example.org", soon(), &mx, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(count, 1);
	assert_string_equal(mx[0].host, "mx.c.example.org");
	mem_free(mx);
}

static void
test_mx(void **state UNUSED)
{
	run_with(body_mx, false);
}

static void
expect_mx_failure(const char *name, enum dns_status status, enum err_kind kind, const char *text)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};

	assert_int_equal(dns_mx(name, soon(), &mx, &count, NULL, &err), status);
	assert_null(mx);
	assert_int_equal(err.kind, kind);
	assert_string_equal(err.text, text);
}

static void
body_failures(void)
{
	expect_mx_failure("nowhere.example.org", DNS_NOT_FOUND, ERR_PERM,
	    "Host or domain name not found. Name service error for name=nowhere.example.org "
	    "type=MX: Host not found");
	expect_mx_failure("empty.example.org", DNS_NO_DATA, ERR_PERM,
	    "Host or domain name not found. Name service error for name=empty.example.org "
	    "type=MX: Host found but no data record of requested type");
	expect_mx_failure("broken.example.org", DNS_RETRY, ERR_TEMP,
	    "Host or domain name not found. Name service error for name=broken.example.org "
	    "type=MX: Host not found, try again");
	expect_mx_failure("cut.example.org", DNS_INVALID, ERR_PERM,
	    "Name service error for name=cut.example.org type=MX: Malformed or unexpected name "
	    "server reply");
	expect_mx_failure("loop.example.org", DNS_NO_DATA, ERR_PERM,
	    "Host or domain name not found. Name service error for name=loop.example.org "
	    "type=MX: Host found but no data record of requested type");
	expect_mx_failure("no..name", DNS_INVALID, ERR_PERM,
	    "Name service error for name=no..name type=MX: Malformed or unexpected name server "
	    "reply");
}

static void
test_failures_are_told_apart(void **state UNUSED)
{
	run_with(body_failures, false);
}

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

static void
body_ip(void)
{
	struct dns_ip *ip = NULL;
	size_t count = 0;
	struct err err = {0};

	assert_int_equal(
	    dns_ip("both.example.org", AF_UNSPEC, soon(), &ip, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(count, 3);
	assert_int_equal(ip[0].family, AF_INET);
	assert_memory_equal(ip[1].addr, "\xc0\0\2\2", 4);
	assert_int_equal(ip[2].family, AF_INET6);
	assert_int_equal(ip[2].addr[15], 1);
	mem_free(ip);
	assert_int_equal(
	    dns_ip("both.example.org", AF_INET6, soon(), &ip, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(count, 1);
	mem_free(ip);
	/* One family is enough; where neither is there, trouble with one means: try again. */
	assert_int_equal(
	    dns_ip("four.example.org", AF_UNSPEC, soon(), &ip, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(count, 2);
	mem_free(ip);
	assert_int_equal(
	    dns_ip("half.example.org", AF_UNSPEC, soon(), &ip, &count, NULL, &err), DNS_RETRY);
	assert_int_equal(dns_ip("nowhere.example.org", AF_UNSPEC, soon(), &ip, &count, NULL, &err),
	    DNS_NOT_FOUND);
	assert_int_equal(
	    dns_ip("short.example.org", AF_INET, soon(), &ip, &count, NULL, &err), DNS_INVALID);
}

static void
test_addresses(void **state UNUSED)
{
	run_with(body_ip, false);
}

static void
body_truncated(void)
{
	struct dns_ip *ip = NULL;
	size_t count = 0;
	struct err err = {0};

	assert_int_equal(
	    dns_ip("many.example.org", AF_INET, soon(), &ip, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(server.tcp_questions, 1);
	assert_int_equal(count, DNS_RECORD_MAX);
	assert_int_equal(ip[99].addr[3], 99);
	mem_free(ip);
}

static void
test_truncated_answer_goes_over_tcp_and_is_capped(void **state UNUSED)
{
	run_with(body_truncated, false);
}

/* ---- other types -------------------------------------------------------------------------------------------------------- */

static enum dns_status
ptr_of(const char *text, char ***names, size_t *count)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
	struct err err = {0};

	if (inet_pton(AF_INET, text, &sin.sin_addr) == 1)
		return dns_ptr((const void *)&sin, soon(), names, count, &err);
	assert_int_equal(inet_pton(AF_INET6, text, &sin6.sin6_addr), 1);
	return dns_ptr((const void *)&sin6, soon(), names, count, &err);
}

static void
body_ptr(void)
{
	static const char *const addresses[] = {"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"};
	char **names = NULL;
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		assert_int_equal(ptr_of(addresses[i], &names, &count), DNS_FOUND);
		assert_int_equal(count, 2);
		assert_string_equal(names[0], "host.example.org");
		assert_string_equal(names[1], "second.example.org");
		mem_free(names);
	}
	assert_int_equal(ptr_of("192.0.2.2", &names, &count), DNS_INVALID);
	assert_int_equal(ptr_of("192.0.2.3", &names, &count), DNS_NOT_FOUND);
}

static void
test_ptr(void **state UNUSED)
{
	run_with(body_ptr, false);
}

static void
body_txt(void)
{
	char **texts = NULL;
	size_t count = 0;
	struct err err = {0};

	assert_int_equal(dns_txt("txt.example.org", soon(), &texts, &count, &err), DNS_FOUND);
	assert_int_equal(count, 3);
	assert_string_equal(texts[0], "v=spf1 -all");
	assert_string_equal(texts[1], "a?b");
	assert_string_equal(texts[2], "");
	mem_free(texts);
}

static void
test_txt(void **state UNUSED)
{
	run_with(body_txt, false);
}

static void
body_tlsa(void)
{
	struct dns_tlsa *tlsa = NULL;
	struct dns_mx *mx = NULL;
	struct dns_ip *ip = NULL;
	size_t count = 0;
	struct err err = {0};
	bool secure = false;

	assert_int_equal(
	    dns_tlsa("_25._tcp.mx.example.org", soon(), &tlsa, &count, &secure, &err), DNS_FOUND);
	assert_int_equal(count, 1);
	assert_true(secure);
	assert_int_equal(tlsa[0].usage, 3);
	assert_int_equal(tlsa[0].selector, 1);
	assert_int_equal(tlsa[0].matching, 1);
	assert_int_equal(tlsa[0].len, 3);
	assert_memory_equal(tlsa[0].data, "\xaa\xbb\xcc", 3);
	mem_free(tlsa);
	assert_int_equal(
	    dns_mx("nomail.example.org", soon(), &mx, &count, &secure, &err), DNS_FOUND);
	assert_false(secure);
	mem_free(mx);
	/* Only one of the two answers was validated. */
	secure = true;
	assert_int_equal(
	    dns_ip("both.example.org", AF_UNSPEC, soon(), &ip, &count, &secure, &err), DNS_FOUND);
	assert_false(secure);
	mem_free(ip);
}

static void
test_tlsa_and_validated_answers(void **state UNUSED)
{
	run_with(body_tlsa, true);
}

/* ---- trouble --------------------------------------------------------------------------------------------------------------- */

static void
body_lost_packets(void)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};

	server.dropped = 2;
	assert_int_equal(dns_mx("mail.example.org", soon(), &mx, &count, NULL, &err), DNS_FOUND);
	assert_int_equal(server.udp_questions, 3);
	mem_free(mx);
	dns_forget("mail.example.org");
	server.dropped = 100;
	assert_int_equal(dns_mx("mail.example.org", soon(), &mx, &count, NULL, &err), DNS_RETRY);
	assert_int_equal(server.udp_questions, 6);
}

static void
test_lost_packets_are_asked_for_again(void **state UNUSED)
{
	run_with(body_lost_packets, false);
}

static void
body_old_server(void)
{
	struct dns_mx *mx = NULL;
	struct dns_ip *ip = NULL;
	size_t count = 0;
	struct err err = {0};

	server.no_edns = true;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(
		    dns_mx("mail.example.org", soon(), &mx, &count, NULL, &err), DNS_FOUND);
		mem_free(mx);
		dns_forget("mail.example.org");
	}
	/* The first question was asked again by c-ares, which does so only once, the second by us, the third not. */
	assert_int_equal(server.udp_questions, 5);
	assert_int_equal(
	    dns_native("both.example.org", AF_INET, soon(), &ip, &count, &err), DNS_FOUND);
	mem_free(ip);
}

static void
test_server_that_does_not_know_edns(void **state UNUSED)
{
	run_with(body_old_server, false);
}

static void
body_deadline(void)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};
	int64_t start = clock_mono_us();

	for (int i = 0; i < 3; i++)
		assert_int_equal(dns_mx("silent.example.org", clock_deadline(20 * CLOCK_MILLI), &mx,
				     &count, NULL, &err),
		    DNS_RETRY);
	assert_true(clock_mono_us() - start < TEST_PATIENCE);
	/* What was given up does not disturb the next question. */
	assert_int_equal(dns_mx("mail.example.org", soon(), &mx, &count, NULL, &err), DNS_FOUND);
	mem_free(mx);
}

static void
test_deadline(void **state UNUSED)
{
	run_with(body_deadline, false);
}

static enum dns_status asked_status;

static void
asking_task(void *arg UNUSED)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};

	asked_status = dns_mx("silent.example.org", soon(), &mx, &count, NULL, &err);
	assert_int_equal(err.kind, ERR_GONE);
}

static void
body_cancelled(void)
{
	struct task_group group = {0};
	struct task *t = task_group_start(&group, "asking", asking_task, NULL);

	while (server.udp_questions == 0)
		(void)task_yield();
	asked_status = DNS_FOUND;
	task_cancel(t);
	assert_int_equal(task_group_wait(&group, soon()), TASK_READY);
	assert_int_equal(asked_status, DNS_CANCELLED);
}

static void
test_cancelled_task(void **state UNUSED)
{
	run_with(body_cancelled, false);
}

static size_t answered;

static void
one_of_many_task(void *arg)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};
	bool nowhere = (intptr_t)arg % 2 != 0;
	const char *name = nowhere ? "nowhere.example.org" : "mail.example.org";

	assert_int_equal(
	    dns_mx(name, soon(), &mx, &count, NULL, &err), nowhere ? DNS_NOT_FOUND : DNS_FOUND);
	mem_free(mx);
	answered++;
}

static void
body_parallel(void)
{
	struct task_group group = {0};

	answered = 0;
	for (intptr_t i = 0; i < 200; i++)
		assert_non_null(task_group_start(&group, "one", one_of_many_task, (void *)i));
	assert_int_equal(task_group_wait(&group, soon()), TASK_READY);
	assert_int_equal(answered, 200);
}

static void
test_200_questions_at_once(void **state UNUSED)
{
	run_with(body_parallel, false);
}

/* ---- native ---------------------------------------------------------------------------------------------------------------- */

static char hosts_file[64];

static void
write_hosts(const char *text)
{
	FILE *f = fopen(hosts_file, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void
expect_native(const char *host, int family, const char *want)
{
	struct dns_ip *ip = NULL;
	size_t count = 0;
	struct err err = {0};
	char all[512] = "";
	char text[INET6_ADDRSTRLEN];

	if (dns_native(host, family, soon(), &ip, &count, &err) != DNS_FOUND)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		assert_non_null(inet_ntop(ip[i].family, ip[i].addr, text, sizeof(text)));
		(void)snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ", text);
	}
	mem_free(ip);
	assert_string_equal(all, want);
}

static void
body_native(void)
{
	int fd;

	(void)snprintf(hosts_file, sizeof(hosts_file), "/tmp/dns-test-XXXXXX");
	fd = mkstemp(hosts_file);
	assert_true(fd >= 0);
	close(fd);
	dns_hosts_set_path(hosts_file);
	write_hosts(
	    "# comment\n127.0.0.1\tlocalhost Db1 # db2\n::1 localhost\n10.0.0.1 db1\nnonsense db1\n");
	expect_native("192.0.2.77", AF_UNSPEC, "192.0.2.77 ");
	expect_native("2001:db8::7", AF_UNSPEC, "2001:db8::7 ");
	expect_native("2001:db8::7", AF_INET, "");
	expect_native("LOCALHOST", AF_UNSPEC, "127.0.0.1 ::1 ");
	expect_native("localhost.", AF_INET6, "::1 ");
	expect_native("db1", AF_UNSPEC, "127.0.0.1 10.0.0.1 ");
	expect_native("db2", AF_UNSPEC, "");
	expect_native("both.example.org", AF_UNSPEC, "192.0.2.1 192.0.2.2 2001:db8::1 ");
	/* The size changes, so the test does not depend on the clock's grain. */
	write_hosts("10.0.0.2 db2\n");
	expect_native("db2", AF_UNSPEC, "10.0.0.2 ");
	expect_native("db1", AF_UNSPEC, "");
	assert_int_equal(unlink(hosts_file), 0);
	expect_native("db2", AF_UNSPEC, "");
}

static void
test_native_reads_the_hosts_file_first(void **state UNUSED)
{
	run_with(body_native, false);
}

/* ---- answers that are kept ---------------------------------------------------------------------------------------------- */

static enum dns_status
mx_of(const char *name)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};
	enum dns_status status = dns_mx(name, soon(), &mx, &count, NULL, &err);

	mem_free(mx);
	return status;
}

static void
body_kept(void)
{
	size_t asked = server.udp_questions;

	for (int i = 0; i < 3; i++)
		assert_int_equal(
		    mx_of(i == 1 ? "MAIL.example.org" : "mail.example.org."), DNS_FOUND);
	assert_int_equal(server.udp_questions, asked + 1);
	dns_forget("mail.example.org");
	assert_int_equal(mx_of("mail.example.org"), DNS_FOUND);
	assert_int_equal(server.udp_questions, asked + 2);
	/* Another type is another question; a failure, and a "no" that does not say how long, are not kept. */
	assert_int_equal(mx_of("both.example.org"), DNS_NOT_FOUND);
	assert_int_equal(mx_of("both.example.org"), DNS_NOT_FOUND);
	assert_int_equal(server.udp_questions, asked + 4);
}

static void
body_idn(void)
{
	assert_int_equal(mx_of("m\xc3\xbcller.example.org"), DNS_FOUND);
	assert_int_equal(mx_of("M\xc3\x9cLLER.example.org"), DNS_FOUND);
	assert_int_equal(mx_of("\xff\xfe.example.org"), DNS_INVALID);
}

static void
test_internationalised_names(void **state UNUSED)
{
	run_with(body_idn, false);
}

static void
test_answers_are_kept(void **state UNUSED)
{
	run_with(body_kept, false);
}

struct asker {
	size_t done;
	struct task_cond ended;
};

static void
ask_task(void *arg)
{
	struct asker *a = arg;

	assert_int_equal(mx_of("mail.example.org"), DNS_FOUND);
	a->done++;
	task_cond_wake_all(&a->ended);
}

static void
body_shared(void)
{
	size_t asked = server.udp_questions;
	struct asker a = {0};

	for (int i = 0; i < 50; i++)
		assert_non_null(task_start("ask", ask_task, &a));
	while (a.done < 50)
		assert_int_equal(task_cond_wait(&a.ended, soon()), TASK_READY);
	assert_int_equal(server.udp_questions, asked + 1);
}

static void
test_equal_questions_share_an_answer(void **state UNUSED)
{
	run_with(body_shared, false);
}

/* One of those who wait gives up; the others get their answer. */
static void
give_up_task(void *arg UNUSED)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err = {0};

	assert_int_equal(
	    dns_mx("mail.example.org", clock_deadline(5 * CLOCK_MILLI), &mx, &count, NULL, &err),
	    DNS_RETRY);
}

static void
body_one_gives_up(void)
{
	struct asker a = {0};

	/* The answer comes when the question is repeated. */
	server.dropped = 1;
	assert_non_null(task_start("give up", give_up_task, NULL));
	assert_non_null(task_start("ask", ask_task, &a));
	while (a.done < 1)
		assert_int_equal(task_cond_wait(&a.ended, soon()), TASK_READY);
}

static void
test_who_gives_up_takes_nothing_from_others(void **state UNUSED)
{
	run_with(body_one_gives_up, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mx),
	    cmocka_unit_test(test_failures_are_told_apart),
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_truncated_answer_goes_over_tcp_and_is_capped),
	    cmocka_unit_test(test_ptr),
	    cmocka_unit_test(test_txt),
	    cmocka_unit_test(test_tlsa_and_validated_answers),
	    cmocka_unit_test(test_lost_packets_are_asked_for_again),
	    cmocka_unit_test(test_server_that_does_not_know_edns),
	    cmocka_unit_test(test_deadline),
	    cmocka_unit_test(test_cancelled_task),
	    cmocka_unit_test(test_200_questions_at_once),
	    cmocka_unit_test(test_native_reads_the_hosts_file_first),
	    cmocka_unit_test(test_internationalised_names),
	    cmocka_unit_test(test_answers_are_kept),
	    cmocka_unit_test(test_equal_questions_share_an_answer),
	    cmocka_unit_test(test_who_gives_up_takes_nothing_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
