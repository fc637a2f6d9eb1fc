// SPDX-License-Identifier: MIT
// Fuzz target: the heads of requests, as the example http_server takes them apart. Whatever comes,
// the path stays beneath the folder and the part that is sent lies within the file.
#include "fuzz.h"

#include "../../examples/http_request.h"

#include <string.h>

static void require_beneath(const char *path) {
    REQUIRE(strlen(path) < PATH_BYTES_MAX && path[0] != '/');
    for (const char *at = path; at && *at; at = strchr(at, '/')) {
        at += *at == '/';
        REQUIRE(*at != '.' || path[1] == 0);
    }
}

static void use(const struct request *it) {
    static const struct file file = {.bytes = 1000,
                                     .modified_ns = 1700000000000000000,
                                     .modified = "Tue, 14 Nov 2023 22:13:20 GMT",
                                     .tag = "\"17-3e8\""};
    char path[PATH_BYTES_MAX];
    uint64_t first = 0, bytes = 0;
    (void)request_keeps(it);
    (void)request_has_body(it);
    int status = request_path(it, path);
    REQUIRE(status == 200 || (status >= 400 && status < 600));
    if (status == 200)
        require_beneath(path);
    (void)request_has(it, &file);
    status = request_range(it, &file, &first, &bytes);
    REQUIRE(status == 200 || status == 206 || status == 416);
    if (status == 206)
        REQUIRE(bytes > 0 && first < file.bytes && bytes <= file.bytes - first);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    static struct request it;
    memset(&it, 0xa5, sizeof it);
    count = count < HEAD_BYTES_MAX - 4 ? count : HEAD_BYTES_MAX - 4;
    if (count > 0)
        memcpy(it.head, bytes, count);
    memcpy(it.head + count, "\r\n\r\n", 5); // the server looks for it before
    int status = request_parse(&it, count + 4);
    REQUIRE(status == 200 || (status >= 400 && status < 600));
    if (status == 200) {
        REQUIRE(it.count <= FIELDS_MAX);
        use(&it);
    }
    return 0;
}
