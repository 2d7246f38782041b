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

/* NULL when bounce_template_file is empty or cannot be read; what is wrong with it is logged. */
struct bounce_templates *bounce_template_load(const struct conf *conf);
void bounce_template_free(struct bounce_templates **t);

/* The own text of that kind; NULL: the built-in one. */
const struct mail_report_template *bounce_template_of(
    const struct bounce_templates *t, enum mail_report_kind kind);

#endif
