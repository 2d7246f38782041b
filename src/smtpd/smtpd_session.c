/*
 * smtpd_session.c - one client from greeting to goodbye: read a line, look the verb up, call its handler, count. Everything
 * about a single verb is in the verb's own file.
 */
#include "smtpd/smtpd_int.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "smtpd/smtpd_peer.h"
#include "smtpd/smtpd_setup.h"
#include "task/task.h"

static const char *const smtpd_state_names[] = {
    [SMTPD_STATE_NEW] = "new",
    [SMTPD_STATE_HELO] = "helo",
    [SMTPD_STATE_MAIL] = "mail",
    [SMTPD_STATE_RCPT] = "rcpt",
    [SMTPD_STATE_CLOSED] = "closed",
};

void
smtpd_enter(struct smtpd_session *s, enum smtpd_state state)
{
	log_debug("%s: %s -> %s", s->client_address, smtpd_state_names[s->state],
	    smtpd_state_names[state]);
	MUST(s->state != SMTPD_STATE_CLOSED || state == SMTPD_STATE_CLOSED);
	MUST(state != SMTPD_STATE_RCPT || s->mail.msg_id != 0); /* I2 */
	s->state = state;
}

void
smtpd_mail_reset(struct smtpd_session *s)
{
	arena_done(&s->mail.arena);
	mem_free(s->mail.rcpts);
	s->mail = (struct smtpd_mail){0};
	if (s->state == SMTPD_STATE_MAIL || s->state == SMTPD_STATE_RCPT)
		smtpd_enter(s, SMTPD_STATE_HELO);
}

/* Replies gathered so far go out, unless more of the client's pipeline is already here (I4). */
static enum stream_result
smtpd_read_command(struct smtpd_session *s, struct span *ret_line)
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
	r = stream_read_line(s->stream, s->setup->line_limit, ret_line, NULL);
	s->waiting_for_command = false;
	if (r != STREAM_TOO_LONG)
		return r;
	/* The rest of an over-long command is skipped; what was read is taken as the command, as Postfix does. */
	return STREAM_OK;
}

/* Too many errors: slow the client down, then drop it. */
static void
smtpd_punish(struct smtpd_session *s)
{
	const struct conf *conf = s->setup->conf;
	int64_t pause = conf_time(conf, CONF_smtpd_error_sleep_time);

	if (s->errors >= (unsigned)conf_int(conf, CONF_smtpd_hard_error_limit) ||
	    s->junk > (unsigned)conf_int(conf, CONF_smtpd_junk_command_limit)) {
		smtpd_give_up(s, "4.7.0", "Error: too many errors");
		log_info("too many errors after %s from %s[%s]", s->where, s->client_name,
		    s->client_address);
		return;
	}
	if (pause > 0 && s->errors >= (unsigned)conf_int(conf, CONF_smtpd_soft_error_limit))
		(void)task_sleep_until(clock_deadline(pause));
}

static void
smtpd_unknown(struct smtpd_session *s, struct span word)
{
	struct span rest = span_str(conf_str(s->setup->conf, CONF_smtpd_forbidden_commands));
	struct span item;

	while (span_word(&rest, ", \t\r\n", &item)) {
		if (!span_equal_nocase(item, word))
			continue;
		log_warn("non-SMTP command from %s[%s]: %.*s", s->client_name, s->client_address,
		    SPAN_ARG(word));
		smtpd_reply(s, 221, "2.7.0", "Error: I can break rules, too. Goodbye.");
		return smtpd_enter(s, SMTPD_STATE_CLOSED);
	}
	smtpd_reply(s, 500, "5.5.2", "Error: command not recognized");
}

/* One command line. */
static void
smtpd_command_run(struct smtpd_session *s, struct span line)
{
	struct span rest = line;
	struct span word = {0};
	const struct smtpd_verb *verb;

	if (!span_word(&rest, " \t", &word))
		word = span_of(line.ptr, 0);
	verb = smtpd_verb_find(word);
	s->command = verb != NULL ? verb->command : SMTPD_UNKNOWN;
	s->where = verb != NULL ? verb->name : "UNKNOWN";
	s->failed = false;
	if (verb != NULL && (verb->flags & SMTPD_JUNK) != 0)
		s->junk++;
	if (verb != NULL)
		verb->handler(s, rest);
	else
		smtpd_unknown(s, word);
	s->counts[s->command][1]++;
	s->counts[s->command][0] += !s->failed;
	if (s->failed && s->state != SMTPD_STATE_CLOSED)
		smtpd_punish(s);
}

static void
smtpd_greet(struct smtpd_session *s)
{
	(void)stream_write_span(s->stream, buf_span(&s->setup->banner));
	(void)stream_write(s->stream, "\r\n", 2);
	s->where = "CONNECT";
}

/* The client went away, or was too slow, or the process has to leave. */
static void
smtpd_lost(struct smtpd_session *s, enum stream_result why)
{
	if (why == STREAM_TIMEOUT)
		smtpd_give_up(s, "4.4.2", "Error: timeout exceeded");
	if (why == STREAM_CANCELLED)
		return smtpd_give_up(s, "4.3.2", "Service shutting down, closing connection");
	log_info("%s after %s from %s[%s]", why == STREAM_TIMEOUT ? "timeout" : "lost connection",
	    s->where, s->client_name, s->client_address);
}

static void
smtpd_loop(struct smtpd_session *s)
{
	enum stream_result r = STREAM_OK;
	struct span line;

	while (s->state != SMTPD_STATE_CLOSED) {
		/* A service that leaves ends its sessions between mail transactions, never within one. */
		if (s->server->service->leaving && s->state <= SMTPD_STATE_HELO &&
		    !stream_has_input(s->stream)) {
			r = STREAM_CANCELLED;
			break;
		}
		r = smtpd_read_command(s, &line);
		if (r != STREAM_OK)
			break;
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
smtpd_log_disconnect(const struct smtpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	static const enum smtpd_command order[] = {SMTPD_HELO, SMTPD_EHLO, SMTPD_MAIL, SMTPD_RCPT,
	    SMTPD_DATA, SMTPD_RSET, SMTPD_NOOP, SMTPD_VRFY, SMTPD_QUIT, SMTPD_UNKNOWN};
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
	list_remove(&s->node);
	task_cond_wake_all(&s->server->session_ended);
	smtpd_mail_reset(s);
	mem_free(s->helo);
	buf_done(&s->reply);
	smtpd_setup_unref(&s->setup);
	stream_free(&s->stream);
	mem_free(s);
}

void
smtpd_session_run(struct stream *stream, const struct net_addr *peer, void *arg)
{
	struct smtpd_session *s = mem_new(struct smtpd_session);

	s->server = arg;
	s->task = task_self();
	list_add(&s->server->sessions, &s->node);
	s->setup = smtpd_setup_ref(s->server->setup);
	s->stream = stream;
	s->peer = *peer;
	smtpd_peer_find(s);
	log_info("connect from %s[%s]", s->client_name, s->client_address);
	smtpd_greet(s);
	smtpd_loop(s);
	smtpd_log_disconnect(s);
	smtpd_session_done(s);
}
