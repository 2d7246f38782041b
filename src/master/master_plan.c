/*
 * master_plan.c - see master_plan.h.
 */
#include "master/master_plan.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/span.h"
#include "master/master_address.h"
#include "service/service_options.h"

/* "No limit" in the maxproc column: what one process can hold anyway. */
#define NO_LIMIT_FRONT 1000000
#define NO_LIMIT_AGENT 5000

/* ---- sockets ------------------------------------------------------------------------------------------------ */

static uid_t
user_id(const char *name)
{
	struct passwd pw, *found = NULL;
	char room[16384];

	(void)getpwnam_r(name, &pw, room, sizeof(room), &found);
	return found != NULL ? pw.pw_uid : (uid_t)-1;
}

static struct master_want *
add_unix(struct master_plan_service *s, char *key)
{
	s->wants = mem_resize(s->wants, s->want_count + 1, sizeof(s->wants[0]));
	s->wants[s->want_count] =
	    (struct master_want){.key = key, .family = AF_UNIX, .uid = 0, .gid = 0, .mode = 0666};
	return &s->wants[s->want_count++];
}

/*
 * As in Postfix the directory decides who may connect: private/ lets our own users pass, public/ the set-gid commands too.
 * The agents' way to the scheduler is narrower: a front end has no business there.
 */
static void
add_scheduler_socket(const struct conf *c, struct master_plan_service *s)
{
	struct master_want *w;

	for (size_t i = 0; i < s->want_count; i++)
		if (strcmp(s->wants[i].key, "unix:private/qmgr") == 0)
			return;
	w = add_unix(s, mem_strdup("unix:private/qmgr"));
	w->uid = user_id(conf_str(c, CONF_agent_owner));
	w->mode = 0600;
}

static bool
make_wants(const struct conf *c, const struct master_service *from, struct master_plan_service *s,
    struct err *err)
{
	if (s->kind->listens == MASTER_NOTHING)
		return true;
	if (s->kind->listens == MASTER_SCHEDULER)
		add_scheduler_socket(c, s);
	if (from->type == MASTER_CF_INET)
		return master_address_wants(c, s->name, &s->wants, &s->want_count, err);
	if (s->kind->listens != MASTER_SCHEDULER || !from->is_private)
		(void)add_unix(
		    s, mem_printf("unix:%s/%s", from->is_private ? "private" : "public", s->name));
	return true;
}

/* ---- numbers ------------------------------------------------------------------------------------------------ */

static void
make_numbers(const struct master_plan_source *source, int maxproc, struct master_plan_service *s)
{
	const struct conf *c = source->conf;
	bool front = s->kind->spread == MASTER_FRONT;
	size_t processes = 1;

	if (front)
		processes = conf_size(c, CONF_smtpd_processes);
	else if (s->kind->spread == MASTER_AGENT)
		processes = conf_size(c, CONF_smtp_agent_processes);
	if (processes == 0)
		processes = MAX(source->cpus / 2, 1);
	if (maxproc > 0)
		s->slots = (size_t)maxproc;
	else if (maxproc == 0)
		s->slots = front ? NO_LIMIT_FRONT : NO_LIMIT_AGENT * processes;
	else
		s->slots =
		    conf_size(c, front ? CONF_smtpd_session_limit : CONF_default_process_limit);
	s->processes = MIN(processes, s->slots);
}

size_t
master_plan_share(size_t slots, size_t processes, size_t instance)
{
	return slots / processes + (instance < slots % processes ? 1 : 0);
}

/* ---- the command -------------------------------------------------------------------------------------------- */

/* "{ text }" protects blanks; the text is what counts. */
static char *
without_braces(const char *word)
{
	struct span w = span_str(word);

	if (w.len >= 2 && w.ptr[0] == '{' && w.ptr[w.len - 1] == '}')
		w = span_trim(span_of(w.ptr + 1, w.len - 2));
	return span_dup(w);
}

/* True for a word that is an option; `*skip` when its argument is the next word. */
static bool
is_option(const char *word, bool *skip)
{
	*skip = strcmp(word, "-o") == 0;
	return word[0] == '-' && word[1] != '\0';
}

/* Options were understood by master_cf; what stands behind them is the service's own. */
static void
copy_args(const struct master_service *from, struct master_plan_service *s)
{
	bool options = true, skip = false;

	for (size_t i = 0; i < from->arg_count; i++) {
		if (skip) {
			skip = false;
			continue;
		}
		options = options && is_option(from->args[i], &skip);
		if (options)
			continue;
		s->args = mem_resize(s->args, s->arg_count + 1, sizeof(s->args[0]));
		s->args[s->arg_count++] = without_braces(from->args[i]);
	}
}

static void
copy_overrides(const struct master_service *from, struct master_plan_service *s)
{
	s->verbose = from->verbose;
	for (size_t i = 0; i < from->override_count; i++) {
		s->overrides =
		    mem_resize(s->overrides, s->override_count + 1, sizeof(s->overrides[0]));
		s->overrides[s->override_count++] = (struct conf_override){
		    .name = mem_strdup(from->overrides[i].name),
		    .value = mem_strdup(from->overrides[i].value),
		};
	}
}

static void
make_fingerprint(const struct conf *c, struct master_plan_service *s)
{
	struct buf b = {0};

	buf_printf(&b, "%s\n%s\n%zu processes\n%zu slots\n%d verbose\n", s->program,
	    service_privilege_user(c, s->kind->privilege), s->processes, s->slots, s->verbose);
	for (size_t i = 0; i < s->override_count; i++)
		buf_printf(&b, "-o %s=%s\n", s->overrides[i].name, s->overrides[i].value);
	for (size_t i = 0; i < s->arg_count; i++)
		buf_printf(&b, "%s\n", s->args[i]);
	for (size_t i = 0; i < s->want_count; i++)
		buf_printf(&b, "%s\n", s->wants[i].key);
	s->fingerprint = buf_take(&b);
}

/* ---- the plan ----------------------------------------------------------------------------------------------- */

static void
service_done(struct master_plan_service *s)
{
	for (size_t i = 0; i < s->override_count; i++) {
		mem_free((char *)(uintptr_t)s->overrides[i].name);
		mem_free((char *)(uintptr_t)s->overrides[i].value);
	}
	for (size_t i = 0; i < s->arg_count; i++)
		mem_free(s->args[i]);
	for (size_t i = 0; i < s->want_count; i++)
		mem_free(s->wants[i].key);
	mem_free(s->overrides);
	mem_free(s->args);
	mem_free(s->wants);
	mem_free(s->name);
	mem_free(s->type);
	mem_free(s->program);
	mem_free(s->fingerprint);
}

void
master_plan_done(struct master_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		service_done(&plan->services[i]);
	mem_free(plan->services);
	for (size_t i = 0; i < plan->note_count; i++)
		mem_free(plan->notes[i].text);
	mem_free(plan->notes);
	*plan = (struct master_plan){0};
}

static bool
make_service(const struct master_plan_source *source, const struct master_service *from,
    const struct master_kind *kind, struct master_plan_service *s, struct err *err)
{
	s->name = mem_strdup(from->fields[MASTER_CF_FIELD_NAME]);
	s->type = mem_strdup(from->fields[MASTER_CF_FIELD_TYPE]);
	s->kind = kind;
	s->program = mem_printf("%s/%s", source->program_dir, kind->program);
	copy_overrides(from, s);
	copy_args(from, s);
	make_numbers(source, from->maxproc, s);
	if (!make_wants(source->conf, from, s, err))
		return err_prefix(err, "%s/master.cf: line %d", conf_dir(source->conf), from->line);
	if (s->want_count > SERVICE_LISTEN_MAX)
		return err_set(err, ERR_CONFIG, "",
		    "%s/master.cf: line %d: more than %d addresses to listen on",
		    conf_dir(source->conf), from->line, SERVICE_LISTEN_MAX);
	make_fingerprint(source->conf, s);
	return true;
}

/* Those of cleanup count wherever mail comes in, and syslog_name is only a name. */
static bool
has_lost_options(const struct master_service *from)
{
	if (strcmp(master_cf_command(from), "cleanup") == 0)
		return false;
	for (size_t i = 0; i < from->override_count; i++)
		if (strcmp(from->overrides[i].name, "syslog_name") != 0)
			return true;
	return false;
}

/*
 * Why a line is not started, as text; NULL: it is. A missing program is fatal only where mail would come in.
 */
static const char *
reason_to_skip(const struct master_plan_source *source, const struct master_kind *kind,
    const struct master_service *from)
{
	char *path CLEANUP(mem_free_str) = NULL;

	if (kind == NULL)
		return "there is no such program";
	if (kind->spread == MASTER_BUILTIN)
		return has_lost_options(from) ? "built in, its -o options have no effect"
					      : "built in, no process needed";
	path = mem_printf("%s/%s", source->program_dir, kind->program);
	return access(path, X_OK) == 0 ? NULL : "this program is not installed";
}

static void
add_note(struct master_plan *plan, int line, enum conf_severity severity, char *text)
{
	plan->notes = mem_resize(plan->notes, plan->note_count + 1, sizeof(plan->notes[0]));
	plan->notes[plan->note_count++] = (struct master_note){text, line, severity};
}

/* How bad it is that a service of this kind is not started. */
static enum conf_severity
severity_of(const struct master_kind *kind, const struct master_service *from)
{
	if (kind == NULL)
		return CONF_ERROR;
	return kind->spread == MASTER_BUILTIN && !has_lost_options(from) ? CONF_INFO : CONF_WARN;
}

static bool
add_line(const struct master_plan_source *source, const struct master_service *from,
    struct master_plan *plan, struct err *err)
{
	const char *name = from->fields[MASTER_CF_FIELD_NAME];
	const char *command = master_cf_command(from);
	const struct master_kind *kind = master_kind_find(command);
	const char *skip = reason_to_skip(source, kind, from);

	if (skip != NULL && from->type == MASTER_CF_INET)
		return err_set(err, ERR_CONFIG, "", "%s/master.cf: line %d: service %s: %s: %s",
		    conf_dir(source->conf), from->line, name, command, skip);
	if (skip != NULL) {
		add_note(plan, from->line, severity_of(kind, from),
		    mem_printf("service %s: %s: %s", name, command, skip));
		return true;
	}
	if (from->chroot)
		add_note(plan, from->line, CONF_INFO,
		    mem_printf("service %s: chroot has no effect here", name));
	plan->services = mem_resize(plan->services, plan->count + 1, sizeof(plan->services[0]));
	plan->services[plan->count] = (struct master_plan_service){0};
	return make_service(source, from, kind, &plan->services[plan->count++], err);
}

bool
master_plan_make(const struct master_plan_source *source, struct master_plan *ret, struct err *err)
{
	struct master_plan plan = {0};

	for (size_t i = 0; i < source->services->count; i++) {
		if (!add_line(source, &source->services->services[i], &plan, err)) {
			master_plan_done(&plan);
			return false;
		}
	}
	*ret = plan;
	return true;
}

const struct master_plan_service *
master_plan_find(const struct master_plan *plan, const char *name, const char *type)
{
	for (size_t i = 0; i < plan->count; i++)
		if (strcmp(plan->services[i].name, name) == 0 &&
		    strcmp(plan->services[i].type, type) == 0)
			return &plan->services[i];
	return NULL;
}
