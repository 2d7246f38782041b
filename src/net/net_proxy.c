/*
 * net_proxy.c - reading PROXY protocol headers: see net_proxy.h. Section numbers are those of HAProxy's
 * doc/proxy-protocol.txt.
 */
#include "net/net_proxy.h"

#include <netinet/in.h>
#include <string.h>

#include "base/err.h"
#include "base/span.h"
#include "net/stream.h"

#define V1_LINE_MAX  105 /* 107 with its CR LF (2.1) */
#define V2_FIXED     16
#define V2_PAYLOAD   520 /* addresses and extensions that fit into 536 bytes */
#define V2_V4_LEN    12
#define V2_V6_LEN    36
#define V2_LOCAL     0x20
#define V2_PROXY     0x21
#define V2_TCP_ON_V4 0x11
#define V2_TCP_ON_V6 0x21
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_SIGN_LEN  (sizeof(V2_SIGNATURE) - 1)

/* What a stream says, in the words of Postfix. */
static const char *
read_trouble(enum stream_result r)
{
	if (r == STREAM_TIMEOUT)
		return "timeout error";
	return r == STREAM_EOF ? "EOF" : stream_result_text(r);
}

static bool
refuse(struct err *err, const char *why)
{
	return err_set(err, ERR_TEMP, "4.3.0", "haproxy read: %s", why);
}

/* ---- version 1 (2.1) ------------------------------------------------------------------------------------------- */

static bool
parse_endpoint(struct span addr, struct span port, int family, struct net_addr *ret)
{
	char text[64];
	uint64_t number;

	if (addr.len >= sizeof(text) || !span_number(port, UINT16_MAX, &number))
		return false;
	memcpy(text, addr.ptr, addr.len);
	text[addr.len] = '\0';
	/* no brackets, no prefix, no scope: what net_addr_parse() takes beyond a bare address */
	if (strspn(text, "0123456789abcdefABCDEF:.") != addr.len)
		return false;
	if (!net_addr_parse(text, (uint16_t)number, ret) || net_addr_family(ret) != family)
		return false;
	net_addr_unmap(ret);
	return true;
}

static bool
parse_v1(
    struct span line, struct net_addr *ret_client, struct net_addr *ret_server, struct err *err)
{
	struct span word[6] = {{0}};
	struct net_addr client, server;
	int family;

	for (size_t i = 0; i < ARRAY_LEN(word); i++)
		if (!span_word(&line, " ", &word[i]))
			return refuse(err, "short protocol header");
	if (!span_equal_str(word[0], "PROXY"))
		return refuse(err, "unexpected protocol header");
	if (span_equal_str(word[1], "TCP4"))
		family = AF_INET;
	else if (span_equal_str(word[1], "TCP6"))
		family = AF_INET6;
	else
		return refuse(err, "unsupported protocol type");
	if (!parse_endpoint(word[2], word[4], family, &client))
		return refuse(err, "bad client address or port");
	if (!parse_endpoint(word[3], word[5], family, &server))
		return refuse(err, "bad server address or port");
	*ret_client = client;
	*ret_server = server;
	return true;
}

/* ---- version 2 (2.2) ------------------------------------------------------------------------------------------- */

static struct net_addr
make_v4(const unsigned char *addr, const unsigned char *port)
{
	struct net_addr a = {.len = sizeof(struct sockaddr_in)};
	struct sockaddr_in *in = (struct sockaddr_in *)&a.sa;

	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, addr, 4);
	memcpy(&in->sin_port, port, 2);
	return a;
}

static struct net_addr
make_v6(const unsigned char *addr, const unsigned char *port)
{
	struct net_addr a = {.len = sizeof(struct sockaddr_in6)};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.sa;

	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, addr, 16);
	memcpy(&in6->sin6_port, port, 2);
	net_addr_unmap(&a);
	return a;
}

static bool
parse_v2(const unsigned char *head, const unsigned char *payload, size_t len,
    struct net_addr *ret_client, struct net_addr *ret_server, struct err *err)
{
	if (head[12] == V2_LOCAL)
		return true;
	if (head[12] != V2_PROXY)
		return refuse(err, "bad version or command");
	if (head[13] == V2_TCP_ON_V4 && len >= V2_V4_LEN) {
		*ret_client = make_v4(payload, payload + 8);
		*ret_server = make_v4(payload + 4, payload + 10);
		return true;
	}
	if (head[13] == V2_TCP_ON_V6 && len >= V2_V6_LEN) {
		*ret_client = make_v6(payload, payload + 32);
		*ret_server = make_v6(payload + 16, payload + 34);
		return true;
	}
	return refuse(err, "unsupported network protocol or short addresses");
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static bool
read_v2(struct stream *s, struct net_addr *ret_client, struct net_addr *ret_server, struct err *err)
{
	unsigned char head[V2_FIXED], payload[V2_PAYLOAD];
	enum stream_result r = stream_read_full(s, head, sizeof(head));
	size_t len = 0;

	if (r != STREAM_OK)
		return refuse(err, read_trouble(r));
	if (memcmp(head, V2_SIGNATURE, V2_SIGN_LEN) != 0)
		return refuse(err, "unexpected protocol header");
	len = (size_t)(head[14] << 8 | head[15]);
	if (len > sizeof(payload))
		return refuse(err, "protocol header too long");
	r = stream_read_full(s, payload, len);
	if (r != STREAM_OK)
		return refuse(err, read_trouble(r));
	return parse_v2(head, payload, len, ret_client, ret_server, err);
}

static bool
read_any(
    struct stream *s, struct net_addr *ret_client, struct net_addr *ret_server, struct err *err)
{
	struct span bytes;
	enum stream_result r = stream_peek(s, &bytes);

	if (r == STREAM_OK && bytes.ptr[0] == V2_SIGNATURE[0])
		return read_v2(s, ret_client, ret_server, err);
	if (r == STREAM_OK && bytes.ptr[0] != 'P')
		return refuse(err, "unexpected protocol header");
	if (r == STREAM_OK)
		r = stream_read_line(s, V1_LINE_MAX, &bytes, NULL);
	if (r != STREAM_OK)
		return refuse(err, read_trouble(r));
	return parse_v1(bytes, ret_client, ret_server, err);
}

bool
net_proxy_read(struct stream *s, bool only_ipv4, struct net_addr *ret_client,
    struct net_addr *ret_server, struct err *err)
{
	struct net_addr client = *ret_client;

	if (!read_any(s, &client, ret_server, err))
		return false;
	if (only_ipv4 && net_addr_family(&client) == AF_INET6)
		return refuse(err, "unsupported network protocol");
	*ret_client = client;
	return true;
}
