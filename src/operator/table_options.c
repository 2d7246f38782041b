/*
 * table_options.c - see table_options.h.
 */
#include "operator/table_options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

NO_RETURN static void
table_options_usage(bool aliases)
{
	if (aliases)
		log_fatal(1, "usage: postalias [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] "
			     "[map_type:]file...");
	log_fatal(1, "usage: postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] "
		     "[map_type:]file...");
}

/* The letters that are nothing but a switch. */
static bool
table_options_switch(struct table_options *o, int letter)
{
	struct table_command *c = &o->command;
	struct {
		int letter;
		bool *flag;
	} switches[] = {
	    {'b', &c->body},
	    {'f', &c->exact_case},
	    {'F', &c->file_values},
	    {'h', &c->headers},
	    {'i', &o->incremental},
	    {'m', &c->mime},
	    {'N', &c->nul},
	    {'o', &c->keep_rights},
	    {'p', &c->standard_mode},
	    {'r', &c->replace},
	    {'s', &o->list},
	    {'u', &c->bytes},
	    {'U', &c->text},
	    {'w', &c->silent},
	};

	for (size_t i = 0; i < ARRAY_LEN(switches); i++)
		if (switches[i].letter == letter)
			return *switches[i].flag = true;
	return false;
}

static void
table_options_take(struct table_options *o, int letter)
{
	switch (letter) {
	case 'c':
		o->conf_dir = optarg;
		return;
	case 'd':
	case 'q':
		if (o->query != NULL || o->remove != NULL || o->list)
			log_fatal(1, "specify only one of -s -q or -d");
		*(letter == 'd' ? &o->remove : &o->query) = optarg;
		return;
	case 'n':
		o->command.nul = false;
		return;
	case 'v':
		o->verbose++;
		return;
	default:
		break;
	}
	if (!table_options_switch(o, letter))
		table_options_usage(o->command.aliases);
	if (o->list && (o->query != NULL || o->remove != NULL))
		log_fatal(1, "specify only one of -s -q or -d");
}

void
table_options_parse(int argc, char **argv, bool aliases, struct table_options *ret)
{
	static char postmap[] = "postmap", postalias[] = "postalias";
	struct table_command *c = &ret->command;
	int letter;

	*ret = (struct table_options){.command = {.aliases = aliases}};
	/* getopt() speaks under this name. */
	argv[0] = aliases ? postalias : postmap;
	while ((letter = getopt(
		    argc, argv, aliases ? "+Nc:d:finopq:rsuvw" : "+NUbc:d:fFhimnopq:rsuvw")) != -1)
		table_options_take(ret, letter);
	if ((c->headers || c->body || c->mime) &&
	    (ret->query == NULL || strcmp(ret->query, "-") != 0))
		log_fatal(1, "specify -b -h or -m only with \"-q -\"");
	if (c->mime && !c->headers && !c->body)
		log_warn("ignoring -m option without -b or -h");
	c->tables = argv + optind;
	c->count = (size_t)(argc - optind);
	if (c->count == 0 && !ret->list)
		table_options_usage(aliases);
}

bool
table_options_run(struct table_options *o, struct conf *conf, int *ret_status, struct err *err)
{
	struct table_command *c = &o->command;
	bool found = true, ok;

	c->conf = conf;
	if (o->remove != NULL)
		ok = table_command_delete(
		    c, strcmp(o->remove, "-") == 0 ? NULL : o->remove, &found, err);
	else if (o->query != NULL && strcmp(o->query, "-") == 0)
		ok = table_command_query_input(c, &found, err);
	else if (o->query != NULL)
		ok = table_command_query(c, o->query, &found, err);
	else if (o->list)
		ok = table_command_list(c, &found, err);
	else if (o->incremental)
		ok = table_command_add(c, err);
	else
		ok = table_command_build(c, err);
	if (!ok)
		return false;
	if (fflush(stdout) != 0)
		return err_set(err, ERR_TEMP, "", "write error");
	*ret_status = found ? 0 : 1;
	return true;
}
