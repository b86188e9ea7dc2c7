/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer.h"

static const struct {
	const char *name;
	void (*run)(const struct request *);
} commands[] = {
	{ "consume", consume },
	{ "hot", hot },
	{ "stream", stream },
	{ "wake", wake },
	{ "userring", userring },
	{ "tokernel", tokernel },
	{ "arenalist", arenalist },
	{ "lookup", lookup },
	{ "udpget", udpget },
};

uint64_t number(const struct request *req, int i)
{
	return strtoull(word(req, i), NULL, 10);
}

const char *word(const struct request *req, int i)
{
	return i < req->argc ? req->argv[i] : "";
}

void ready(void)
{
	puts("ready");
	fflush(stdout);
}

void answer(const uint64_t *values, size_t n)
{
	fputs("ok", stdout);
	for (size_t i = 0; i < n; i++)
		printf(" %" PRIu64, values[i]);
	putchar('\n');
	fflush(stdout);
}

void fail(const char *what, int err)
{
	if (err)
		printf("error %s: %s\n", what, strerror(err < 0 ? -err : err));
	else
		printf("error %s\n", what);
	fflush(stdout);
}

static void run(char *line)
{
	const char *name = strtok(line, " \n");
	struct request req = {};
	char *arg;

	while (req.argc < MAX_ARGS && (arg = strtok(NULL, " \n")))
		req.argv[req.argc++] = arg;
	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(name, commands[i].name)) {
			commands[i].run(&req);
			return;
		}
	}
	fail("unknown command", 0);
}

int main(void)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin))
		run(line);
	return 0;
}
