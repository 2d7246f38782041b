/*
 * seeds.h - for unit tests: runs a fuzz target on each file of its seed directory.
 */
#ifndef TESTS_LIB_SEEDS_H
#define TESTS_LIB_SEEDS_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int seeds_target(const uint8_t *data, size_t size);

/* All files of tests/fuzz/seeds/NAME, whole and with one byte changed at each place. Returns how many files there were. */
static inline size_t
seeds_replay(const char *name, seeds_target *target)
{
	static uint8_t data[65536];
	char path[512];
	struct dirent *entry;
	size_t files = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "tests/fuzz/seeds/%s", name);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		FILE *f;
		size_t size;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "tests/fuzz/seeds/%s/%s", name, entry->d_name);
		f = fopen(path, "rb");
		if (f == NULL)
			continue;
		size = fread(data, 1, sizeof(data), f);
		(void)fclose(f);
		files++;
		(void)target(data, size);
		for (size_t i = 0; i < size; i++) {
			data[i] ^= (uint8_t)(1u << i % 8);
			(void)target(data, size);
			(void)target(data, i);
			data[i] ^= (uint8_t)(1u << i % 8);
		}
	}
	if (dir != NULL)
		(void)closedir(dir);
	return files;
}

#endif
