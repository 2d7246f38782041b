/*
 * bounce_template.h - the texts of bounce_template_file (bounce(5)): failure, delay, success and verify, each a few headers and a
 * body, with main.cf's $names replaced when the file is read.
 */
#ifndef BOUNCE_BOUNCE_TEMPLATE_H
#define BOUNCE_BOUNCE_TEMPLATE_H

#include "base/base.h"
#include "conf/conf.h"
#include "mail/mail_report.h"

struct bounce_templates;

/* What is wrong with bounce_template_file is logged; templates with mistakes, and all of a file that cannot be read, are built in. */
struct bounce_templates *bounce_template_load(const struct conf *conf);
void bounce_template_free(struct bounce_templates **t);

/* The own text of that kind; NULL: the built-in one. */
const struct mail_report_template *bounce_template_of(
    const struct bounce_templates *t, enum mail_report_kind kind);

/*
 * Appends the templates of the file `path`, built-in ones for those that it has not (path "": for all; NULL: the file is
 * bounce_template_file), as postconf -t shows them, or with `expanded` (-b) their bodies for this host. False: the file cannot
 * be read.
 */
bool bounce_template_show(const struct conf *conf, const char *path, bool expanded, struct buf *ret,
    struct err *err) MUST_CHECK;

#endif
