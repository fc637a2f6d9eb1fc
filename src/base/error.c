// SPDX-License-Identifier: MIT
// What error codes mean. The codes that the library gives have texts of our own, as the C library's
// texts speak of devices and files; all others fall back on the C library.
#include "base/base.h"

// clang-format off
#define ERROR(code, text) {code, #code, text}
// clang-format on

static const struct error_text {
    int code;         // positive
    const char *name; // as in errno.h
    const char *text; // a short sentence without a full stop
} error_texts[] = {
    ERROR(E2BIG, "there are too many of them"),
    ERROR(EACCES, "access was refused"),
    ERROR(EADDRINUSE, "the address is in use"),
    ERROR(EADDRNOTAVAIL, "the address is not one of this computer"),
    ERROR(EAFNOSUPPORT, "the address is of a family that does not fit here"),
    ERROR(EAGAIN, "it would have to wait; try again later"),
    ERROR(EALREADY, "it was already begun"),
    ERROR(EBADF, "it is not open"),
    ERROR(EBADMSG, "the bytes are not a correct encoding"),
    ERROR(EBUSY, "it is in use"),
    ERROR(ECANCELED, "the coroutine was cancelled"),
    ERROR(ECHILD, "there is no such child process"),
    ERROR(ECONNABORTED, "the connection was given up"),
    ERROR(ECONNREFUSED, "nothing listens there, the connection was refused"),
    ERROR(ECONNRESET, "the other side broke the connection"),
    ERROR(EDEADLK, "it would wait for itself"),
    ERROR(EDESTADDRREQ, "it was not told where to"),
    ERROR(EDQUOT, "all that may be stored there is full"),
    ERROR(EEXIST, "it exists already"),
    ERROR(EFAULT, "a pointer is wrong"),
    ERROR(EFBIG, "the file is too large"),
    ERROR(EHOSTUNREACH, "the host cannot be reached"),
    ERROR(EILSEQ, "the text is not UTF-8, or has a NUL where none may be"),
    ERROR(EINTR, "it was interrupted"),
    ERROR(EINVAL, "an argument or a value is not of the right kind"),
    ERROR(EIO, "input or output failed"),
    ERROR(EISDIR, "it is a folder"),
    ERROR(EKEYREJECTED, "the key or the certificate is not one that is trusted"),
    ERROR(ELOOP, "it would close a circle, or a link is in the way"),
    ERROR(EMFILE, "this process has too many files open"),
    ERROR(EMSGSIZE, "it is larger than the limit, or has another number of items"),
    ERROR(ENAMETOOLONG, "the name is too long"),
    ERROR(ENETUNREACH, "the network cannot be reached"),
    ERROR(ENFILE, "this computer has too many files open"),
    ERROR(ENOBUFS, "there is no room left in a queue"),
    ERROR(ENODATA, "there is no such data"),
    ERROR(ENODEV, "there is no such interface, or no node that fits"),
    ERROR(ENOENT, "there is nothing of that name"),
    ERROR(ENOEXEC, "it is not a program that can run here"),
    ERROR(ENOMEM, "there is no memory left"),
    ERROR(ENOSPC, "there is no space left, or a limit was reached"),
    ERROR(ENOSYS, "this function is not declared with AC_JOB, or the system cannot do it"),
    ERROR(ENOTCONN, "there is no connection, or the network was not started"),
    ERROR(ENOTDIR, "it is no folder"),
    ERROR(ENOTSUP, "this value cannot leave the process, or it is not supported here"),
    ERROR(EOVERFLOW, "the result is too large"),
    ERROR(EPERM, "called outside a coroutine, or not allowed"),
    ERROR(EPIPE, "the other side has closed"),
    ERROR(EPROTO, "the other side broke the protocol"),
    ERROR(EPROTONOSUPPORT, "the other side has another version of the protocol"),
    ERROR(ERANGE, "a number does not fit"),
    ERROR(ERESTART, "the function of the coroutine is being replaced"),
    ERROR(ESHUTDOWN, "it has been closed"),
    ERROR(ESRCH, "there is no such coroutine, channel or peer (it has ended)"),
    ERROR(ESTALE, "it belongs to a process that has ended"),
    ERROR(ETIME, "it took longer than it may"),
    ERROR(ETIMEDOUT, "time was up"),
    ERROR(EXDEV, "it belongs to another loop"),
};

// The code as a positive number.
static int positive(int err) { return err == INT32_MIN ? INT32_MAX : err < 0 ? -err : err; }

static const struct error_text *find(int code) {
    for (size_t i = 0; i < countof(error_texts); i++)
        if (error_texts[i].code == code)
            return &error_texts[i];
    return NULL;
}

const char *ac_strerror(int err) {
    int code = positive(err);
    if (code == 0)
        return "no error";
    const struct error_text *known = find(code);
    if (known)
        return known->text;
#ifdef __GLIBC__
    const char *text = strerrordesc_np(code);
#else
    const char *text = strerror(code); // constant texts in musl and bionic
#endif
    return text ? text : "an unknown error";
}

const char *error_name(int err) {
    int code = positive(err);
    const struct error_text *known = find(code);
    if (known)
        return known->name;
#ifdef __GLIBC__
    return strerrorname_np(code);
#else
    return NULL;
#endif
}

const char *ac_version(void) { return AC_VERSION; }
