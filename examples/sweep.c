// SPDX-License-Identifier: MIT
// A parameter sweep over all computers that run `asyncoro node`: what becomes of a population that
// grows by r * x * (1 - x) from year to year, for many r; each job simulates one of them. Draws the
// values between which it swings at last into a picture (PGM).
//
// usage: sweep [PICTURE]     (default: sweep.pgm)
#include <asyncoro.h>

#include <stdio.h>
#include <stdlib.h>

enum { COLUMNS = 1200, ROWS = 800, YEARS_BEFORE = 2000, YEARS = 20000 };

static bool failed;

// One column of the picture: the more years end near a value, the darker is its row.
static ac_value simulate(ac_value parameter) {
    static unsigned often[ROWS];
    unsigned char grey[ROWS];
    unsigned most = 1;
    double r = ac_real_of(parameter), x = 0.5;
    for (int year = 0; year < YEARS_BEFORE; year++)
        x = r * x * (1 - x);
    for (int row = 0; row < ROWS; row++)
        often[row] = 0;
    for (int year = 0; year < YEARS; year++) {
        x = r * x * (1 - x);
        unsigned *row = &often[(int)((1 - x) * (ROWS - 1))];
        most = ++*row > most ? *row : most;
    }
    for (int row = 0; row < ROWS; row++)
        grey[row] = (unsigned char)(255 - 255 * (double)often[row] / most);
    return ac_of_bytes(grey, sizeof grey);
}
AC_JOB(simulate)

// The parameters, one by one.
static int next_parameter(void *user, ac_value *parameter) {
    int *column = user;
    if (*column == COLUMNS)
        return 0;
    *parameter = ac_of(2.8 + 1.2 * (*column)++ / COLUMNS);
    return 1;
}

static int draw(const char *path, const unsigned char *columns) {
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    fprintf(file, "P5 %d %d 255\n", COLUMNS, ROWS);
    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < COLUMNS; column++)
            putc(columns[column * ROWS + row], file);
    return fclose(file);
}

// Where there is no node, or none takes this program, messages say so.
static void tell_news(void) {
    ac_value message;
    struct ac_status status;
    while (ac_receive(&message, AC_NOW) == 0) {
        if (ac_status_of(message, &status) &&
            (status.kind == AC_JOBS_WAIT || status.kind == AC_NODE_REFUSED))
            ac_print_to(stderr, "%s\n", status.text);
        ac_drop(message);
    }
}

// Gathers the columns as they come. 0, or an error.
static int sweep(ac_computation *computation, unsigned char *columns) {
    int column = 0;
    ac_mapping *map;
    struct ac_mapped one;
    int err = ac_mapping_open(&map, computation, simulate, .source = next_parameter,
                              .user = &column, .job.retries = 2);
    if (err)
        return err;
    while ((err = ac_mapping_next(map, &one, ac_after(5))) > 0 || err == -ETIMEDOUT) {
        if (err < 0) {
            tell_news();
            continue;
        }
        ac_span grey = ac_span_of(one.value);
        for (size_t row = 0; row < ROWS && grey.bytes == ROWS; row++)
            columns[one.index * ROWS + (int64_t)row] = ((const unsigned char *)grey.at)[row];
        if (one.how != AC_FINISHED)
            ac_print("column %d is missing: %v\n", (int)one.index, one.value);
        ac_drop(one.value);
    }
    ac_mapping_close(map);
    return err;
}

static ac_value client(ac_value path) {
    ac_computation *computation;
    unsigned char *columns = calloc(COLUMNS, ROWS);
    int err = columns ? ac_computation_open(&computation) : -ENOMEM;
    if (!err) {
        err = sweep(computation, columns);
        int closed = ac_computation_close(computation, AC_FOREVER);
        err = err ? err : closed;
    }
    if (!err && draw(ac_text_of(path), columns) != 0)
        err = -EIO;
    free(columns);
    ac_print("%s: %s\n", ac_text_of(path), err ? ac_strerror(err) : "drawn");
    failed = err != 0;
    return ac_result(err);
}

int main(int argc, char **argv) {
    ac_cluster_init(argc, argv);
    ac_spawn(client, argc > 1 ? argv[1] : "sweep.pgm");
    return ac_run() == 0 && !failed ? 0 : 1;
}
