/*
 * smtpd_command.c - one command line: what the configuration makes of it (smtpd_command_filter, smtpd_noop_commands,
 * smtpd_forbidden_commands), its verb, the rules of pipelining, and the counters of errors and junk.
 */
#include "smtpd/smtpd_int.h"

#include "base/log.h"
#include "base/utf8.h"
#include "mail/mail_log.h"
#include "table/table.h"
#include "task/task.h"

/* A client that makes errors is slowed down: each reply after the first few errors waits. */
static void
smtpd_slow_down(struct smtpd_session *s, unsigned errors_before)
{
	const struct conf *conf = s->setup->conf;
	int64_t pause = conf_time(conf, CONF_smtpd_error_sleep_time);

	if (pause > 0 && errors_before >= (unsigned)conf_int(conf, CONF_smtpd_soft_error_limit))
		(void)task_sleep_until(clock_deadline(pause));
}

/* "Subject:" and the like: somebody's message, or a web form, talks to us as if we were in DATA. */
static bool
smtpd_is_header(struct span word)
{
	size_t colon = span_find(word, ':');

	for (size_t i = 0; i < colon && i < word.len; i++)
		if (word.ptr[i] <= ' ' || word.ptr[i] >= 127)
			return false;
	return colon > 0 && colon < word.len;
}

/* Tables that cannot be asked are passed over: neither list is about safety. They get a copy that ends in NUL, as regexec() wants. */
static bool
smtpd_list_has(const struct domain_list *list, struct span word)
{
	struct buf copy CLEANUP(buf_done) = {0};
	struct err err;

	if (domain_list_is_empty(list))
		return false;
	buf_add_span(&copy, word);
	return domain_list_has(list, buf_span(&copy), &err) == TABLE_FOUND;
}

static void
smtpd_unknown(struct smtpd_session *s, struct span line, struct span word)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);

	if (!smtpd_is_header(word) && !smtpd_list_has(s->setup->forbidden_commands, word))
		return smtpd_reply(s, 500, "5.5.2", "Error: command not recognized");
	mail_log_non_smtp(&text, &client, line);
	log_warn("%s", buf_str(&text));
	smtpd_reply(s, 221, "2.7.0", "Error: I can break rules, too. Goodbye.");
	s->failed = true;
	smtpd_enter(s, SMTPD_STATE_CLOSED);
}

/* Input behind a command that must end its group, or without EHLO (RFC 2920 section 3.1); true: the session may go on. */
static bool
smtpd_pipelining_is_proper(struct smtpd_session *s, const struct smtpd_verb *verb)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);
	struct span input;

	if ((s->esmtp && (verb->flags & SMTPD_LAST_IN_GROUP) == 0) || !stream_has_input(s->stream))
		return true;
	/* Where the client is a file, everything is there at once. */
	if (s->server->front.shard_count == 0)
		return true;
	if (!s->seen_pipelining && stream_peek(s->stream, &input) == STREAM_OK) {
		s->seen_pipelining = true;
		mail_log_pipelining(&text, s->where, &client, input);
		log_info("%s", buf_str(&text));
	}
	if (!conf_bool(s->setup->conf, CONF_smtpd_forbid_unauth_pipelining))
		return true;
	smtpd_reply(s, 554, "5.5.0", "Error: SMTP protocol synchronization");
	smtpd_enter(s, SMTPD_STATE_CLOSED);
	return false;
}

static void
smtpd_count_junk(struct smtpd_session *s)
{
	if (s->junk++ > (unsigned)conf_int(s->setup->conf, CONF_smtpd_junk_command_limit))
		s->errors++;
}

static void
smtpd_verb_run(struct smtpd_session *s, const struct smtpd_verb *verb, struct span args)
{
	if ((verb->flags & SMTPD_JUNK) != 0)
		smtpd_count_junk(s);
	if (s->access_denied && verb->command != SMTPD_QUIT)
		return smtpd_reply(s, 503, "5.7.0", "Error: access denied for %s[%s]",
		    s->client_name, s->client_address);
	if (smtpd_pipelining_is_proper(s, verb))
		verb->handler(s, args);
}

/* smtpd_command_filter: another line in place of this one, kept in `other`. */
static struct span
smtpd_command_filtered(struct smtpd_session *s, struct span line, struct buf *other)
{
	struct buf copy CLEANUP(buf_done) = {0};
	struct err err;

	while (line.len != 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
		line = span_from(line, 1);
	buf_add_span(&copy, line);
	if (table_list_lookup(s->setup->command_filter, buf_span(&copy), TABLE_KEY_FULL, other,
		&err) != TABLE_FOUND)
		return line;
	log_info("%s[%s]: replacing command \"%.*s\" with \"%s\"", s->client_name,
	    s->client_address, SPAN_ARG(span_head(line, 100)), buf_str(other));
	return buf_span(other);
}

/* Lines that are no command at all; answers them. */
static bool
smtpd_line_is_command(struct smtpd_session *s, struct span line, struct span word)
{
	if (s->setup->wants_utf8 && !utf8_is_valid(line)) {
		smtpd_reply(s, 500, "5.5.2", "Error: bad UTF-8 syntax");
		return false;
	}
	if (word.len == 0) {
		smtpd_reply(s, 500, "5.5.2", "Error: bad syntax");
		return false;
	}
	if (!smtpd_list_has(s->setup->noop_commands, word))
		return true;
	smtpd_reply(s, 250, "2.0.0", "Ok");
	smtpd_count_junk(s);
	return false;
}

static void
smtpd_word_run(struct smtpd_session *s, struct span line, struct span word, struct span args)
{
	const struct smtpd_verb *verb = smtpd_verb_find(word);

	if (verb != NULL && verb->command == SMTPD_HELP && !s->setup->has_help)
		verb = NULL;
	s->command = verb != NULL ? verb->command : SMTPD_UNKNOWN;
	s->where = verb != NULL ? verb->name : "UNKNOWN";
	if (verb != NULL)
		smtpd_verb_run(s, verb, args);
	else
		smtpd_unknown(s, line, word);
	s->counts[s->command][1]++;
	s->counts[s->command][0] += !s->failed;
}

void
smtpd_command_run(struct smtpd_session *s, struct span line)
{
	struct buf other CLEANUP(buf_done) = {0};
	unsigned errors_before = s->errors;
	struct span word;
	struct span args;

	s->failed = false;
	if (!table_list_is_empty(s->setup->command_filter))
		line = smtpd_command_filtered(s, line, &other);
	smtp_command_split(line, &word, &args);
	if (smtpd_line_is_command(s, line, word))
		smtpd_word_run(s, line, word, args);
	if (s->state != SMTPD_STATE_CLOSED)
		smtpd_slow_down(s, errors_before);
}
