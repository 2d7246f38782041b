/*
 * shelf.h - contents of new mail, kept for a while in memory that the processes of a node share. A front end puts the content of each
 * message there when it stores the message; the agents of the node take it from there, and neither the database nor the
 * scheduler has to read and pass it on.
 *
 * It is only a shorter way: the newest contents displace the oldest, and what is not there (any more) is read from the database. Master
 * makes the memory (content_shelf_size) and hands it to those who need it: writable to front ends, readable to scheduler and agents.
 */
#ifndef SERVICE_SHELF_H
#define SERVICE_SHELF_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

struct shelf;

/* Smaller contents are not put there: they cost less where they are. */
#define SHELF_LEAST 4096

/* The memory of an empty shelf for `size` bytes of contents (at least 1 MB), or -1 and errno. Close-on-exec. */
int shelf_create(size_t size);

/* The same memory as a descriptor that cannot be mapped for writing, or -1 and errno. */
int shelf_read_only(int fd);

/* Maps it, for writing if `fd` allows that; not for children. NULL: `fd` is no shelf. `fd` stays the caller's. */
struct shelf *shelf_open(int fd);

void shelf_close(struct shelf **s);

/* For a shelf opened writable. Contents of more than a sixteenth of the shelf are not put there, nor what comes while another process
 * puts one and stands still. Never waits; NULL: does nothing. */
void shelf_put(struct shelf *s, int64_t msg_id, struct span content);

/*
 * Appends the bytes of the content from `offset` on, at most `max`. False, and nothing appended: it is not there, or not of `size` bytes,
 * so that it is another message's (process numbers are unique within one queue database). NULL: false. Never waits.
 */
bool shelf_read(const struct shelf *s, int64_t msg_id, uint64_t size, uint64_t offset, size_t max,
    struct buf *ret);

/*
 * Which messages are likely to be there for a while yet: those whose id was minted under one of the process numbers that are appended to
 * `ret` and is at least *ret_first. NULL: none.
 */
void shelf_holds(const struct shelf *s, int64_t *ret_first, struct buf *ret);

#endif
