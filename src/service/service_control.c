/*
 * service_control.c - see service_control.h.
 */
#include "service/service_control.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

union descriptor_room {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

bool
service_control_send(int fd, enum service_message message, int pass)
{
	char byte = (char)message;
	struct iovec iov = {&byte, 1};
	union descriptor_room room = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass >= 0) {
		struct cmsghdr *head;

		msg.msg_control = room.bytes;
		msg.msg_controllen = sizeof(room.bytes);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &pass, sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

/* The descriptor that came along, or -1. */
static int
passed_fd(struct msghdr *msg)
{
	int fd = -1;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head != NULL; head = CMSG_NXTHDR(msg, head))
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
		    head->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(head), sizeof(int));
	return fd;
}

bool
service_control_receive(int fd, enum service_message *ret, int *ret_fd)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union descriptor_room room = {0};
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = room.bytes,
	    .msg_controllen = sizeof(room.bytes)};
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	*ret = n == 1 ? (enum service_message)(unsigned char)byte : SERVICE_GONE;
	*ret_fd = n == 1 ? passed_fd(&msg) : -1;
	return true;
}

void
service_control_signals(int how)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(how, &set, NULL);
}
