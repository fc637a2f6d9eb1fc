// SPDX-License-Identifier: MIT
// Tests of src/io/trust.c: what settings are made of, and what they refuse. What connections do
// with them is in secure.c.
#include "io/certificates.h"
#include "io/io.h"

#include <string.h>
#include <sys/stat.h>

static int create(const struct ac_tls_options *options) {
    ac_tls *tls;
    struct ac_tls_options copy = *options;
    copy.size = sizeof copy;
    int err = ac_tls_create_with(&tls, &copy);
    ck_assert_int_eq(tls == NULL, err < 0);
    ac_tls_destroy(tls);
    return err;
}

#define CREATE(...) create(&(struct ac_tls_options){__VA_ARGS__})

TEST(options_that_cannot_be_are_refused) {
    ac_tls *tls;
    certificates_make();
    ck_assert_int_eq(ac_tls_create_with(NULL, NULL), -EINVAL);
    ck_assert_int_eq(ac_tls_create_with(&tls, &(struct ac_tls_options){.size = 1}), -EINVAL);
    ck_assert_ptr_null(tls);
    ck_assert_int_eq(ac_tls_create_with(&tls, NULL), 0);
    ac_tls_destroy(tls);
    ac_tls_destroy(NULL);
    ck_assert_int_eq(CREATE(.version_min = 3), -EINVAL);
    ck_assert_int_eq(CREATE(.clients = 3, .trust = "ca.pem"), -EINVAL);
    ck_assert_int_eq(CREATE(.clients = AC_TLS_ASK), -EINVAL); // by whom are they trusted?
    ck_assert_int_eq(CREATE(.key = "server.key"), -EINVAL);
    certificates_end();
}

TEST(files_that_are_not_there_or_not_what_they_should_be_are_told_apart) {
    certificates_make();
    certificates_command("echo nothing of that kind >plain; mkdir folder");
    ck_assert_int_eq(CREATE(.certificate = "none.pem", .key = "server.key"), -ENOENT);
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "none.key"), -ENOENT);
    ck_assert_int_eq(CREATE(.certificate = "plain", .key = "server.key"), -EBADMSG);
    ck_assert_int_eq(CREATE(.certificate = "server.key", .key = "server.key"), -EBADMSG);
    certificates_command("chmod 600 plain server.pem");
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "plain"), -EBADMSG);
    ck_assert_int_eq(CREATE(.certificate = "server.pem"), -EBADMSG); // no key is in it
    ck_assert_int_eq(CREATE(.certificate = "folder", .key = "server.key"), -EISDIR);
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "ca.key"), -EKEYREJECTED);
    ck_assert_int_eq(CREATE(.trust = "none.pem"), -ENOENT);
    ck_assert_int_eq(CREATE(.trust = "plain"), -EBADMSG);
    ck_assert_int_eq(CREATE(.trust = "folder"), 0); // of names that OpenSSL makes, or empty
    ck_assert_int_eq(CREATE(.trust = "ca.pem"), 0);
    certificates_command(": >empty");
    ck_assert_int_eq(CREATE(.trust = "empty"), -EBADMSG);
    ck_assert_int_eq(CREATE(.key_log = "folder"), -EISDIR);
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "server.key"), 0);
    certificates_end();
}

TEST(a_key_that_everybody_may_read_is_refused) {
    certificates_make();
    certificates_command("cat server.key server.pem >both.pem; chmod 644 server.key both.pem");
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "server.key"), -EACCES);
    ck_assert_int_eq(CREATE(.certificate = "both.pem"), -EACCES);
    ck_assert_int_eq(
        CREATE(.certificate = "server.pem", .key = "server.key", .key_readable_by_all = true), 0);
    certificates_command("chmod 640 server.key both.pem");
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "server.key"), 0);
    ck_assert_int_eq(CREATE(.certificate = "both.pem"), 0);
    certificates_end();
}

// And nobody is asked for a password at the terminal.
TEST(an_encrypted_key_needs_its_password) {
    certificates_make();
    certificates_command("openssl ec -in server.key -aes128 -passout pass:sesame -out locked.key "
                         "2>/dev/null");
    certificates_command("chmod 600 locked.key");
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "locked.key"), -EBADMSG);
    ck_assert_int_eq(
        CREATE(.certificate = "server.pem", .key = "locked.key", .password = "mustard"), -EBADMSG);
    ck_assert_int_eq(CREATE(.certificate = "server.pem", .key = "locked.key", .password = "sesame"),
                     0);
    certificates_end();
}

TEST(a_key_that_is_too_weak_is_refused) {
    certificates_begin("ca");
    certificates_command("openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=weak -days 2"
                         " -keyout weak.key -out weak.pem 2>/dev/null");
    ck_assert_int_eq(CREATE(.certificate = "weak.pem", .key = "weak.key"), -EKEYREJECTED);
    certificates_end();
}

TEST(lists_of_protocols_have_limits) {
    char text[300], many[3 * (AC_TLS_PROTOCOLS_MAX + 1)] = "";
    ck_assert_int_eq(CREATE(.protocols = "h2,http/1.1"), 0);
    ck_assert_int_eq(CREATE(.protocols = ""), -EINVAL);
    ck_assert_int_eq(CREATE(.protocols = ","), -EINVAL);
    ck_assert_int_eq(CREATE(.protocols = "h2,"), -EINVAL);
    ck_assert_int_eq(CREATE(.protocols = ",h2"), -EINVAL);
    ck_assert_int_eq(CREATE(.protocols = "h2,,h3"), -EINVAL);
    memset(text, 'x', sizeof text);
    text[255] = 0;
    ck_assert_int_eq(CREATE(.protocols = text), 0);
    text[255] = 'x';
    text[256] = 0;
    ck_assert_int_eq(CREATE(.protocols = text), -EINVAL);
    for (int i = 0; i < AC_TLS_PROTOCOLS_MAX; i++)
        strcat(many, i ? ",ab" : "ab");
    ck_assert_int_eq(CREATE(.protocols = many), 0);
    strcat(many, ",c");
    ck_assert_int_eq(CREATE(.protocols = many), -EINVAL);
}

TEST(there_is_a_limit_to_certificates, .seconds_max = 120) {
    ac_tls *tls;
    certificates_make();
    ck_assert_int_eq(ac_tls_create(&tls, .trust = "ca.pem"), 0);
    ck_assert_int_eq(ac_tls_add_certificate(tls, "server.pem", "server.key"), -EINVAL);
    ac_tls_destroy(tls);
    ck_assert_int_eq(ac_tls_create(&tls, .certificate = "server.pem", .key = "server.key"), 0);
    ck_assert_int_eq(ac_tls_add_certificate(NULL, "server.pem", "server.key"), -EINVAL);
    ck_assert_int_eq(ac_tls_add_certificate(tls, NULL, "server.key"), -EINVAL);
    ck_assert_int_eq(ac_tls_add_certificate(tls, "server.pem", "ca.key"), -EKEYREJECTED);
    for (int i = 1; i < AC_TLS_CERTIFICATES_MAX; i++)
        ck_assert_int_eq(ac_tls_add_certificate(tls, "server.pem", "server.key"), 0);
    ck_assert_int_eq(ac_tls_add_certificate(tls, "server.pem", "server.key"), -ENOSPC);
    ac_tls_destroy(tls);
    certificates_end();
}

TEST(the_log_of_secrets_is_for_its_owner_and_only_if_asked_for) {
    struct stat facts;
    certificates_make();
    setenv("SSLKEYLOGFILE", "environment.log", 1);
    ck_assert_int_eq(CREATE(.trust = "ca.pem"), 0);
    ck_assert_int_lt(stat("environment.log", &facts), 0);
    ck_assert_int_eq(CREATE(.key_log_of_environment = true), 0);
    ck_assert_int_eq(stat("environment.log", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0600);
    ck_assert_int_eq(CREATE(.key_log = "own.log"), 0);
    ck_assert_int_eq(stat("own.log", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0600);
    unsetenv("SSLKEYLOGFILE");
    ck_assert_int_eq(CREATE(.key_log_of_environment = true), 0);
    certificates_end();
}

TEST(settings_are_made_whole_or_not_at_all_when_memory_fails) {
    certificates_make();
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = CREATE(.certificate = "server.pem", .key = "server.key", .trust = "ca.pem",
                         .protocols = "h2,http/1.1", .clients = AC_TLS_DEMAND, .key_log = "log");
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
    }
    certificates_end();
}

// ---- peers ----

TEST(names_are_among_patterns) {
    static const struct {
        const char *name, *names;
        bool among;
    } cases[] = {
        {"a.example", NULL, true},
        {"a.example", "", false},
        {"a.example", ",, ,", false},
        {"a.example", "a.example", true},
        {"a.example", "A.Example", true},
        {"a.example", "b.example,a.example", true},
        {"a.example", " b.example , a.example\t", true},
        {"a.example", "a.example.org", false},
        {"a.example", "xa.example", false},
        {"a.example", "*.example", true},
        {"b.a.example", "*.example", false},
        {"example", "*.example", false},
        {".example", "*.example", true}, // of no certificate that was asked for in order
        {"a.example", "*", true},
        {"a.example", "*.", false},
        {"a.example", "*example", false},
        {"a.example", "a.*", false},
    };
    for (size_t i = 0; i < countof(cases); i++)
        ck_assert_msg(trust_name_is_among(cases[i].name, cases[i].names) == cases[i].among,
                      "%s: %s", cases[i].name, cases[i].names);
}
