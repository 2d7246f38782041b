/*
 * cleanup_settings.c - what main.cf says about new mail.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cleanup/cleanup_int.h"
#include "conf/master_cf.h"
#include "rewrite/rewrite.h"
#include "rewrite/rewrite_map.h"
#include "table/table.h"

static const enum conf_param checks[CLEANUP_CLASS_COUNT] = {
    [CLEANUP_PRIMARY] = CONF_header_checks,
    [CLEANUP_MIME] = CONF_mime_header_checks,
    [CLEANUP_NESTED] = CONF_nested_header_checks,
    [CLEANUP_BODY] = CONF_body_checks,
};

/* message_drop_headers: names that have an id as bits, the list itself when there are others. */
static void
read_drop(struct conf *conf, struct cleanup_settings *s)
{
	struct span rest = span_str(conf_str(conf, CONF_message_drop_headers));
	struct span name;

	while (span_word(&rest, ", \t\r\n", &name)) {
		enum mail_header_id id = mail_header_id(name);

		if (id == MAIL_HEADER_OTHER)
			s->drop_others = conf_str(conf, CONF_message_drop_headers);
		else
			s->drop |= UINT64_C(1) << id;
	}
}

static char
unescape_one(struct span *rest)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	char c = rest->ptr[0];
	const char *known = strchr(from, c);
	unsigned n = 0;
	size_t digits = 0;

	if (c != '\0' && known != NULL) {
		*rest = span_from(*rest, 1);
		return to[known - from];
	}
	while (digits < 3 && digits < rest->len && rest->ptr[digits] >= '0' &&
	       rest->ptr[digits] <= '7')
		n = n * 8 + (unsigned)(rest->ptr[digits++] - '0');
	*rest = span_from(*rest, MAX(digits, (size_t)1));
	return digits != 0 ? (char)n : c;
}

/* C escapes: "\0", "\177". */
static char *
read_characters(const struct conf *conf, enum conf_param p, size_t *ret_count)
{
	struct span rest = span_str(conf_str(conf, p));
	struct buf text = {0};

	while (rest.len != 0) {
		char c = rest.ptr[0];

		rest = span_from(rest, 1);
		buf_add_char(&text, c == '\\' && rest.len != 0 ? unescape_one(&rest) : c);
	}
	*ret_count = text.len;
	if (text.len != 0)
		return buf_take(&text);
	buf_done(&text);
	return NULL;
}

static void
read_mime(const struct conf *conf, struct cleanup_settings *s)
{
	bool strict = conf_bool(conf, CONF_strict_8bitmime);

	s->no_mime = conf_bool(conf, CONF_disable_mime_input_processing);
	s->make_7bit = !s->no_mime && conf_bool(conf, CONF_force_mime_input_conversion);
	s->strict_headers = strict || conf_bool(conf, CONF_strict_7bit_headers);
	s->strict_body = strict || conf_bool(conf, CONF_strict_8bitmime_body);
	s->strict_domain = conf_bool(conf, CONF_strict_mime_encoding_domain);
	s->mime_depth = conf_size(conf, CONF_mime_nesting_limit);
	s->boundary_limit = conf_size(conf, CONF_mime_boundary_length_limit);
	s->body_limit = conf_size(conf, CONF_body_checks_size_limit);
	s->detect_8bit = conf_bool(conf, CONF_detect_8bit_encoding_header);
	s->detect_utf8_all = conf_bool(conf, CONF_smtputf8_enable) &&
			     conf_has(conf, CONF_smtputf8_autodetect_classes, "all");
	s->detect_utf8 =
	    s->detect_utf8_all || (conf_bool(conf, CONF_smtputf8_enable) &&
				      conf_has(conf, CONF_smtputf8_autodetect_classes, "sendmail"));
}

/*
 * The configuration of the cleanup service that `conf` names: that of main.cf with the options of its line, not those of the
 * caller's line. Without a line it is main.cf's own. A reference for the caller.
 */
static struct conf *
service_conf(struct conf *conf)
{
	const char *name = conf_str(conf, CONF_cleanup_service_name);
	struct conf_source source = {.dir = conf_dir(conf), .service = name, .program = "cleanup"};
	struct master_cf services = {0};
	const struct master_service *line;
	struct conf *ret;
	struct err err;

	/* Not there or wrong: where that can be, in a test or for a command, there are no options either. */
	if (!master_cf_load(conf_dir(conf), &services, &err))
		return conf_ref(conf);
	line = master_cf_find(&services, name, "unix");
	if (line != NULL && strcmp(master_cf_command(line), "cleanup") == 0) {
		source.overrides = line->overrides;
		source.override_count = line->override_count;
	}
	if (!conf_load(&source, &ret, &err)) {
		log_warn("%s service: %s", name, err.text);
		ret = conf_ref(conf);
	}
	master_cf_done(&services);
	return ret;
}

/* The smaller one, of which 0 is none. */
static size_t
smaller_limit(size_t a, size_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* What the service that takes the mail in says itself. */
static void
read_caller(struct conf *caller, struct cleanup_settings *s)
{
	s->remote_domain = conf_str(caller, CONF_remote_header_rewrite_domain);
	s->message_size_limit =
	    smaller_limit(s->message_size_limit, conf_size(caller, CONF_message_size_limit));
	s->no_checks = conf_has(caller, CONF_receive_override_options, "no_header_body_checks");
	if (s->rewrite != NULL &&
	    !conf_has(caller, CONF_receive_override_options, "no_address_mappings"))
		s->map = rewrite_map_new(s->conf, s->rewrite);
}

struct cleanup_settings
cleanup_settings_from(struct conf *caller)
{
	struct conf *conf = service_conf(caller);
	struct cleanup_settings s = {
	    .conf = conf,
	    .caller = conf_ref(caller),
	    .hostname = conf_str(conf, CONF_myhostname),
	    .origin = conf_str(conf, CONF_myorigin),
	    .mail_name = conf_str(conf, CONF_mail_name),
	    .message_size_limit = conf_size(conf, CONF_message_size_limit),
	    .inline_limit = conf_size(conf, CONF_queue_inline_size_limit),
	    .header_limit = conf_size(conf, CONF_header_size_limit),
	    .hop_limit = (unsigned)conf_int(conf, CONF_hopcount_limit),
	    .always_add_headers = conf_bool(conf, CONF_always_add_missing_headers),
	    .from_obsolete = conf_is(conf, CONF_header_from_format, "obsolete"),
	    .undisclosed = conf_str(conf, CONF_undisclosed_recipients_header),
	    .long_queue_ids = conf_bool(conf, CONF_enable_long_queue_ids),
	    .line_limit = conf_size(conf, CONF_line_length_limit),
	    .token_limit = conf_size(conf, CONF_header_address_token_limit),
	    .dup_limit = conf_size(conf, CONF_duplicate_filter_limit),
	    .no_orig_rcpt = !conf_bool(conf, CONF_enable_original_recipient),
	};
	struct err err;

	read_drop(conf, &s);
	read_mime(conf, &s);
	s.strip_chars = read_characters(conf, CONF_message_strip_characters, &s.strip_count);
	s.reject_chars = read_characters(conf, CONF_message_reject_characters, &s.reject_count);
	for (size_t i = 0; i < CLEANUP_CLASS_COUNT; i++)
		s.checks[i] = table_list_of(conf, checks[i], TABLE_BYTES | TABLE_OF_CLEANUP);
	/* Whoever uses these settings compiles the same lists and refuses the configuration. */
	if (!rewrite_new(conf, &s.rewrite, &err))
		s.rewrite = NULL;
	read_caller(caller, &s);
	return s;
}

void
cleanup_settings_done(struct cleanup_settings *s)
{
	for (size_t i = 0; i < CLEANUP_CLASS_COUNT; i++)
		table_list_close(&s->checks[i]);
	rewrite_map_free(&s->map);
	rewrite_free(&s->rewrite);
	mem_free(s->strip_chars);
	mem_free(s->reject_chars);
	conf_unref(&s->conf);
	conf_unref(&s->caller);
	*s = (struct cleanup_settings){0};
}
