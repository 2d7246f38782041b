/*
 * table_command.h - what postmap(1) and postalias(1) do: build, ask, change and list tables. Errors are fatal to the command
 * that calls: it prints err.text and exits with 1.
 */
#ifndef OPERATOR_TABLE_COMMAND_H
#define OPERATOR_TABLE_COMMAND_H

#include "base/base.h"
#include "base/err.h"
#include "cluster/cluster_table_edit.h"
#include "conf/conf.h"

struct table_command {
	struct conf *conf;  /* borrowed */
	bool aliases;       /* postalias: "name: value", output "key:\tvalue" */
	bool exact_case;    /* -f */
	bool file_values;   /* -F */
	bool replace;       /* -r: a later entry replaces an earlier one */
	bool silent;        /* -w: a later entry is ignored without a warning */
	bool keep_rights;   /* -o: not as the owner of the source */
	bool standard_mode; /* -p: 0644 instead of the source's mode */
	bool nul;           /* -N: keys and values end with a NUL */
	bool bytes;         /* -u: no UTF-8 */
	bool text;          /* -U: UTF-8 with -h and -b too */
	bool headers;       /* -h */
	bool body;          /* -b */
	bool mime;          /* -m */
	char **tables;      /* "type:name" or "name" */
	size_t count;
	/* How to come to the queue database, for tables of the cluster; NULL: there is no way. Waits. */
	bool (*editor)(void *arg, struct cluster_table_editor *ret, struct err *err);
	void *editor_arg;
};

/* -q KEY: prints the value that the first table has. */
bool table_command_query(
    const struct table_command *c, const char *key, bool *ret_found, struct err *err) MUST_CHECK;

/* -q -: keys, or with -h and -b a message, from standard input; prints key and value of what is found. */
bool table_command_query_input(
    const struct table_command *c, bool *ret_found, struct err *err) MUST_CHECK;

/* -d KEY; NULL: keys from standard input. */
bool table_command_delete(
    const struct table_command *c, const char *key, bool *ret_found, struct err *err) MUST_CHECK;

/* -s: prints all entries; `ret_found`: there was a table. */
bool table_command_list(const struct table_command *c, bool *ret_found, struct err *err) MUST_CHECK;

/* Builds each table from its source; one of the cluster from standard input. */
bool table_command_build(const struct table_command *c, struct err *err) MUST_CHECK;

/* -i: adds the entries on standard input to each table. */
bool table_command_add(const struct table_command *c, struct err *err) MUST_CHECK;

#endif
