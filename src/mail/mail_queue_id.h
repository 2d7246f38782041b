/*
 * mail_queue_id.h - a message's identity (msg_id) and its printed form, the queue id, in the shape of Postfix's long
 * queue ids:
 *
 *	3V5xPZ1x2Yz6D       seconds since 1970 in base 52, at least 6 characters
 *	      1x2Y          microseconds in base 52, 4 characters
 *	          z         separator, outside the base 51 alphabet
 *	           6D       in base 51: here the process number + 1
 *
 * msg_id: microseconds since 2020-01-01 UTC times 4096 plus the process number (0..4095), positive. The forms convert
 * exactly into each other, and of two ids of the same process number the later one is later also as text.
 */
#ifndef MAIL_MAIL_QUEUE_ID_H
#define MAIL_MAIL_QUEUE_ID_H

#include "base/base.h"
#include "base/span.h"

#define MAIL_QUEUE_ID_SIZE    32 /* for the text and its NUL */
#define MAIL_QUEUE_ID_PROCESS 4096
#define MAIL_QUEUE_ID_EPOCH   INT64_C(1577836800) /* 2020-01-01 00:00:00 UTC */

/* real_us: microseconds since 1970, not before 2020 nor after 2090; process: 0..4095. */
int64_t mail_queue_id_make(int64_t real_us, unsigned process);

/* The parts of a msg_id (positive). */
int64_t mail_queue_id_time(int64_t msg_id); /* microseconds since 1970 */
unsigned mail_queue_id_process(int64_t msg_id);

void mail_queue_id_format(int64_t msg_id, char ret[MAIL_QUEUE_ID_SIZE]);

/* False if `text` is not exactly what mail_queue_id_format() prints for some msg_id. */
bool mail_queue_id_parse(struct span text, int64_t *ret_msg_id) MUST_CHECK;

/* Could `text` be a name in Postfix's queue: letters, digits and '_'? For commands that take ids from people. */
bool mail_queue_id_looks_valid(struct span text);

#endif
