/*
 * mail_dsn.h - enhanced status codes (RFC 3463) as text "5.1.1", and how they go together with SMTP reply codes.
 */
#ifndef MAIL_MAIL_DSN_H
#define MAIL_MAIL_DSN_H

#include "base/base.h"
#include "base/span.h"

#define MAIL_DSN_SIZE 12 /* "5.999.999" and its NUL; as in struct err */

/*
 * Length of the code at the front of `s`: class 2, 4 or 5, two numbers of 1 to 3 digits, then white space or the end.
 * 0: there is none.
 */
size_t mail_dsn_length(struct span s);

/* Is all of `s` a code? */
bool mail_dsn_is_valid(struct span s);

/* 2, 4 or 5; 0 when the text does not begin so. */
int mail_dsn_class(const char *dsn);

/* Copies the code at the front of `text` and returns the rest behind it and its white space; without one: `otherwise`
 * is copied and all of `text` returned. */
struct span mail_dsn_split(struct span text, const char *otherwise, char ret_dsn[MAIL_DSN_SIZE]);

/*
 * What goes with an SMTP reply of a server: the code in its text if its class fits the reply code's, else "2.0.0",
 * "4.0.0", "5.0.0" by the code; "5.5.0" for a reply that is neither 2xx, 4xx nor 5xx.
 */
void mail_dsn_of_reply(int code, struct span text, char ret_dsn[MAIL_DSN_SIZE]);

/* A detail for a reply of our own that has none: 2.0.0, 4.3.0 ..., by RFC 5321 code. */
const char *mail_dsn_default(int code);

/* Makes the class fit a reply code: "5.7.1" with 450 becomes "4.7.1". */
void mail_dsn_fit(char dsn[MAIL_DSN_SIZE], int code);

#endif
