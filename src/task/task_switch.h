/*
 * task_switch.h - from one stack to another: the only file that knows the machine. On x86-64 a few lines of assembly
 * (what the ABI makes the callee save, mxcsr and the x87 control word); elsewhere, or with -DTASK_SWITCH_UCONTEXT,
 * ucontext, whose two system calls for the signal mask make it several times dearer. AddressSanitizer is told of
 * each switch. All contexts of a process belong to one thread.
 */
#ifndef TASK_TASK_SWITCH_H
#define TASK_TASK_SWITCH_H

#include "base/base.h"

struct task_context {
	void *saved; /* where it stands while it does not run: on its own stack */
	const void
	    *stack; /* lowest address; NULL until the first switch away, for the stack of main() */
	size_t size;
	void *fake_stack; /* AddressSanitizer's */
	void (*fn)(void *arg);
	void *arg;
};

/* Makes `c` a context that will call fn(arg) on the stack of `size` bytes at `stack`. fn must never return. */
void task_switch_prepare(
    struct task_context *c, void *stack, size_t size, void (*fn)(void *arg), void *arg);

/* Goes on in `to`; returns when somebody switches back to `from`. */
void task_switch(struct task_context *from, struct task_context *to);

/* Goes on in `to`, never to come back: the stack of `from` may be used for something else afterwards. */
NO_RETURN void task_switch_last(struct task_context *from, struct task_context *to);

/* The lowest byte in use on the stack of `c`, which does not run: what lies below may be thrown away. */
char *task_switch_low(const struct task_context *c);

#endif
