/*
 * access.c - evaluates the restriction lists at each stage of a session. Which list runs when: with smtpd_delay_reject the
 * client, HELO and sender lists wait for RCPT TO, so that every rejection can name its recipient.
 */
#include "access/access.h"

#include <arpa/inet.h>

#include "access/access_int.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_param.h"

static const struct {
	enum conf_param param;
	enum access_thing thing;
} access_list_params[ACCESS_LIST_COUNT] = {
    [ACCESS_LIST_CLIENT] = {CONF_smtpd_client_restrictions, ACCESS_THING_CLIENT},
    [ACCESS_LIST_HELO] = {CONF_smtpd_helo_restrictions, ACCESS_THING_HELO},
    [ACCESS_LIST_SENDER] = {CONF_smtpd_sender_restrictions, ACCESS_THING_SENDER},
    [ACCESS_LIST_RELAY] = {CONF_smtpd_relay_restrictions, ACCESS_THING_RCPT},
    [ACCESS_LIST_RCPT] = {CONF_smtpd_recipient_restrictions, ACCESS_THING_RCPT},
    [ACCESS_LIST_DATA] = {CONF_smtpd_data_restrictions, ACCESS_THING_DATA},
    [ACCESS_LIST_END_OF_DATA] = {CONF_smtpd_end_of_data_restrictions, ACCESS_THING_END_OF_DATA},
    [ACCESS_LIST_ETRN] = {CONF_smtpd_etrn_restrictions, ACCESS_THING_ETRN},
};

/* Lists within lists; a class that names itself must not go on for ever. */
#define ACCESS_DEPTH_MAX 100

/* ---- compiling ---- */

/* smtpd_restriction_classes: all names first, for a class may stand in another. */
static bool
access_compile_classes(struct access *a, struct err *err)
{
	struct span rest = span_str(conf_str(a->conf, CONF_smtpd_restriction_classes));
	struct span name;

	while (span_word(&rest, ", \t\r\n", &name)) {
		a->classes = mem_resize(a->classes, a->class_count + 1, sizeof(*a->classes));
		a->classes[a->class_count++] = (struct access_class){.name = span_dup(name)};
	}
	for (size_t i = 0; i < a->class_count; i++) {
		struct buf text CLEANUP(buf_done) = {0};

		err_clear(err);
		if (!conf_lookup(a->conf, span_str(a->classes[i].name), &text, err) ||
		    text.len == 0)
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "restriction class `%s' needs a definition", a->classes[i].name);
		access_list_compile(a, ACCESS_THING_DATA, buf_span(&text), &a->classes[i].list);
	}
	return true;
}

/* Is there a restriction in the list, or in a class that it names, that keeps strangers from relaying? */
static bool
access_list_guards_relay(const struct access_list *list, unsigned depth)
{
	for (size_t i = 0; i < list->count && depth < ACCESS_DEPTH_MAX; i++) {
		const struct access_item *item = &list->items[i];

		if (item->warn_if_reject)
			i++; /* what only warns keeps nobody out */
		else if (access_restriction_guards_relay(span_str(item->word)) ||
			 (item->class != NULL &&
			     access_list_guards_relay(&item->class->list, depth + 1)))
			return true;
	}
	return false;
}

/* "\\40" and the like: up to three octal digits stand for a character, "\\t" for a tab. */
static void
access_unescape(const char *text, struct buf *out)
{
	for (const char *c = text; *c != '\0'; c++) {
		unsigned value = 0;
		int digits = 0;

		if (*c != '\\' || c[1] == '\0') {
			buf_add_char(out, *c);
			continue;
		}
		while (digits < 3 && c[1] >= '0' && c[1] <= '7') {
			value = value * 8 + (unsigned)(*++c - '0');
			digits++;
		}
		if (digits > 0)
			buf_add_char(out, (char)value);
		else
			buf_add_char(out, *++c == 't' ? '\t' : *c);
	}
}

const char *
access_expansion_filter(const struct access *a)
{
	return buf_str(&a->expansion_filter);
}

/* The tables among the words of local_header_rewrite_clients, with or without check_address_map in front. */
static struct table_list *
access_rewrite_tables(struct conf *conf)
{
	struct span rest = span_str(conf_str(conf, CONF_local_header_rewrite_clients));
	struct buf tables CLEANUP(buf_done) = {0};
	struct span word;

	while (span_word(&rest, ", \t\r\n", &word))
		if (span_find(word, ':') < word.len)
			buf_printf(&tables, "%.*s ", SPAN_ARG(word));
	return table_list_open(conf, buf_str(&tables), "local_header_rewrite_clients", 0);
}

static bool
access_compile(struct access *a, struct err *err)
{
	const struct conf *conf = a->conf;

	if (!access_compile_classes(a, err))
		return false;
	for (size_t id = 0; id < ACCESS_LIST_COUNT; id++)
		access_list_compile(a, access_list_params[id].thing,
		    span_str(conf_str(conf, access_list_params[id].param)), &a->lists[id]);
	a->guards_relay = access_list_guards_relay(&a->lists[ACCESS_LIST_RELAY], 0) ||
			  access_list_guards_relay(&a->lists[ACCESS_LIST_RCPT], 0);
	access_unescape(conf_str(conf, CONF_smtpd_expansion_filter), &a->expansion_filter);
	a->rbl_replies = table_list_of(a->conf, CONF_rbl_reply_maps, 0);
	a->sender_logins = table_list_of(a->conf, CONF_smtpd_sender_login_maps, 0);
	a->rewrite_clients = access_rewrite_tables(a->conf);
	return access_unlisted_open(a, err) &&
	       table_nets_of(a->conf, CONF_mynetworks, &a->networks, err) &&
	       table_nets_of(a->conf, CONF_permit_mx_backup_networks, &a->mx_networks, err) &&
	       conf_host_own(conf, &a->own, err) && conf_host_proxy(conf, &a->proxy, err);
}

/* ---- mistakes ---- */

static void
access_list_mistakes(const struct access_list *list, const char *parameter,
    void (*found)(void *arg, const char *parameter, const char *text), void *arg)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct access_item *item = &list->items[i];
		char *text CLEANUP(mem_free_str) = NULL;

		if (item->broken)
			text = mem_printf("restriction %s: bad argument \"%s\"", item->word,
			    item->argument != NULL ? item->argument : "");
		else if (item->restriction == NULL && item->class == NULL && !item->warn_if_reject)
			text = mem_printf("unknown smtpd restriction: \"%s\"", item->word);
		if (text != NULL)
			found(arg, parameter, text);
		/* What follows an unknown word may be its argument. */
		if (text != NULL && item->restriction == NULL)
			return;
	}
}

void
access_mistakes(const struct access *a,
    void (*found)(void *arg, const char *parameter, const char *text), void *arg)
{
	for (size_t id = 0; id < ACCESS_LIST_COUNT; id++)
		access_list_mistakes(
		    &a->lists[id], conf_param_info(access_list_params[id].param)->name, found, arg);
	for (size_t i = 0; i < a->class_count; i++)
		access_list_mistakes(&a->classes[i].list, a->classes[i].name, found, arg);
}

bool
access_new(struct conf *conf, const struct rewrite *rewrite, struct access **ret, struct err *err)
{
	struct access *a = mem_new(struct access);

	a->conf = conf_ref(conf);
	a->rewrite = rewrite;
	a->delay_reject = conf_bool(conf, CONF_smtpd_delay_reject);
	a->relay_first = conf_bool(conf, CONF_smtpd_relay_before_recipient_restrictions);
	a->parents_match =
	    conf_has(conf, CONF_parent_domain_matches_subdomains, "smtpd_access_maps");
	a->soft_bounce = conf_bool(conf, CONF_soft_bounce);
	if (!access_compile(a, err)) {
		access_free(&a);
		return false;
	}
	*ret = a;
	return true;
}

void
access_free(struct access **a)
{
	if (*a == NULL)
		return;
	for (size_t id = 0; id < ACCESS_LIST_COUNT; id++)
		access_list_done(&(*a)->lists[id]);
	for (size_t i = 0; i < (*a)->class_count; i++) {
		access_list_done(&(*a)->classes[i].list);
		mem_free((*a)->classes[i].name);
	}
	mem_free((*a)->classes);
	buf_done(&(*a)->expansion_filter);
	table_list_close(&(*a)->rbl_replies);
	table_list_close(&(*a)->sender_logins);
	table_list_close(&(*a)->rewrite_clients);
	access_unlisted_close(*a);
	table_nets_free(&(*a)->networks);
	table_nets_free(&(*a)->mx_networks);
	conf_addresses_done(&(*a)->own);
	conf_addresses_done(&(*a)->proxy);
	conf_unref(&(*a)->conf);
	mem_free(*a);
	*a = NULL;
}

/* ---- the verdict ---- */

void
access_verdict_done(struct access_verdict *verdict)
{
	for (size_t i = 0; i < verdict->note_count; i++) {
		mem_free(verdict->notes[i].text);
		mem_free(verdict->notes[i].value);
	}
	mem_free(verdict->notes);
	buf_done(&verdict->text);
	*verdict = (struct access_verdict){0};
}

void
access_memory_done(struct access_memory *memory)
{
	for (size_t i = 0; i < ARRAY_LEN(memory->if_permit); i++)
		buf_done(&memory->if_permit[i].text);
}

const char *
access_note_word(enum access_note_kind kind)
{
	static const char *const words[] = {
	    [ACCESS_NOTE_REJECT_WARNING] = "reject_warning",
	    [ACCESS_NOTE_PERMIT] = "permit",
	    [ACCESS_NOTE_INFO] = "info",
	    [ACCESS_NOTE_WARN] = "warn",
	    [ACCESS_NOTE_FILTER] = "filter",
	    [ACCESS_NOTE_HOLD] = "hold",
	    [ACCESS_NOTE_DISCARD] = "discard",
	    [ACCESS_NOTE_REDIRECT] = "redirect",
	    [ACCESS_NOTE_BCC] = "bcc",
	    [ACCESS_NOTE_PREPEND] = "prepend",
	};

	return words[kind];
}

void
access_note(
    struct access_context *ctx, enum access_note_kind kind, const char *text, const char *value)
{
	struct access_verdict *v = ctx->verdict;

	v->notes = mem_resize(v->notes, v->note_count + 1, sizeof(*v->notes));
	v->notes[v->note_count++] = (struct access_note){
	    .kind = kind,
	    .text = mem_strdup(text),
	    .value = mem_strdup(value != NULL ? value : ""),
	};
}

const char *
access_thing_class(enum access_thing thing)
{
	static const char *const classes[] = {
	    [ACCESS_THING_CLIENT] = "Client host",
	    [ACCESS_THING_REVERSE_CLIENT] = "Unverified Client host",
	    [ACCESS_THING_HELO] = "Helo command",
	    [ACCESS_THING_SENDER] = "Sender address",
	    [ACCESS_THING_RCPT] = "Recipient address",
	    [ACCESS_THING_DATA] = "Data command",
	    [ACCESS_THING_END_OF_DATA] = "End-of-data",
	    [ACCESS_THING_ETRN] = "Etrn command",
	};

	return classes[thing];
}

void
access_thing_name(const struct access_context *ctx, enum access_thing thing, struct buf *out)
{
	const struct access_request *r = ctx->request;

	switch (thing) {
	case ACCESS_THING_CLIENT:
		buf_printf(out, "%s[%s]", r->client_name, r->client_address);
		return;
	case ACCESS_THING_SENDER:
		buf_add_str(out, r->sender_as_given != NULL ? r->sender_as_given : "");
		return;
	case ACCESS_THING_RCPT:
		buf_add_str(out, r->recipient_as_given != NULL ? r->recipient_as_given : "");
		return;
	case ACCESS_THING_DATA:
		buf_add_str(out, "DATA");
		return;
	case ACCESS_THING_END_OF_DATA:
		buf_add_str(out, "END-OF-MESSAGE");
		return;
	case ACCESS_THING_REVERSE_CLIENT:
	case ACCESS_THING_HELO:
	case ACCESS_THING_ETRN:
		buf_add_str(out, access_thing_value(ctx, thing));
		return;
	}
	UNREACHED();
}

const char *
access_thing_value(const struct access_context *ctx, enum access_thing thing)
{
	const struct access_request *r = ctx->request;

	switch (thing) {
	case ACCESS_THING_CLIENT:
		return r->client_name;
	case ACCESS_THING_REVERSE_CLIENT:
		return r->client_reverse_name;
	case ACCESS_THING_HELO:
		return r->helo;
	case ACCESS_THING_SENDER:
		return r->sender;
	case ACCESS_THING_RCPT:
		return r->recipient;
	case ACCESS_THING_ETRN:
		return r->etrn_domain;
	case ACCESS_THING_DATA:
	case ACCESS_THING_END_OF_DATA:
		return NULL;
	}
	UNREACHED();
}

/* ---- running lists ---- */

static enum access_result
access_run_item(struct access_context *ctx, const struct access_item *item)
{
	const struct access_restriction *r = item->restriction;

	if (r == NULL && item->class != NULL)
		return access_run_list(ctx, &item->class->list);
	if (r == NULL) {
		log_warn("unknown smtpd restriction: \"%s\"", item->word);
		return access_reject_broken(ctx);
	}
	if (!item->broken)
		return r->check(ctx, item);
	if (r->argument == ACCESS_ARGUMENT_TABLE) {
		log_warn("restriction %s: bad argument \"%s\": need maptype:mapname", r->name,
		    item->argument != NULL ? item->argument : "");
		return access_reject_broken(ctx);
	}
	log_warn("restriction %s requires %s argument", r->name,
	    r->argument == ACCESS_ARGUMENT_DOMAIN ? "domain name" : "number");
	return ACCESS_DUNNO;
}

static enum access_result
access_run_items(struct access_context *ctx, const struct access_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct access_item *item = &list->items[i];
		enum access_result result;

		if (item->warn_if_reject) {
			if (ctx->warn_depth == 0)
				ctx->warn_depth = ctx->depth;
			continue;
		}
		result = access_run_item(ctx, item);
		if (ctx->warn_depth >= ctx->depth)
			ctx->warn_depth = 0;
		if (result != ACCESS_DUNNO)
			return result;
		/* Whatever follows, the answer is a deferral. */
		if (ctx->if_permit.active && ctx->if_reject.active)
			return ACCESS_DUNNO;
	}
	return ACCESS_DUNNO;
}

enum access_result
access_run_list(struct access_context *ctx, const struct access_list *list)
{
	enum access_result result;

	if (ctx->depth >= ACCESS_DEPTH_MAX) {
		log_warn("smtpd restrictions: too many lists within each other");
		return access_reject_broken(ctx);
	}
	ctx->depth++;
	result = access_run_items(ctx, list);
	ctx->depth--;
	return result;
}

/* ---- stages ---- */

/* One list of main.cf; defer_if_reject and warn_if_reject begin anew. False: rejected. */
static bool
access_run(struct access_context *ctx, enum access_list_id id)
{
	ctx->thing = access_list_params[id].thing;
	ctx->warn_depth = 0;
	return access_run_list(ctx, &ctx->access->lists[id]) != ACCESS_REJECT;
}

static void
access_forget_if_reject(struct access_context *ctx)
{
	buf_done(&ctx->if_reject.text);
	ctx->if_reject = (struct access_pending){0};
}

static bool
access_run_sender(struct access_context *ctx)
{
	access_forget_if_reject(ctx);
	if (ctx->request->sender == NULL)
		return true;
	if (!access_run(ctx, ACCESS_LIST_SENDER))
		return false;
	if (ctx->seen_unlisted_sender || ctx->discarded ||
	    !conf_bool(ctx->access->conf, CONF_smtpd_reject_unlisted_sender))
		return true;
	return access_unlisted_sender(ctx, NULL) != ACCESS_REJECT;
}

/* The lists of client and HELO. */
static bool
access_run_client_helo(struct access_context *ctx)
{
	if (!access_run(ctx, ACCESS_LIST_CLIENT))
		return false;
	access_forget_if_reject(ctx);
	return ctx->request->helo == NULL || access_run(ctx, ACCESS_LIST_HELO);
}

/* Deferrals that were asked for at earlier stages count now. */
static void
access_recall(struct access_context *ctx)
{
	const struct access_memory *memory = ctx->request->memory;

	for (size_t i = 0; memory != NULL && i < ARRAY_LEN(memory->if_permit); i++) {
		const struct access_pending *p = &memory->if_permit[i];

		if (!p->active || ctx->if_permit.active)
			continue;
		ctx->if_permit = *p;
		ctx->if_permit.text = (struct buf){0};
		buf_add_span(&ctx->if_permit.text, buf_span(&p->text));
	}
}

static void
access_remember(struct access_context *ctx)
{
	struct access_memory *memory = ctx->request->memory;

	if (memory == NULL)
		return;
	buf_done(&memory->if_permit[ctx->stage].text);
	memory->if_permit[ctx->stage] = ctx->if_permit;
	ctx->if_permit = (struct access_pending){0};
}

/* A permission becomes a deferral where something asked for it. */
static bool
access_force_deferral(struct access_context *ctx)
{
	if (!ctx->if_permit.active)
		return true;
	access_forget_if_reject(ctx);
	access_verdict_defer(ctx->verdict, &ctx->if_permit);
	return false;
}

static bool
access_run_rcpt_lists(struct access_context *ctx)
{
	bool relay_first = ctx->access->relay_first;

	access_forget_if_reject(ctx);
	if (!access_run(ctx, relay_first ? ACCESS_LIST_RELAY : ACCESS_LIST_RCPT) ||
	    !access_run(ctx, relay_first ? ACCESS_LIST_RCPT : ACCESS_LIST_RELAY))
		return false;
	if (ctx->seen_unlisted_rcpt || ctx->discarded ||
	    !conf_bool(ctx->access->conf, CONF_smtpd_reject_unlisted_recipient))
		return true;
	return access_unlisted_recipient(ctx, NULL) != ACCESS_REJECT;
}

/* An open relay is never a matter of a missing word. */
static bool
access_refuse_open_relay(struct access_context *ctx)
{
	log_warn(
	    "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one "
	    "working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, "
	    "defer_if_permit or check_relay_domains");
	(void)access_reject_broken(ctx);
	return false;
}

static bool
access_run_rcpt(struct access_context *ctx)
{
	/* RFC 5321 section 4.5.1: whatever the rules say. */
	if (span_equal_nocase_str(span_str(ctx->request->recipient_received), "postmaster"))
		return true;
	if (!ctx->access->guards_relay)
		return access_refuse_open_relay(ctx);
	if (!ctx->access->delay_reject)
		access_recall(ctx);
	else if (!access_run_client_helo(ctx) || !access_run_sender(ctx))
		return false;
	return access_run_rcpt_lists(ctx) && access_force_deferral(ctx);
}

/* Client, HELO and MAIL: now, or with smtpd_delay_reject at RCPT. */
static bool
access_run_early(struct access_context *ctx)
{
	bool permit = true;

	if (ctx->access->delay_reject)
		return true;
	if (ctx->stage == ACCESS_CONNECT)
		permit = access_run(ctx, ACCESS_LIST_CLIENT);
	else if (ctx->stage == ACCESS_HELO)
		permit = access_run(ctx, ACCESS_LIST_HELO);
	else
		permit = access_run_sender(ctx);
	access_remember(ctx);
	return permit;
}

static bool
access_run_stage(struct access_context *ctx)
{
	switch (ctx->stage) {
	case ACCESS_CONNECT:
	case ACCESS_HELO:
	case ACCESS_MAIL:
		return access_run_early(ctx);
	case ACCESS_RCPT:
		return access_run_rcpt(ctx);
	case ACCESS_DATA:
		return access_run(ctx, ACCESS_LIST_DATA) && access_force_deferral(ctx);
	case ACCESS_END_OF_DATA:
		return access_run(ctx, ACCESS_LIST_END_OF_DATA) && access_force_deferral(ctx);
	case ACCESS_ETRN:
		/* ETRN waits for the lists of client and HELO as RCPT does. */
		if (ctx->access->delay_reject && !access_run_client_helo(ctx))
			return false;
		access_forget_if_reject(ctx);
		return access_run(ctx, ACCESS_LIST_ETRN) && access_force_deferral(ctx);
	}
	UNREACHED();
}

void
access_check(const struct access *a, enum access_stage stage, const struct access_request *request,
    struct access_verdict *verdict)
{
	struct access_context ctx = {
	    .access = a,
	    .request = request,
	    .verdict = verdict,
	    .stage = stage,
	};

	access_verdict_done(verdict);
	verdict->permit = access_run_stage(&ctx);
	buf_done(&ctx.if_permit.text);
	buf_done(&ctx.if_reject.text);
}

bool
access_is_mynetworks(const struct access *a, const struct sockaddr *client)
{
	struct err err;

	return client != NULL && table_nets_match(a->networks, client, &err) == TABLE_FOUND;
}

/* Does a table know the client's address? */
static bool
access_is_in_rewrite_tables(const struct access *a, const struct sockaddr *client)
{
	struct buf value CLEANUP(buf_done) = {0};
	char address[INET6_ADDRSTRLEN];
	const void *bytes = &((const struct sockaddr_in *)(const void *)client)->sin_addr;
	struct err err;

	if (client->sa_family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)(const void *)client)->sin6_addr;
	return !table_list_is_empty(a->rewrite_clients) &&
	       inet_ntop(client->sa_family, bytes, address, sizeof(address)) != NULL &&
	       table_list_lookup(a->rewrite_clients, span_str(address), TABLE_KEY_FULL, &value,
		   &err) == TABLE_FOUND;
}

bool
access_is_rewrite_client(
    const struct access *a, const struct sockaddr *client, const struct sockaddr *connection)
{
	struct span rest = span_str(conf_str(a->conf, CONF_local_header_rewrite_clients));
	struct span word;

	while (client != NULL && span_word(&rest, ", \t\r\n", &word)) {
		if (span_equal_nocase_str(word, "permit_inet_interfaces") &&
		    conf_addresses_has(&a->own, connection))
			return true;
		if (span_equal_nocase_str(word, "permit_mynetworks") &&
		    access_is_mynetworks(a, client))
			return true;
	}
	return client != NULL && access_is_in_rewrite_tables(a, client);
}
