/*
 * postdrop.h - postdrop(1): takes a message from its standard input, checks it, and leaves it in maildrop, durable. The only
 * program that may write there; installed set-gid where users are not root.
 *
 * Standard input: records of maildrop.h. Standard output: one line "STATUS TEXT": 0 and the file's name, else a
 * POSTDROP_ number and why. Input that ends before its end record leaves nothing behind.
 */
#ifndef PICKUP_POSTDROP_H
#define PICKUP_POSTDROP_H

#include "base/base.h"

enum postdrop_status {
	POSTDROP_OK,
	POSTDROP_TOO_LARGE,   /* message_size_limit */
	POSTDROP_WRITE_ERROR, /* disk full and the like */
};

int postdrop_main(int argc, char **argv);

#endif
