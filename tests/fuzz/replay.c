/* replay.c: runs a fuzz target over files and folders of inputs, without libFuzzer. An input that takes a second of computing fails. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static double slowest;

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    size_t bytes = 0, room = 1 << 16;
    uint8_t *data = malloc(room);
    for (size_t n; data && (n = fread(data + bytes, 1, room - bytes, file)) > 0;) {
        bytes += n;
        if (bytes == room)
            data = realloc(data, room *= 2);
    }
    fclose(file);
    uint8_t *exact = malloc(bytes ? bytes : 1); /* of its own size, so that a tool sees a step past the end */
    for (size_t i = 0; data && exact && i < bytes; i++)
        exact[i] = data[i];
    free(data);
    clock_t start = clock();
    if (exact)
        LLVMFuzzerTestOneInput(exact, bytes);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > slowest)
        slowest = seconds;
    if (seconds > 1)
        printf("%s: %.1f s, limit 1 s\n", path, seconds);
    free(exact);
    return 1;
}

int main(int argc, char **argv)
{
    int n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            n += run_file(argv[i]);
            continue;
        }
        for (struct dirent *entry; (entry = readdir(folder));) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (entry->d_name[0] != '.')
                n += run_file(path);
        }
        closedir(folder);
    }
    printf("%d inputs, slowest %.3f s\n", n, slowest);
    return n == 0 || slowest > 1;
}
