/*
 * task_switch.c - the switch itself and what AddressSanitizer must know of it: see task_switch.h.
 *
 * A context that does not run has its registers on its own stack, and `saved` points to them; so a switch is "push,
 * exchange the stack pointer, pop". A fresh context has the same picture laid out by hand.
 *
 * A shadow stack (CET) would need to be switched too. The C library sets one up only for programs whose every object is
 * marked for it; the Makefile leaves the mark off this one.
 */
#include "task/task_switch.h"

#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SWITCH_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SWITCH_ASAN 1
#endif
#ifdef SWITCH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__) && !defined(TASK_SWITCH_UCONTEXT)
#define TASK_SWITCH_UCONTEXT 1
#endif

/* Bytes below the stack pointer that a function without calls may use (x86-64 ABI, 3.2.2). */
#define RED_ZONE 128

/* The context that is being entered; read at the other end of the switch. */
static struct task_context *switch_target;
static struct task_context *switch_source;

/* ---- AddressSanitizer ------------------------------------------------------------------------------------------ */

static void
switch_announce(struct task_context *from, struct task_context *to, bool last)
{
	switch_source = from;
	switch_target = to;
#ifdef SWITCH_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack, to->size);
#else
	(void)last;
#endif
}

/* First thing on the stack of switch_target. The stack of main() is learnt when it is left for the first time. */
static void
switch_arrived(void)
{
#ifdef SWITCH_ASAN
	const void *stack;
	size_t size;

	__sanitizer_finish_switch_fiber(switch_target->fake_stack, &stack, &size);
	if (switch_source->stack == NULL) {
		switch_source->stack = stack;
		switch_source->size = size;
	}
#endif
}

NO_RETURN static void
switch_enter(void)
{
	struct task_context *c = switch_target;

	switch_arrived();
	c->fn(c->arg);
	UNREACHED();
}

/* ---- x86-64 ---------------------------------------------------------------------------------------------------- */

#ifndef TASK_SWITCH_UCONTEXT

/* What switch_jump() leaves at the saved stack pointer. */
struct switch_frame {
	uint32_t mxcsr;
	uint16_t x87_control;
	uint16_t unused;
	uint64_t registers[6]; /* r15 r14 r13 r12 rbx rbp */
	uint64_t return_to;
	uint64_t caller; /* zero: debuggers end their backtrace here */
};

/* Saves the context, leaves its stack pointer in *saved, and goes on at the one that `to` points to. */
void switch_jump(void **saved, void *to) __asm__("rowpost_switch_jump");

/* clang-format off */
__asm__(
	".pushsection .text\n"
	".hidden rowpost_switch_jump\n"
	".globl rowpost_switch_jump\n"
	".type rowpost_switch_jump, @function\n"
	".balign 16\n"
	"rowpost_switch_jump:\n"
	"	endbr64\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size rowpost_switch_jump, . - rowpost_switch_jump\n"
	".popsection\n"
);
/* clang-format on */

static void
switch_lay_out(struct task_context *c, char *stack, size_t size)
{
	struct switch_frame frame = {.return_to = (uint64_t)(uintptr_t)switch_enter};
	uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
	char *at = stack + (top - (uintptr_t)stack) - sizeof(frame);

	/* The ABI wants the stack at 16 n + 8 at the start of a function: switch_enter() starts at `caller`. */
	_Static_assert(sizeof(struct switch_frame) == 72, "layout of switch_jump");
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(frame.mxcsr), "=m"(frame.x87_control));
	memcpy(at, &frame, sizeof(frame));
	c->saved = at;
}

static char *
switch_low(const struct task_context *c)
{
	return (char *)c->saved - RED_ZONE;
}

/* ---- ucontext -------------------------------------------------------------------------------------------------- */

#else

#include <ucontext.h>

/* More than the frames of swapcontext() and of what calls it. */
#define SWITCH_SLACK 4096

static void
switch_jump(void **saved, void *to)
{
	ucontext_t here;

	*saved = &here;
	MUST(swapcontext(&here, to) == 0);
}

/* The first ucontext lies at the top of the stack that it describes. */
static void
switch_lay_out(struct task_context *c, char *stack, size_t size)
{
	size_t room = (size - sizeof(ucontext_t)) & ~(size_t)63;
	ucontext_t *uc = (ucontext_t *)(void *)(stack + room);

	MUST(getcontext(uc) == 0);
	uc->uc_stack.ss_sp = stack;
	uc->uc_stack.ss_size = room;
	uc->uc_link = NULL;
	makecontext(uc, switch_enter, 0);
	c->saved = uc;
}

static char *
switch_low(const struct task_context *c)
{
	return (char *)c->saved - SWITCH_SLACK - RED_ZONE;
}

#endif

/* ---- for all ----------------------------------------------------------------------------------------------------- */

void
task_switch_prepare(
    struct task_context *c, void *stack, size_t size, void (*fn)(void *arg), void *arg)
{
	*c = (struct task_context){.stack = stack, .size = size, .fn = fn, .arg = arg};
	switch_lay_out(c, stack, size);
}

void
task_switch(struct task_context *from, struct task_context *to)
{
	switch_announce(from, to, false);
	switch_jump(&from->saved, to->saved);
	switch_arrived();
}

void
task_switch_last(struct task_context *from, struct task_context *to)
{
	switch_announce(from, to, true);
	switch_jump(&from->saved, to->saved);
	UNREACHED();
}

char *
task_switch_low(const struct task_context *c)
{
	return switch_low(c);
}
