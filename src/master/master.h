/*
 * master.h - the supervisor: started as root by `rowpost start`, it makes what master.cf says run, and keeps it so.
 *
 *	master -c DIR [-S FD] [-v]     FD: a pipe that gets "ok" once all listeners are up, or the reason why not
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

/* Does it; returns the exit status for main(). */
int master_main(int argc, char **argv);

#endif
