/*
 * smtpd_session.c - one client from greeting to goodbye: read a line, look the verb up, call its handler, count. Everything
 * about a single verb is in the verb's own file.
 */
#include "smtpd/smtpd_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "net/net_proxy.h"
#include "smtpd/smtpd_peer.h"
#include "smtpd/smtpd_setup.h"
#include "smtpd/smtpd_xclient.h"
#include "task/task.h"

const char smtpd_after_message[] = "END-OF-MESSAGE";

static const char *const smtpd_state_names[] = {
    [SMTPD_STATE_NEW] = "new",
    [SMTPD_STATE_HELO] = "helo",
    [SMTPD_STATE_MAIL] = "mail",
    [SMTPD_STATE_RCPT] = "rcpt",
    [SMTPD_STATE_BDAT] = "bdat",
    [SMTPD_STATE_CLOSED] = "closed",
};

void
smtpd_enter(struct smtpd_session *s, enum smtpd_state state)
{
	log_debug("%s: %s -> %s", s->client_address, smtpd_state_names[s->state],
	    smtpd_state_names[state]);
	MUST(s->state != SMTPD_STATE_CLOSED || state == SMTPD_STATE_CLOSED);
	MUST((state != SMTPD_STATE_RCPT && state != SMTPD_STATE_BDAT) ||
	     s->mail.msg_id != 0); /* I2 */
	s->state = state;
}

void
smtpd_mail_clear(struct smtpd_session *s)
{
	cleanup_free(&s->mail.cleanup);
	arena_done(&s->mail.arena);
	mem_free(s->mail.rcpts);
	mem_free(s->mail.bccs.items);
	mem_free(s->mail.headers.items);
	s->mail = (struct smtpd_mail){0};
}

void
smtpd_mail_reset(struct smtpd_session *s)
{
	smtpd_mail_clear(s);
	smtpd_forward_done(s);
	if (s->state >= SMTPD_STATE_MAIL && s->state <= SMTPD_STATE_BDAT)
		smtpd_enter(s, SMTPD_STATE_HELO);
}

/* Takes an over-long command as its beginning, as Postfix does; its rest must never be taken for a command of its own. */
static enum stream_result
smtpd_skip_line(struct smtpd_session *s, struct span *line)
{
	enum stream_result r = STREAM_TOO_LONG;

	log_warn("%s[%s]: request longer than %zu: %.*s...", s->client_name, s->client_address,
	    s->setup->line_limit, SPAN_ARG(span_head(*line, 30)));
	buf_clear(&s->line);
	buf_add_span(&s->line, *line);
	*line = buf_span(&s->line);
	while (r == STREAM_TOO_LONG) {
		struct span rest;

		r = stream_read_line(s->stream, s->setup->line_limit, &rest, NULL);
	}
	return r;
}

/* Replies gathered so far go out, unless more of the client's pipeline is already here (I4). */
static enum stream_result
smtpd_read_command(struct smtpd_session *s, struct span *ret_line, bool *ret_bare_lf)
{
	enum stream_result r;

	if (!stream_has_input(s->stream)) {
		r = stream_flush(s->stream);
		if (r != STREAM_OK)
			return r;
	}
	stream_set_deadline(
	    s->stream, clock_deadline(conf_time(s->setup->conf, CONF_smtpd_timeout)));
	s->waiting_for_command = s->state <= SMTPD_STATE_HELO;
	r = stream_read_line(s->stream, s->setup->line_limit, ret_line, ret_bare_lf);
	if (r == STREAM_TOO_LONG)
		r = smtpd_skip_line(s, ret_line);
	s->waiting_for_command = false;
	/* No command has a NUL in it: nobody may see less than we do. */
	if (r == STREAM_OK)
		*ret_line = span_head(*ret_line, span_find(*ret_line, '\0'));
	return r;
}

/* A client that made too many errors is dropped. */
static bool
smtpd_has_patience(struct smtpd_session *s)
{
	if (s->errors < (unsigned)conf_int(s->setup->conf, CONF_smtpd_hard_error_limit))
		return true;
	s->notice.reason = "too many errors";
	smtpd_give_up(s, "4.7.0", "Error: too many errors");
	smtpd_log_lost(s, "too many errors", s->where, -1);
	return false;
}

/* smtpd_forbid_bare_newline = reject: a command that ends in LF alone may be the end of a smuggled message. */
static bool
smtpd_line_is_proper(struct smtpd_session *s, bool bare_lf)
{
	struct access_request request;

	if (!bare_lf || !s->forbids_bare_lf || s->setup->bare_newline != SMTP_DATA_REJECT)
		return true;
	smtpd_access_request(s, &request);
	smtpd_log_action(s, "reject", s->where, &request, SPAN_LIT("bare <LF> received"));
	smtpd_reply(s, conf_int(s->setup->conf, CONF_smtpd_forbid_bare_newline_reject_code),
	    "5.5.2", "%s Error: bare <LF> received", s->setup->hostname);
	smtpd_enter(s, SMTPD_STATE_CLOSED);
	return false;
}

/* The greeting, or a refusal; a refused client may still say QUIT (RFC 5321 section 3.1). */
static void
smtpd_greet(struct smtpd_session *s)
{
	struct access_request request;

	smtpd_access_request(s, &request);
	s->access_denied = !smtpd_access_permits(s, ACCESS_CONNECT, s->where, &request);
	if (s->access_denied)
		return;
	smtpd_notice_said(s, buf_span(&s->setup->banner));
	(void)stream_write_span(s->stream, buf_span(&s->setup->banner));
	(void)stream_write(s->stream, "\r\n", 2);
}

void
smtpd_client_changed(struct smtpd_session *s, bool first)
{
	if (first)
		s->where = "CONNECT";
	smtpd_setup_authorize(s, first);
	if (smtpd_client_begin(s))
		smtpd_greet(s);
}

void
smtpd_server_address(struct smtpd_session *s)
{
	struct net_addr own = {.len = sizeof(own.sa)};

	if (s->server_address[0] != '\0')
		return;
	if (getsockname(stream_fd(s->stream), (struct sockaddr *)&own.sa, &own.len) != 0)
		own.len = 0;
	net_addr_unmap(&own);
	net_addr_text(&own, s->server_address, sizeof(s->server_address));
	(void)snprintf(s->server_port, sizeof(s->server_port), "%u", net_addr_port(&own));
}

/* The client went away, or was too slow, or the process has to leave. */
static void
smtpd_lost(struct smtpd_session *s, enum stream_result why)
{
	if (why == STREAM_TIMEOUT)
		smtpd_give_up(s, "4.4.2", "Error: timeout exceeded");
	if (why == STREAM_CANCELLED)
		return smtpd_give_up(s, "4.3.2", "Service shutting down, closing connection");
	s->notice.reason = why == STREAM_TIMEOUT ? "timeout" : "lost connection";
	/* Many clients go without QUIT when their message is taken. */
	if (why == STREAM_TIMEOUT || s->where != smtpd_after_message)
		smtpd_log_lost(
		    s, why == STREAM_TIMEOUT ? "timeout" : "lost connection", s->where, -1);
}

bool
smtpd_session_may_end(const struct smtpd_session *s)
{
	if (s->state > SMTPD_STATE_HELO)
		return false;
	if (s->counts[SMTPD_MAIL][0] > 0)
		return true;
	return s->server->leave_all != 0 && clock_mono_us() >= s->server->leave_all;
}

static void
smtpd_loop(struct smtpd_session *s)
{
	enum stream_result r = STREAM_OK;
	struct span line;
	bool bare_lf;

	while (s->state != SMTPD_STATE_CLOSED && smtpd_has_patience(s)) {
		/* A service that leaves ends its sessions between mail transactions, never within one. */
		if (s->server->service->leaving && smtpd_session_may_end(s) &&
		    !stream_has_input(s->stream)) {
			r = STREAM_CANCELLED;
			break;
		}
		r = smtpd_read_command(s, &line, &bare_lf);
		if (r != STREAM_OK)
			break;
		smtpd_notice_heard(s, line);
		if (smtpd_line_is_proper(s, bare_lf))
			smtpd_command_run(s, line);
	}
	if (r != STREAM_OK)
		smtpd_lost(s, r);
	/* A cancelled session still says goodbye. */
	task_shield(true);
	stream_set_deadline(s->stream, clock_deadline(5 * CLOCK_SECOND));
	(void)stream_flush(s->stream);
	task_shield(false);
}

static void
smtpd_log_connect(const struct smtpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);

	mail_log_connect(&text, &client);
	log_info("%s", buf_str(&text));
}

static void
smtpd_log_disconnect(const struct smtpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	static const enum smtpd_command order[] = {SMTPD_HELO, SMTPD_EHLO, SMTPD_XCLIENT,
	    SMTPD_XFORWARD, SMTPD_STARTTLS, SMTPD_AUTH, SMTPD_MAIL, SMTPD_RCPT, SMTPD_DATA,
	    SMTPD_BDAT, SMTPD_RSET, SMTPD_NOOP, SMTPD_VRFY, SMTPD_ETRN, SMTPD_QUIT, SMTPD_HELP,
	    SMTPD_UNKNOWN};
	const struct mail_log_client client = smtpd_log_client(s);
	struct mail_log_command commands[ARRAY_LEN(order)];

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		commands[i] = (struct mail_log_command){
		    .name = smtpd_command_name(order[i]),
		    .good = s->counts[order[i]][0],
		    .all = s->counts[order[i]][1],
		};
	mail_log_disconnect(&text, &client, commands, ARRAY_LEN(order));
	log_info("%s", buf_str(&text));
}

static void
smtpd_session_done(struct smtpd_session *s)
{
	access_client_done(&s->client);
	list_remove(&s->node);
	s->server->session_count--;
	smtpd_mail_reset(s);
	mail_transcript_done(&s->notice.transcript);
	mem_free(s->helo);
	mem_free(s->sasl_username);
	access_memory_done(&s->memory);
	buf_done(&s->reply);
	buf_done(&s->line);
	smtpd_setup_unref(&s->setup);
	stream_free(&s->stream);
	mem_free(s);
}

/* As Postfix's master tells smtpd by "stress=yes": this session takes the last free slot. */
static bool
smtpd_is_stressed(const struct smtpd_server *server)
{
	return server->stressed != NULL && server->service->slots != 0 &&
	       server->session_count >= server->service->slots;
}

/* A load balancer says first who the client is; false: it does not, and the session ends. */
static bool
smtpd_read_proxy_header(struct smtpd_session *s)
{
	struct net_addr server = {0};
	struct err err;

	if (!s->setup->haproxy)
		return true;
	stream_set_deadline(s->stream,
	    clock_deadline(conf_time(s->setup->conf, CONF_smtpd_upstream_proxy_timeout)));
	if (net_proxy_read(
		s->stream, smtpd_setup_is_ipv4_only(s->setup), &s->peer, &server, &err)) {
		if (server.len == 0)
			return true;
		net_addr_text(&server, s->server_address, sizeof(s->server_address));
		(void)snprintf(
		    s->server_port, sizeof(s->server_port), "%u", net_addr_port(&server));
		return true;
	}
	smtpd_peer_find(s);
	smtpd_log_connect(s);
	log_warn("%s", err.text);
	smtpd_give_up(s, "4.3.0", "Server local error");
	stream_set_deadline(s->stream, clock_deadline(5 * CLOCK_SECOND));
	(void)stream_flush(s->stream);
	smtpd_log_disconnect(s);
	return false;
}

static void
smtpd_session_serve(struct smtpd_session *s)
{
	s->connection = s->peer;
	smtpd_peer_find(s);
	s->forbids_bare_lf = smtpd_setup_forbids_bare_lf(s->setup, &s->peer);
	smtpd_log_connect(s);
	smtpd_client_changed(s, true);
	smtpd_loop(s);
	smtpd_notice_end(s);
	smtpd_log_disconnect(s);
}

void
smtpd_session_run(struct stream *stream, const struct net_addr *peer, void *arg)
{
	struct smtpd_session *s = mem_new(struct smtpd_session);

	s->server = arg;
	s->task = task_self();
	list_add(&s->server->sessions, &s->node);
	s->server->session_count++;
	s->setup =
	    smtpd_setup_ref(smtpd_is_stressed(s->server) ? s->server->stressed : s->server->setup);
	s->stream = stream;
	s->peer = *peer;
	if (smtpd_read_proxy_header(s))
		smtpd_session_serve(s);
	smtpd_session_done(s);
}
