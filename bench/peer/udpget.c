/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "peer.h"

#define BATCH 32

/* The size of the header of a datagram: id, number, count of datagrams, 0; 16 bits each, big endian. */
#define FRAME 8

struct load {
	int fd;
	uint64_t gets, keys, sent, answered, wrong;
	struct mmsghdr out[BATCH], in[BATCH];
	struct iovec out_iov[BATCH], in_iov[BATCH];
	char request[BATCH][64], answer[BATCH][512];
};

/* Returns a socket in another network namespace, connected to the server, or -1 after fail(). */
static int open_socket(const char *ns_path, const char *addr, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), ns = open(ns_path, O_RDONLY | O_CLOEXEC), fd = -1;
	int room = 4 << 20;

	inet_pton(AF_INET, addr, &to.sin_addr);
	if (own < 0 || ns < 0 || setns(ns, CLONE_NEWNET)) {
		fail("enter network namespace", errno);
	} else {
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (void *)&to, sizeof(to)) ||
		    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room))) {
			fail("open socket", errno);
			if (fd >= 0)
				close(fd);
			fd = -1;
		}
		setns(own, CLONE_NEWNET);
	}
	close(own);
	close(ns);
	return fd;
}

/* Sets how long recvmmsg(2) waits for answers, in ms. */
static int set_patience(int fd, int ms)
{
	struct timeval patience = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ? errno : 0;
}

/* Sends requests until one is answered: devices that have just come up drop packets. */
static int wait_for_server(int fd)
{
	static const char request[] = "\0\0\0\0\0\1\0\0get key0\r\n";
	char answer[512];
	int err = set_patience(fd, 100);

	for (int ms = 0; !err && ms < PATIENCE; ms += 100) {
		if (send(fd, request, sizeof(request) - 1, 0) >= 0 && recv(fd, answer, sizeof(answer), 0) > 0)
			return 0;
	}
	return err ?: ETIMEDOUT;
}

/* Sends requests for the next keys. Returns the number of requests, or -1 if sendmmsg(2) fails. */
static int send_batch(struct load *l)
{
	uint64_t n = l->gets - l->sent < BATCH ? l->gets - l->sent : BATCH;

	for (uint64_t i = 0; i < n; i++) {
		uint16_t id = l->sent + i;

		l->out_iov[i].iov_len = FRAME + sprintf(l->request[i] + FRAME, "get key%d\r\n", (int)((l->sent + i) % l->keys));
		memcpy(l->request[i], (char[]){ id >> 8, id, 0, 0, 0, 1, 0, 0 }, FRAME);
	}
	return sendmmsg(l->fd, l->out, n, 0);
}

/* Reports whether an answer has the value of the requested key. */
static int is_right(const struct load *l, int i)
{
	const unsigned char *frame = (const unsigned char *)l->answer[i];
	uint16_t id = frame[0] << 8 | frame[1];
	uint64_t seq = l->answered & ~0xffffull;
	char want[64];
	int n;

	seq |= id;
	if (seq > l->answered + 0x8000 && seq >= 0x10000)
		seq -= 0x10000;
	n = sprintf(want, "VALUE key%d 0 64\r\n", (int)(seq % l->keys));
	return l->in[i].msg_len == FRAME + n + 64u + 7 && !memcmp(l->answer[i] + FRAME, want, n);
}

/* Sends all requests, a batch of them in flight at any time. Returns 0 or an errno. */
static int ask_all(struct load *l)
{
	while (l->sent < l->gets) {
		int n = send_batch(l), got;

		if (n < 0)
			return errno;
		l->sent += n;
		while (n > 0) {
			got = recvmmsg(l->fd, l->in, n, MSG_WAITFORONE, NULL);
			if (got < 0)
				return errno;
			for (int i = 0; i < got; i++)
				l->wrong += !is_right(l, i);
			l->answered += got;
			n -= got;
		}
	}
	return 0;
}

/* Measures with a new socket, which receives no late answers. Returns 0 or an errno. */
static int measure(struct load *l, uint64_t *ns, uint64_t *cpu_ns)
{
	struct timespec cpu;
	int err;

	for (int i = 0; i < BATCH; i++) {
		l->out_iov[i].iov_base = l->request[i];
		l->in_iov[i] = (struct iovec){ l->answer[i], sizeof(l->answer[i]) };
		l->out[i].msg_hdr = (struct msghdr){ .msg_iov = &l->out_iov[i], .msg_iovlen = 1 };
		l->in[i].msg_hdr = (struct msghdr){ .msg_iov = &l->in_iov[i], .msg_iovlen = 1 };
	}
	err = set_patience(l->fd, PATIENCE);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	*cpu_ns = cpu.tv_sec * 1000000000ull + cpu.tv_nsec;
	*ns = now();
	if (!err)
		err = ask_all(l);
	*ns = now() - *ns;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	*cpu_ns = cpu.tv_sec * 1000000000ull + cpu.tv_nsec - *cpu_ns;
	return err;
}

/*
 * udpget NETNS ADDRESS PORT GETS KEYS TIMED: requests GETS values from a server or, if TIMED is 0,
 * only waits until the server answers; answers ns, ns of this thread's CPU time, the number of
 * answers, and that of wrong answers.
 */
void udpget(const struct request *req)
{
	static struct load l;
	uint64_t ns = 0, cpu_ns = 0;
	int err;

	memset(&l, 0, sizeof(l));
	l.gets = number(req, 3);
	l.keys = number(req, 4);
	l.fd = open_socket(word(req, 0), word(req, 1), number(req, 2));
	if (l.fd < 0)
		return;
	err = number(req, 5) ? measure(&l, &ns, &cpu_ns) : wait_for_server(l.fd);
	close(l.fd);
	if (err)
		fail("ask", err);
	else
		answer((uint64_t[]){ ns, cpu_ns, l.answered, l.wrong }, 4);
}
