// SPDX-License-Identifier: MIT
// Text forms: ac_print, ac_print_to and ac_format.
//
// A format is read here. Each conversion of the C library is handed to it alone, with its flags,
// width and precision written out; %v and %r are ours. All is put together in memory and leaves in
// one piece.
//
//   %v  an ac_value   nil  true  42  2.5  text as it stands  b'00ff'  [1, "a"]  {"k": 1}
//                     <reference 1a2b:17>  error: text (ENOENT)  <pointer 0x1234>  <notice [...]>
//                     Inside a list or map text is quoted, and errors stand in <>. A real that is
//                     a whole number ends in .0; all others have as many digits as it takes to read
//                     them back.
//   %r  an ac_ref     <reference 1a2b:17>: its process and what it names there, both in hexadecimal
//
// The width of %v and %r pads with blanks, '-' on the right; the precision is the number of bytes
// at the most, whole characters only. Not known: %n, %m and n$, which give -EINVAL.
#include "value/flat.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

enum length { PLAIN, HH, H, L, LL, J, Z, T, LONG_DOUBLE };

// A conversion, taken apart.
struct spec {
    bool flags[6]; // each of FLAGS at most once
    int width;     // 0: none
    int precision; // negative: none
    enum length length;
    char conversion;
    char text[48]; // as the C library is to read it
};
static const char FLAGS[] = "-+ #0'";
static const char *const length_names[] = {"", "hh", "h", "l", "ll", "j", "z", "t", "L"};

// va_list is an array on some machines and cannot be passed by reference there.
struct arguments {
    va_list list;
};

static int print(FILE *file, const char *format, struct arguments *arguments);
static int format_all(struct buffer *out, const char *format, struct arguments *arguments);
static int read_spec(const char **at, struct spec *spec, struct arguments *arguments);
static int read_number(const char **at, int *number, struct arguments *arguments);
static void write_spec(struct spec *spec);
static int put_conversion(struct buffer *out, const struct spec *spec, struct arguments *arguments);
static int put_signed(struct buffer *out, const struct spec *spec, struct arguments *arguments);
static int put_unsigned(struct buffer *out, const struct spec *spec, struct arguments *arguments);
static int put_ours(struct buffer *out, const struct spec *spec, struct arguments *arguments);
static int put(struct buffer *out, const char *format, ...);
static int put_text(struct buffer *out, const char *text);
static int put_value(struct buffer *out, ac_value it, bool inside);
static int put_items(struct buffer *out, ac_value it);
static int put_quoted(struct buffer *out, ac_span text);
static int put_hex(struct buffer *out, ac_span bytes);
static int put_real(struct buffer *out, double real);
static int put_ref(struct buffer *out, ac_ref ref);
static int put_error(struct buffer *out, ac_value error);

int ac_print(const char *format, ...) {
    struct arguments arguments;
    va_start(arguments.list, format);
    int result = print(stdout, format, &arguments);
    va_end(arguments.list);
    return result;
}

int ac_print_to(FILE *file, const char *format, ...) {
    struct arguments arguments;
    va_start(arguments.list, format);
    int result = file ? print(file, format, &arguments) : -EINVAL;
    va_end(arguments.list);
    return result;
}

static int print(FILE *file, const char *format, struct arguments *arguments) {
    struct buffer out;
    buffer_init(&out);
    int result = format_all(&out, format, arguments);
    errno = 0;
    if (result > 0 && fwrite(out.bytes, 1, out.length, file) != out.length)
        result = errno ? -errno : -EIO;
    buffer_done(&out);
    return result;
}

int ac_format(char *text, size_t bytes, const char *format, ...) {
    struct buffer out;
    struct arguments arguments;
    if (!text && bytes > 0)
        return -EINVAL;
    buffer_init(&out);
    va_start(arguments.list, format);
    int result = format_all(&out, format, &arguments);
    va_end(arguments.list);
    if (bytes > 0) {
        size_t shown = result < 0 ? 0 : out.length < bytes ? out.length : bytes - 1;
        if (shown > 0)
            memcpy(text, out.bytes, shown);
        text[shown] = 0;
    }
    buffer_done(&out);
    return result;
}

// ---- reading the format ----

// The length of the text, or a negative errno value.
static int format_all(struct buffer *out, const char *format, struct arguments *arguments) {
    if (!format)
        return -EINVAL;
    for (const char *at = format; *at;) {
        size_t plain = strcspn(at, "%");
        int err = buffer_append(out, at, plain);
        at += plain;
        if (!err && *at == '%') {
            struct spec spec;
            at++;
            err = read_spec(&at, &spec, arguments);
            if (!err)
                err = put_conversion(out, &spec, arguments);
        }
        if (err)
            return err;
    }
    return out->length <= INT_MAX ? (int)out->length : -EOVERFLOW;
}

static int read_spec(const char **at, struct spec *spec, struct arguments *arguments) {
    *spec = (struct spec){.precision = -1};
    for (const char *flag; **at && (flag = strchr(FLAGS, **at)); ++*at)
        spec->flags[flag - FLAGS] = true;
    int err = read_number(at, &spec->width, arguments);
    if (err)
        return err;
    if (spec->width < 0) { // from a '*': a negative width means '-'
        spec->flags[0] = true;
        spec->width = -spec->width;
    }
    if (**at == '.') {
        ++*at;
        spec->precision = 0;
        err = read_number(at, &spec->precision, arguments);
        if (err)
            return err;
    }
    for (int i = LONG_DOUBLE; i > PLAIN && spec->length == PLAIN; i--)
        if (strncmp(*at, length_names[i], strlen(length_names[i])) == 0 &&
            !(i == H && (*at)[1] == 'h'))
            spec->length = (enum length)i;
    *at += strlen(length_names[spec->length]);
    spec->conversion = **at;
    if (!spec->conversion)
        return -EINVAL;
    ++*at;
    write_spec(spec);
    return 0;
}

// Digits, or a '*' for the next argument; neither leaves *number as it is.
static int read_number(const char **at, int *number, struct arguments *arguments) {
    if (**at == '*') {
        ++*at;
        *number = va_arg(arguments->list, int);
        return *number == INT_MIN ? -EOVERFLOW : 0;
    }
    for (int64_t n = 0; **at >= '0' && **at <= '9'; ++*at) {
        n = n * 10 + (**at - '0');
        if (n > INT_MAX - 1)
            return -EOVERFLOW;
        *number = (int)n;
    }
    return 0;
}

static void write_spec(struct spec *spec) {
    char *to = spec->text;
    *to++ = '%';
    for (size_t i = 0; i < countof(spec->flags); i++)
        if (spec->flags[i])
            *to++ = FLAGS[i];
    if (spec->width > 0)
        to += sprintf(to, "%d", spec->width);
    if (spec->precision >= 0)
        to += sprintf(to, ".%d", spec->precision);
    sprintf(to, "%s%c", length_names[spec->length], spec->conversion);
}

// ---- conversions ----

static int put_conversion(struct buffer *out, const struct spec *spec,
                          struct arguments *arguments) {
    switch (spec->conversion) {
    case '%': return strcmp(spec->text, "%%") == 0 ? put_text(out, "%") : -EINVAL;
    case 'd':
    case 'i': return put_signed(out, spec, arguments);
    case 'o':
    case 'u':
    case 'x':
    case 'X': return put_unsigned(out, spec, arguments);
    case 'a':
    case 'A':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (spec->length == LONG_DOUBLE)
            return put(out, spec->text, va_arg(arguments->list, long double));
        if (spec->length != PLAIN && spec->length != L)
            return -EINVAL;
        return put(out, spec->text, va_arg(arguments->list, double));
    case 'c':
        if (spec->length == L)
            return put(out, spec->text, va_arg(arguments->list, wint_t));
        return spec->length == PLAIN ? put(out, spec->text, va_arg(arguments->list, int)) : -EINVAL;
    case 's':
    case 'p':
        if (spec->length != PLAIN && !(spec->length == L && spec->conversion == 's'))
            return -EINVAL;
        return put(out, spec->text, va_arg(arguments->list, void *));
    case 'v':
    case 'r': return spec->length == PLAIN ? put_ours(out, spec, arguments) : -EINVAL;
    default: return -EINVAL;
    }
}

static int put_signed(struct buffer *out, const struct spec *spec, struct arguments *arguments) {
    switch (spec->length) {
    case PLAIN:
    case HH:
    case H: return put(out, spec->text, va_arg(arguments->list, int));
    case L: return put(out, spec->text, va_arg(arguments->list, long));
    case LL: return put(out, spec->text, va_arg(arguments->list, long long));
    case J: return put(out, spec->text, va_arg(arguments->list, intmax_t));
    case Z: return put(out, spec->text, va_arg(arguments->list, ssize_t));
    case T: return put(out, spec->text, va_arg(arguments->list, ptrdiff_t));
    default: return -EINVAL;
    }
}

static int put_unsigned(struct buffer *out, const struct spec *spec, struct arguments *arguments) {
    switch (spec->length) {
    case PLAIN:
    case HH:
    case H: return put(out, spec->text, va_arg(arguments->list, unsigned));
    case L: return put(out, spec->text, va_arg(arguments->list, unsigned long));
    case LL: return put(out, spec->text, va_arg(arguments->list, unsigned long long));
    case J: return put(out, spec->text, va_arg(arguments->list, uintmax_t));
    case Z: return put(out, spec->text, va_arg(arguments->list, size_t));
    case T: return put(out, spec->text, va_arg(arguments->list, ptrdiff_t));
    default: return -EINVAL;
    }
}

// %v and %r: written at the end, then cut and padded there.
static int put_ours(struct buffer *out, const struct spec *spec, struct arguments *arguments) {
    size_t start = out->length;
    int err = spec->conversion == 'v' ? put_value(out, va_arg(arguments->list, ac_value), false)
                                      : put_ref(out, va_arg(arguments->list, ac_ref));
    if (err)
        return err;
    size_t bytes = out->length - start, width = (size_t)spec->width;
    if (spec->precision >= 0 && bytes > (size_t)spec->precision) {
        bytes = (size_t)spec->precision;
        while (bytes > 0 && (out->bytes[start + bytes] & 0xc0) == 0x80) // inside a character
            bytes--;
        out->length = start + bytes;
    }
    if (bytes >= width)
        return 0;
    err = buffer_reserve(out, width - bytes);
    if (err)
        return err;
    bool left = spec->flags[0];
    if (!left)
        memmove(out->bytes + start + width - bytes, out->bytes + start, bytes);
    memset(out->bytes + start + (left ? bytes : 0), ' ', width - bytes);
    out->length = start + width;
    return 0;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

// What the C library makes of it, however long that is.
static int put(struct buffer *out, const char *format, ...) {
    int err = buffer_reserve(out, 64);
    errno = 0;
    while (!err) {
        size_t room = out->capacity - out->length;
        va_list list;
        va_start(list, format);
        int bytes = vsnprintf((char *)out->bytes + out->length, room, format, list);
        va_end(list);
        if (bytes < 0)
            return errno ? -errno : -EILSEQ;
        if ((size_t)bytes < room) {
            out->length += (size_t)bytes;
            return 0;
        }
        err = buffer_reserve(out, (size_t)bytes + 1);
    }
    return err;
}

#pragma GCC diagnostic pop

static int put_text(struct buffer *out, const char *text) {
    return buffer_append(out, text, strlen(text));
}

// ---- values ----

// Goes as deep as the value is nested, AC_VALUE_DEPTH_MAX times at the most.
static int put_value(struct buffer *out, ac_value it, bool inside) {
    ac_span span = ac_span_of(it);
    switch (it.kind) {
    case AC_NIL: return put_text(out, "nil");
    case AC_BOOL: return put_text(out, ac_bool_of(it) ? "true" : "false");
    case AC_INT: return put(out, "%" PRId64, ac_int_of(it));
    case AC_REAL: return put_real(out, ac_real_of(it));
    case AC_TEXT: return inside ? put_quoted(out, span) : buffer_append(out, span.at, span.bytes);
    case AC_BYTES: return put_hex(out, span);
    case AC_LIST:
    case AC_MAP: return put_items(out, it);
    case AC_REF: return put_ref(out, ac_ref_of(it));
    case AC_POINTER: return put(out, "<pointer %p>", ac_pointer_of(it));
    case AC_ERROR:
    case AC_INVALID: break;
    case AC_NOTICE: {
        ac_value list = value_notice_list(it);
        int err = put_text(out, "<notice ");
        if (!err)
            err = put_items(out, list);
        ac_drop(list);
        return err ? err : put_text(out, ">");
    }
    default: return put_text(out, "<not a value>");
    }
    int err = inside ? put_text(out, "<") : 0;
    if (!err)
        err = put_error(out, it);
    return err || !inside ? err : put_text(out, ">");
}

static int put_items(struct buffer *out, ac_value it) {
    bool is_map = it.kind == AC_MAP;
    int err = put_text(out, is_map ? "{" : "[");
    size_t cursor = 0, n = 0;
    ac_value item;
    for (; !err && ac_next(it, &cursor, &item); n++) {
        if (n > 0)
            err = put_text(out, is_map && n % 2 == 1 ? ": " : ", ");
        if (!err)
            err = put_value(out, item, true);
        ac_drop(item);
    }
    return err ? err : put_text(out, is_map ? "}" : "]");
}

static int put_quoted(struct buffer *out, ac_span text) {
    const uint8_t *at = text.at, *end = at + text.bytes;
    int err = put_text(out, "\"");
    while (!err && at < end) {
        const uint8_t *plain = at;
        while (at < end && *at >= ' ' && *at != '"' && *at != '\\' && *at != 0x7f)
            at++;
        err = buffer_append(out, plain, (size_t)(at - plain));
        if (err || at == end)
            break;
        uint8_t special = *at++;
        const char *known = special ? strchr("\"\"\\\\\nn\rr\tt", special) : NULL;
        // In the string above each character is followed by what stands for it behind a backslash.
        err = known ? put(out, "\\%c", known[1]) : put(out, "\\u%04x", special);
    }
    return err ? err : put_text(out, "\"");
}

static int put_hex(struct buffer *out, ac_span bytes) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = bytes.at;
    int err = buffer_reserve(out, 2 * bytes.bytes + 3);
    if (err)
        return err;
    put_text(out, "b'");
    for (size_t i = 0; i < bytes.bytes; i++) {
        out->bytes[out->length++] = (uint8_t)digits[at[i] >> 4];
        out->bytes[out->length++] = (uint8_t)digits[at[i] & 15];
    }
    return put_text(out, "'");
}

// With the fewest digits that give the same number when they are read.
static int put_real(struct buffer *out, double real) {
    char text[40];
    if (isnan(real))
        return put_text(out, "nan");
    if (isinf(real))
        return put_text(out, real < 0 ? "-inf" : "inf");
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, real);
        if (strtod(text, NULL) == real)
            break;
    }
    bool whole = true;
    size_t to = 0;
    for (size_t from = 0; text[from]; from++) {
        bool digit = strchr("0123456789+-", text[from]) || text[from] == 'e';
        // Whatever the user's language puts between the whole and the rest.
        if (!digit && to > 0 && text[to - 1] == '.')
            continue;
        whole &= digit && text[from] != 'e';
        text[to++] = digit ? text[from] : '.';
    }
    text[to] = 0;
    int err = put_text(out, text);
    return err || !whole ? err : put_text(out, ".0");
}

static int put_ref(struct buffer *out, ac_ref ref) {
    if (ac_ref_is(ref))
        return put(out, "<reference %" PRIx64 ":%" PRIx64 ">", ref.peer, ref.id);
    if (ac_ref_error(ref) == 0)
        return put_text(out, "<no reference>");
    int err = put_text(out, "<no reference, ");
    if (!err)
        err = put_error(out, value_invalid(ac_ref_error(ref)));
    return err ? err : put_text(out, ">");
}

// An error or what is invalid: "error: text (ENOENT)".
static int put_error(struct buffer *out, ac_value error) {
    int code = ac_error_of(error);
    ac_span text = ac_span_of(error);
    int err = put_text(out, error.kind == AC_ERROR ? "error: " : "invalid: ");
    if (!err)
        err = text.at ? buffer_append(out, text.at, text.bytes) : put_text(out, ac_strerror(code));
    if (err)
        return err;
    const char *name = error_name(code);
    return name ? put(out, " (%s)", name) : put(out, " (%d)", code);
}
