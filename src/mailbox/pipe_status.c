/*
 * pipe_status.c - see pipe_status.h.
 */
#include "mailbox/pipe_status.h"

#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "base/utf8.h"
#include "mail/mail_dsn.h"

static const struct {
	int code;
	const char *dsn;
	const char *text;
} pipe_exits[] = {
    {EX_USAGE, "5.3.0", "command line usage error"},
    {EX_DATAERR, "5.6.0", "data format error"},
    {EX_NOINPUT, "5.3.0", "cannot open input"},
    {EX_NOUSER, "5.1.1", "user unknown"},
    {EX_NOHOST, "5.1.2", "host name unknown"},
    {EX_UNAVAILABLE, "5.3.0", "service unavailable"},
    {EX_SOFTWARE, "5.3.0", "internal software error"},
    {EX_OSERR, "4.3.0", "system resource problem"},
    {EX_OSFILE, "5.3.0", "critical OS file missing"},
    {EX_CANTCREAT, "5.2.0", "can't create user output file"},
    {EX_IOERR, "5.3.0", "input/output error"},
    {EX_TEMPFAIL, "4.3.0", "temporary failure"},
    {EX_PROTOCOL, "5.5.0", "remote error in protocol"},
    {EX_NOPERM, "5.7.0", "permission denied"},
    {EX_CONFIG, "5.3.5", "local configuration error"},
};

static const char *
pipe_with_output(struct arena *arena, const char *text, struct span output)
{
	if (output.len == 0)
		return text;
	return arena_printf(arena, "%s. Command output: %.*s", text, SPAN_ARG(output));
}

static void
pipe_fill(struct pipe_status *ret, const char *dsn, const char *text, const char *diagnostic,
    struct arena *arena)
{
	ret->status = dsn[0] == '5' ? DELIVERY_BOUNCED : DELIVERY_DEFERRED;
	ret->dsn = dsn;
	ret->text = text;
	ret->diagnostic = arena_printf(arena, "x-unix; %s", diagnostic);
}

/* "5.7.1 text": the command says it all. */
static void
pipe_judge_output(struct span output, struct arena *arena, struct pipe_status *ret)
{
	char dsn[MAIL_DSN_SIZE];
	const char *text = arena_dup(arena, mail_dsn_split(output, "5.3.0", dsn));

	/* It failed, whatever it says of success. */
	pipe_fill(ret, dsn[0] == '2' ? "5.0.0" : arena_strdup(arena, dsn), text, text, arena);
	if (text[0] == '\0') {
		ret->text = "(description unavailable)";
		ret->diagnostic = NULL;
	}
}

static void
pipe_judge_exit(
    int code, const char *command, struct span output, struct arena *arena, struct pipe_status *ret)
{
	const char *said = output.len != 0 ? arena_dup(arena, span_trim(output)) : NULL;
	const char *text;

	for (size_t i = 0; i < ARRAY_LEN(pipe_exits); i++) {
		if (pipe_exits[i].code != code)
			continue;
		pipe_fill(ret, pipe_exits[i].dsn,
		    pipe_with_output(arena, pipe_exits[i].text, output),
		    said != NULL ? said : pipe_exits[i].text, arena);
		return;
	}
	text = arena_printf(arena, "Command died with status %d: \"%s\"", code, command);
	pipe_fill(ret, "5.3.0", pipe_with_output(arena, text, output),
	    said != NULL ? said : arena_printf(arena, "unknown mail system error %d", code), arena);
}

void
pipe_status_judge(int wait_status, const char *command, struct span output, struct arena *arena,
    struct pipe_status *ret)
{
	const char *text;

	*ret = (struct pipe_status){0};
	if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EX_OK) {
		ret->status = DELIVERY_SENT;
		ret->dsn = "2.0.0";
		ret->text = arena_dup(arena, span_trim(output));
	} else if (WIFSIGNALED(wait_status)) {
		text = arena_printf(
		    arena, "Command died with signal %d: \"%s\"", WTERMSIG(wait_status), command);
		pipe_fill(ret, "4.3.0", pipe_with_output(arena, text, output),
		    output.len != 0 ? arena_dup(arena, output) : "internal software error", arena);
	} else if (mail_dsn_length(output) != 0) {
		pipe_judge_output(output, arena, ret);
	} else {
		pipe_judge_exit(WEXITSTATUS(wait_status), command, output, arena, ret);
	}
}

void
pipe_status_late(
    const char *command, struct span output, struct arena *arena, struct pipe_status *ret)
{
	const char *text = arena_printf(arena, "Command time limit exceeded: \"%s\"", command);

	pipe_fill(ret, "5.3.0", pipe_with_output(arena, text, output),
	    output.len != 0 ? arena_dup(arena, output) : "internal software error", arena);
}

void
pipe_status_clean(char *output, size_t len)
{
	struct span rest = span_of(output, len);
	uint32_t rune;

	for (size_t i = 0, step; i < len; i += step) {
		unsigned char c = (unsigned char)output[i];

		step = utf8_get(span_from(rest, i), &rune);
		if (step > 1)
			continue;
		if (c == '\n' || c == '\t')
			output[i] = ' ';
		else if (step == 0 || c < ' ' || c == 0x7f)
			output[i] = '_';
		step = 1;
	}
}
