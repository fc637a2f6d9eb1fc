// SPDX-License-Identifier: MIT
// The heads of requests: taken apart in place, then asked what they want. What is refused is in
// doubt between programs (RFC 9112): spaces before a colon, folded lines, lines that end otherwise.
#include "http_request.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

// ---- taking it apart ----

static bool is_token(const char *text) {
    for (const char *at = text; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("!#$%&'*+-.^_`|~", *at))
            return false;
    return *text != 0;
}

static bool is_visible(const char *text, const char *others) {
    for (; *text; text++)
        if ((unsigned char)*text < '!' || *text == 127)
            if (!strchr(others, *text))
                return false;
    return true;
}

// Ends the text at the first `mark` and returns what follows it; NULL if there is none.
static char *cut(char *text, const char *mark) {
    char *at = strstr(text, mark);
    if (!at)
        return NULL;
    *at = 0;
    return at + strlen(mark);
}

static int parse_first_line(struct request *it, char *line) {
    char *target = cut(line, " "), *version = target ? cut(target, " ") : NULL;
    if (!version || !is_token(line) || !*target || !is_visible(target, ""))
        return 400;
    it->method = line;
    it->target = target;
    it->is_head = strcmp(line, "HEAD") == 0;
    it->is_old = strcmp(version, "HTTP/1.0") == 0;
    if (it->is_old || strcmp(version, "HTTP/1.1") == 0)
        return 200;
    return strncmp(version, "HTTP/", 5) == 0 ? 505 : 400;
}

static int parse_field(struct request *it, char *name) {
    char *value = cut(name, ":");
    if (!value || !is_token(name))
        return 400;
    value += strspn(value, " \t");
    for (size_t end = strlen(value); end > 0 && strchr(" \t", value[end - 1]); end--)
        value[end - 1] = 0;
    if (!is_visible(value, " \t"))
        return 400;
    if (it->count == FIELDS_MAX)
        return 431;
    it->fields[it->count++] = (struct field){name, value};
    return 200;
}

// The value of the first field of that name after `*from`, which is moved there; NULL.
static const char *next_field(const struct request *it, const char *name, size_t *from) {
    while (*from < it->count)
        if (strcasecmp(it->fields[(*from)++].name, name) == 0)
            return it->fields[*from - 1].value;
    return NULL;
}

static const char *field(const struct request *it, const char *name) {
    size_t from = 0;
    return next_field(it, name, &from);
}

int request_parse(struct request *it, size_t bytes) {
    it->method = it->target = "";
    it->is_old = it->is_head = false;
    it->count = 0;
    it->head[bytes - 2] = 0; // the empty line at the end
    if (strlen(it->head) != bytes - 2)
        return 400; // there is a NUL in it
    char *line = it->head;
    line += strncmp(line, "\r\n", 2) == 0 ? 2 : 0; // some clients send one after a body
    char *next = cut(line, "\r\n");
    int status = next ? parse_first_line(it, line) : 400;
    while (status == 200 && *(line = next)) {
        next = cut(line, "\r\n");
        status = next ? parse_field(it, line) : 400;
    }
    size_t from = 0;
    bool host = next_field(it, "Host", &from), again = next_field(it, "Host", &from);
    return status == 200 && (again || (!host && !it->is_old)) ? 400 : status;
}

// ---- what is asked for ----

static bool connection_is(const struct request *it, const char *word) {
    size_t length = strlen(word), from = 0;
    for (const char *at; (at = next_field(it, "Connection", &from));)
        while (*(at += strspn(at, ", \t"))) {
            size_t found = strcspn(at, ", \t");
            if (found == length && strncasecmp(at, word, length) == 0)
                return true;
            at += found;
        }
    return false;
}

bool request_has_body(const struct request *it) {
    size_t from = 0;
    for (const char *length; (length = next_field(it, "Content-Length", &from));)
        if (strcmp(length, "0") != 0)
            return true;
    return field(it, "Transfer-Encoding");
}

bool request_keeps(const struct request *it) {
    if (request_has_body(it) || connection_is(it, "close"))
        return false;
    return !it->is_old || connection_is(it, "keep-alive");
}

static int hexadecimal(char digit) {
    if (isdigit((unsigned char)digit))
        return digit - '0';
    return isxdigit((unsigned char)digit) ? tolower((unsigned char)digit) - 'a' + 10 : -1;
}

// The character at `*at`, which is moved behind it; -1 for one that no file has in its name.
static int decode(const char **at) {
    if (**at != '%')
        return (unsigned char)*(*at)++;
    int high = hexadecimal((*at)[1]), low = high < 0 ? -1 : hexadecimal((*at)[2]);
    int character = low < 0 ? -1 : high * 16 + low;
    *at += 3;
    return character == 0 || character == '/' ? -1 : character;
}

int request_path(const struct request *it, char path[PATH_BYTES_MAX]) {
    const char *target = it->target;
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        target = strstr(target, "://") + 3; // as one asks a proxy
        target += strcspn(target, "/?");
    } else if (*target != '/') {
        return 400;
    }
    size_t length = 0;
    while (*target && *target != '?' && *target != '#') {
        bool begins = length == 0 || path[length - 1] == '/';
        int character = decode(&target);
        if (character < 0)
            return 400;
        if (begins && character == '.')
            return 404;
        if (begins && character == '/')
            continue;
        if (length + sizeof "index.html" >= PATH_BYTES_MAX)
            return 414;
        path[length++] = (char)character;
    }
    bool is_folder = length == 0 || path[length - 1] == '/';
    strcpy(path + length, is_folder ? "index.html" : "");
    return 200;
}

bool request_has(const struct request *it, const struct file *file) {
    const char *tags = field(it, "If-None-Match"), *since = field(it, "If-Modified-Since");
    if (tags)
        return strcmp(tags, "*") == 0 || strstr(tags, file->tag);
    struct tm parts = {0};
    const char *end = since ? strptime(since, "%a, %d %b %Y %T GMT", &parts) : NULL;
    return end && !*end && file->modified_ns / 1000000000 <= timegm(&parts);
}

static const char *parse_number(const char *text, uint64_t *number) {
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && errno == 0 ? end : NULL;
}

int request_range(const struct request *it, const struct file *file, uint64_t *first,
                  uint64_t *bytes) {
    const char *range = field(it, "Range"), *version = field(it, "If-Range");
    uint64_t from = 0, to = UINT64_MAX;
    *first = 0;
    *bytes = file->bytes;
    if (!range || it->is_head || strncasecmp(range, "bytes=", 6) != 0)
        return 200;
    if (version && strcmp(version, file->tag) != 0 && strcmp(version, file->modified) != 0)
        return 200;
    range += 6;
    bool is_end = *range == '-'; // so many bytes at the end
    const char *at = is_end ? range : parse_number(range, &from);
    if (!at || *at != '-')
        return 200;
    if (*++at)
        at = parse_number(at, &to);
    else if (is_end)
        return 200;
    if (!at || *at || to < from)
        return 200;
    if (is_end) {
        from = to < file->bytes ? file->bytes - to : 0;
        to = to > 0 ? UINT64_MAX : 0;
    }
    if (from >= file->bytes || to < from)
        return 416;
    *first = from;
    *bytes = (to < file->bytes ? to + 1 : file->bytes) - from;
    return 206;
}
