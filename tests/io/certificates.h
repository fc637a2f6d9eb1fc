// SPDX-License-Identifier: MIT
// What the tests of TLS share: certificates made by `openssl`, in a folder that goes with the test.
#ifndef TESTS_IO_CERTIFICATES_H
#define TESTS_IO_CERTIFICATES_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

static inline void certificates_command(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
static inline void certificates_command(const char *format, ...) {
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    int status = system(command);
    ck_assert_msg(status == 0, "%s: %d", command, status);
}

#define CERTIFICATES_KEY "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

// A new folder, which becomes the working directory, with NAME.pem and NAME.key of an authority.
static inline void certificates_begin(const char *authority) {
    char folder[TEST_TEMPLATE_BYTES];
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    certificates_command("openssl req -x509 " CERTIFICATES_KEY " -subj /CN=%s -days 2"
                         " -keyout %s.key -out %s.pem 2>/dev/null",
                         authority, authority, authority);
}

// NAME.pem and NAME.key of somebody with these names ("DNS:localhost,IP:127.0.0.1"), by an
// authority, good for so many days; expired if that is negative.
static inline void certificates_add(const char *name, const char *names, const char *authority,
                                    int days) {
    certificates_command("openssl req " CERTIFICATES_KEY " -subj /O=asyncoro/CN=%s"
                         " -addext subjectAltName=%s -keyout %s.key -out %s.csr 2>/dev/null",
                         name, names, name, name);
    certificates_command("openssl x509 -req -in %s.csr -copy_extensions copy -CA %s.pem"
                         " -CAkey %s.key -days %d -out %s.pem 2>/dev/null",
                         name, authority, authority, days, name);
}

// The usual ones: an authority "ca" and a server "server" at localhost.
static inline void certificates_make(void) {
    certificates_begin("ca");
    certificates_add("server", "DNS:localhost,IP:127.0.0.1", "ca", 2);
}

static inline void certificates_end(void) {
    char folder[256];
    ck_assert_ptr_nonnull(getcwd(folder, sizeof folder));
    ck_assert_ptr_nonnull(strstr(folder, "/asyncoro-"));
    certificates_command("cd / && rm -rf '%s'", folder);
}

#endif
