// SPDX-License-Identifier: MIT
// Tests of links between processes that prove by certificates who they are: who is let in, what
// strangers get, and what follows when a certificate or a list changes. The certificates are made
// by `openssl`, which is also one of the strangers.
#include "fabric/rig.h"
#include "io/certificates.h"

#include <fcntl.h>
#include <poll.h>

// What `openssl ca` needs to revoke, and to set the times of a certificate.
static void authority_begin(void) {
    certificates_begin("ca");
    certificates_command(
        "printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\n"
        "crlnumber=number\\ndefault_md=sha256\\ndefault_crl_days=2\\n"
        "new_certs_dir=.\\ncopy_extensions=copy\\nunique_subject=no\\nrand_serial=yes\\n"
        "policy=p\\n[p]\\ncommonName=supplied\\n' >ca.cnf; "
        "touch index.txt; echo 01 >number");
    static const char *const names[] = {"alice", "bob", "carol", "mallory"};
    for (size_t i = 0; i < countof(names); i++) {
        char dns[64];
        snprintf(dns, sizeof dns, "DNS:%s.lab.example", names[i]);
        certificates_add(names[i], dns, "ca", 2);
    }
}

#define CA "openssl ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key"

// Writes the list anew, under another name first, as one should.
static void write_list(void) {
    certificates_command(CA " -gencrl -out crl.new 2>/dev/null && mv crl.new crl.pem");
}

static void revoke_one(const char *name) {
    certificates_command(CA " -revoke %s.pem 2>/dev/null", name);
    write_list();
}

// Files are named by who holds them: "alice" has alice.pem and alice.key.
static struct fabric_options options_of(uint64_t peer, const char *name) {
    static char files[16][2][64];
    static int used;
    char(*mine)[64] = files[used++ % 16];
    struct fabric_options options = rig_options(peer);
    snprintf(mine[0], 64, "%s.pem", name);
    snprintf(mine[1], 64, "%s.key", name);
    options.key = NULL;
    options.certificate = mine[0];
    options.certificate_key = mine[1];
    options.authority = "ca.pem";
    options.grace = 2 * NS_PER_S;
    return options;
}

static struct side *side_named(uint64_t peer, const char *name) {
    struct fabric_options options = options_of(peer, name);
    return side_open(&options);
}

// What comes of it when one side looks for the other.
static int reach(struct side *from, struct side *to) {
    struct sys_address there = loopback(side_port(to));
    from->reached = false;
    ck_assert_int_eq(rig_in(from, fabric_reach(from->fabric, &there, ac_after(20), from)), 0);
    rig_until(from->reached, 21);
    return from->reach_err;
}

static void name_of(struct side *side, uint64_t peer, const char *wanted) {
    struct fabric_peer found;
    ck_assert(rig_in(side, fabric_peer_find(side->fabric, peer, &found)));
    ck_assert_str_eq(found.certificate, wanted);
    ck_assert_str_eq(rig_in(side, fabric_certificate(side->fabric, peer)), wanted);
}

TEST(two_with_certificates_link_and_see_each_others_names) {
    authority_begin();
    struct side *a = side_named(1, "alice"), *b = side_named(2, "bob");
    ck_assert_str_eq(rig_in(a, fabric_certificate(a->fabric, 2)), "");
    ck_assert_int_eq(reach(a, b), 0);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_int_eq(side_count(a, 2, i, 1000) | side_count(b, 1, i, 1000), 0);
    rig_until(a->frames == 100 && b->frames == 100, 10);
    name_of(a, 2, "bob.lab.example");
    name_of(b, 1, "alice.lab.example");
    rig_until(fabric_cut(a->fabric, 2), 1);
    ck_assert_int_eq(side_count(a, 2, 100, 1000), 0);
    rig_until(b->frames == 101, 10);
    ck_assert_int_eq(a->lost + b->lost, 0);
    ck_assert_int_eq(a->fabric->strangers.refused + b->fabric->strangers.refused, 0);
    rig_close_all();
    certificates_end();
}

// ---- strangers ----

struct stranger {
    const char *name;
    int err_here;  // when we look for it
    int err_there; // when it looks for us
};

// Whoever is no friend gets nothing, whichever side calls, and learns as much.
static void keeps_out(struct side *a, struct side *stranger, const struct stranger *it) {
    int here = reach(a, stranger), there = reach(stranger, a);
    ck_assert_msg(here == it->err_here, "%s: we get %d", it->name, here);
    ck_assert_msg(there == it->err_there, "%s: it gets %d", it->name, there);
    side_introduce(stranger, 1, side_port(a));
    ck_assert_int_eq(side_count(stranger, 1, 0, 10), 0);
    rig_until(stranger->lost == 1, 10);
    ck_assert_int_eq(a->met + a->linked + a->frames, 0);
    ck_assert_int_eq(stranger->linked, 0);
}

TEST(bad_certificates_are_kept_out, .seconds_max = 300) {
    static const struct stranger strangers[] = {
        {"expired", -EKEYREJECTED, -EACCES},   {"self", -EKEYREJECTED, -EACCES},
        {"elsewhere", -EKEYREJECTED, -EACCES}, {"revoked", -EKEYREJECTED, -EACCES},
        {"outside", -EKEYREJECTED, -EACCES},   {"wildcard", -EKEYREJECTED, -EACCES},
        {"client", -EKEYREJECTED, -EACCES},
    };
    authority_begin();
    certificates_add("expired", "DNS:expired.lab.example", "ca", -1);
    certificates_command("cp ca.pem kept.pem; openssl req -x509 " CERTIFICATES_KEY
                         " -subj /CN=self -addext subjectAltName=DNS:self.lab.example -days 2"
                         " -keyout self.key -out self.pem 2>/dev/null;"
                         " openssl req -x509 " CERTIFICATES_KEY
                         " -subj /CN=ca -days 2 -keyout other.key -out other.pem 2>/dev/null");
    certificates_add("elsewhere", "DNS:elsewhere.lab.example", "other", 2);
    certificates_add("revoked", "DNS:revoked.lab.example", "ca", 2);
    certificates_add("outside", "DNS:outside.example", "ca", 2);
    certificates_add("wildcard", "DNS:*.lab.example", "ca", 2);
    certificates_add("client", "DNS:client.lab.example -addext extendedKeyUsage=codeSigning", "ca",
                     2);
    revoke_one("revoked");
    for (size_t i = 0; i < countof(strangers); i++) {
        struct fabric_options options = options_of(1, "alice");
        options.revoked = "crl.pem";
        options.peer_names = "nobody.example, *.LAB.example";
        struct side *a = side_open(&options), *stranger = side_named(2, strangers[i].name);
        keeps_out(a, stranger, &strangers[i]);
        struct side *friend = side_named(3, "carol");
        ck_assert_int_eq(reach(friend, a), 0);
        rig_close_all();
    }
    certificates_end();
}

TEST(keys_and_certificates_do_not_come_together) {
    authority_begin();
    struct side *a = side_named(1, "alice"), *b = side_of(2);
    ck_assert_int_lt(reach(a, b), 0);
    ck_assert_int_eq(reach(b, a), -EACCES);
    ck_assert_int_eq(a->met + b->met, 0);
    rig_close_all();
    certificates_end();
}

// A peer has one name: another holder of a good certificate cannot pass for it.
TEST(who_has_another_name_cannot_be_the_same_peer) {
    authority_begin();
    struct side *a = side_named(1, "alice"), *b = side_named(2, "bob"),
                *c = side_named(2, "mallory");
    ck_assert_int_eq(reach(b, a), 0);
    ck_assert_int_eq(side_count(b, 1, 0, 10), 0);
    rig_until(a->frames == 1, 10);
    side_introduce(c, 1, side_port(a));
    ck_assert_int_eq(side_count(c, 1, 7, 10), 0);
    rig_until(c->lost == 1, 10);
    ck_assert_int_eq(side_count(b, 1, 1, 10), 0);
    rig_until(a->frames == 2, 10);
    ck_assert_int_eq(a->lost + a->disorder, 0);
    name_of(a, 2, "bob.lab.example");
    rig_close_all();
    certificates_end();
}

// ---- openssl as a stranger ----

// Runs `openssl s_client` with these arguments until it ends, and says a line to the other side.
// What it wrote is in `said`.
static char said[16384];

static int s_client(struct side *to, const char *arguments) {
    char command[512];
    snprintf(command, sizeof command,
             "(sleep 0.3; echo asyncoro; sleep 2) | timeout 10 openssl s_client -connect "
             "127.0.0.1:%u %s 2>&1; true",
             (unsigned)side_port(to), arguments);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    int fd = fileno(pipe);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t length = 0;
    ssize_t got;
    double end = rig_seconds() + 20;
    do {
        rig_turn();
        got = read(fd, said + length, sizeof said - 1 - length);
        length += got > 0 ? (size_t)got : 0;
        ck_assert_double_lt(rig_seconds(), end);
    } while (got > 0 || (got < 0 && errno == EAGAIN));
    said[length] = 0;
    return pclose(pipe);
}

TEST(a_stranger_with_openssl_learns_nothing, .seconds_max = 200) {
    static const char *const arguments[] = {
        "",
        "-tls1_2",
        "-tls1_3 -psk 0123456789abcdef0123456789abcdef -psk_identity asyncoro/1/0123456789abcdef",
        "-cert mallory.pem -key mallory.key",
        "-cert self.pem -key self.key",
    };
    authority_begin();
    certificates_command("openssl req -x509 " CERTIFICATES_KEY
                         " -subj /CN=self -days 2 -keyout self.key -out self.pem 2>/dev/null");
    revoke_one("mallory");
    struct fabric_options options = options_of(1, "alice");
    options.revoked = "crl.pem";
    struct side *sides[] = {side_open(&options), side_of(2)}; // a certificate, a key
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < countof(arguments); i++) {
            struct side *it = sides[side];
            uint64_t refused = it->fabric->strangers.refused;
            (void)s_client(it, arguments[i]);
            ck_assert_msg(strstr(said, "alert") != NULL, "%s: %s", arguments[i], said);
            ck_assert_ptr_null(
                strstr(said, "asyncoro/1")); // which is said by who has the key alone
            ck_assert_uint_eq(it->fabric->strangers.refused, refused + 1);
            ck_assert_int_eq(it->met, 0);
            // With a key not even the handshake gets anywhere; there is no certificate to be seen.
            ck_assert(side == 0 || strstr(said, "BEGIN CERTIFICATE") == NULL);
        }
    // The control: with a good certificate it gets in, and is out when it does not greet.
    uint64_t refused = sides[0]->fabric->strangers.refused;
    (void)s_client(sides[0], "-cert bob.pem -key bob.key");
    ck_assert_ptr_nonnull(strstr(said, "CN = alice"));
    ck_assert_ptr_null(strstr(said, "alert"));
    ck_assert_uint_eq(sides[0]->fabric->strangers.refused, refused);
    ck_assert_int_eq(sides[0]->met, 0);
    rig_close_all();
    certificates_end();
}

// ---- what changes while links stand ----

TEST(who_is_revoked_is_lost_and_the_others_stay, .seconds_max = 120) {
    authority_begin();
    write_list();
    struct fabric_options options = options_of(1, "alice");
    options.revoked = "crl.pem";
    struct side *a = side_open(&options), *b = side_named(2, "bob"), *c = side_named(3, "carol");
    ck_assert_int_eq(reach(b, a), 0);
    ck_assert_int_eq(reach(c, a), 0);
    struct connection *before = peer_find(a->fabric, 3)->connection;
    revoke_one("bob");
    rig_until(a->lost == 1 && b->lost == 1, 20);
    ck_assert_uint_eq(a->last_lost, 2);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_int_eq(reach(b, a), -EACCES);
    ck_assert_ptr_eq(peer_find(a->fabric, 3)->connection, before);
    ck_assert_int_eq(c->lost, 0);
    rig_close_all();
    certificates_end();
}

TEST(a_list_that_cannot_be_read_changes_nothing) {
    authority_begin();
    write_list();
    struct fabric_options options = options_of(1, "alice");
    options.revoked = "crl.pem";
    struct side *a = side_open(&options), *b = side_named(2, "bob");
    certificates_command("echo nothing >crl.pem");
    rig_until(a->fabric->looked > 0, 5);
    ac_time looked = a->fabric->looked;
    rig_until(a->fabric->looked > looked, 10);
    ck_assert_int_eq(reach(b, a), 0);
    rig_close_all();
    certificates_end();
}

// What is bad of the other files keeps no revocation back.
static void revokes_beside(const char *damage) {
    authority_begin();
    write_list();
    struct key_ring ring;
    char text[256];
    ck_assert_int_eq(key_find("beacons", &ring, text), 0);
    certificates_command("cp ca.pem trusted.pem"); // `openssl ca` needs the other one
    struct fabric_options options = options_of(1, "alice");
    options.authority = "trusted.pem";
    options.revoked = "crl.pem";
    options.key_path = "beacons";
    struct side *a = side_open(&options), *b = side_named(2, "bob"), *c = side_named(3, "carol");
    ck_assert_int_eq(reach(b, a), 0);
    ck_assert_int_eq(reach(c, a), 0);
    certificates_command("%s", damage);
    revoke_one("bob");
    rig_until(a->lost == 1 && b->lost == 1, 20);
    ck_assert_uint_eq(a->last_lost, 2);
    ck_assert_int_eq(reach(b, a), -EACCES);
    ck_assert_int_eq(reach(a, c), 0); // with the certificate that it had, and trusts those it did
    struct side *d = side_named(4, "mallory");
    ck_assert_int_eq(reach(d, a), 0);
    ck_assert_uint_eq(rig_in(a, fabric_keys(a->fabric)->count), 1);
    rig_close_all();
    certificates_end();
}

TEST(a_bad_key_file_keeps_no_revocation_back, .seconds_max = 120) {
    revokes_beside("chmod 644 beacons");
}

TEST(a_key_that_others_can_read_keeps_no_revocation_back, .seconds_max = 120) {
    revokes_beside("chmod 604 alice.key");
}

TEST(a_certificate_that_is_gone_keeps_no_revocation_back, .seconds_max = 120) {
    revokes_beside("rm alice.pem");
}

TEST(an_authority_that_is_half_there_keeps_no_revocation_back, .seconds_max = 120) {
    revokes_beside("echo half >trusted.pem");
}

TEST(a_bad_list_keeps_no_renewed_certificate_back, .seconds_max = 120) {
    authority_begin();
    write_list();
    revoke_one("mallory");
    struct fabric_options options = options_of(1, "alice");
    options.revoked = "crl.pem";
    struct side *a = side_open(&options), *m = side_named(2, "mallory");
    certificates_add("renewed", "DNS:new.example", "ca", 2);
    certificates_command("echo nothing >crl.pem; mv renewed.key alice.key; mv renewed.pem "
                         "alice.pem");
    options = options_of(3, "carol");
    options.peer_names = "new.example";
    struct side *c = side_open(&options);
    rig_until(reach(c, a) == 0, 20);
    ck_assert_int_eq(reach(m, a), -EACCES); // the old list is in force
    // And when it is good again, it is looked at again.
    certificates_command("rm crl.pem");
    revoke_one("carol");
    rig_until(a->lost == 1, 20);
    rig_close_all();
    certificates_end();
}

TEST(a_renewed_certificate_is_taken_up) {
    authority_begin();
    struct side *a = side_named(1, "alice"), *b = side_named(2, "bob");
    ck_assert_int_eq(reach(a, b), 0);
    struct connection *before = peer_find(a->fabric, 2)->connection;
    certificates_add("renewed", "DNS:bob.lab.example,DNS:new.example", "ca", 2);
    certificates_command("mv renewed.key bob.key; mv renewed.pem bob.pem");
    struct ac_tls *old = before->settings;
    rig_for(2.5);
    ck_assert_ptr_eq(peer_find(a->fabric, 2)->connection, before); // it is as good as before
    struct fabric_options options = options_of(3, "carol");
    options.peer_names = "new.example";
    struct side *c = side_open(&options);
    rig_until(reach(c, b) == 0, 20);
    name_of(c, 2, "new.example");
    ck_assert_ptr_eq(before->settings, old);
    rig_close_all();
    certificates_end();
}

// It is looked at every ten minutes, which the test does not wait for.
TEST(a_certificate_that_expires_ends_its_link) {
    authority_begin();
    certificates_command("openssl req " CERTIFICATES_KEY " -subj /CN=brief -addext"
                         " subjectAltName=DNS:brief.lab.example -keyout brief.key -out brief.csr"
                         " 2>/dev/null; " CA " -in brief.csr -notext -out brief.pem"
                         " -enddate $(date -u -d '+12 seconds' +%%Y%%m%%d%%H%%M%%SZ) 2>/dev/null");
    struct side *a = side_named(1, "alice"), *b = side_named(2, "brief");
    ck_assert_int_eq(reach(a, b), 0);
    rig_until(a->fabric->checked > 0, 5);
    ck_assert_int_eq(a->lost, 0);
    rig_for(13);
    ck_assert_int_eq(a->lost, 0);
    a->fabric->checked -= CHECK_NS;
    rig_until(a->lost == 1, 15);
    ck_assert_int_eq(reach(a, b), -EKEYREJECTED);
    rig_close_all();
    certificates_end();
}

// ---- options ----

static void cannot_open(const struct fabric_options *options, int wanted, const char *word) {
    int err = 0;
    char text[256] = "";
    struct side *a = side_of(9);
    ck_assert_ptr_null(fabric_open(a->guest, options, &rig_door, a, &err, text));
    ck_assert_int_eq(err, wanted);
    ck_assert_msg(strstr(text, word) != NULL, "%s", text);
    rig_close_all();
}

TEST(what_cannot_be_is_refused_and_nothing_listens) {
    authority_begin();
    int fd = raw_connect(1); // a port of the system's choice, which is free then
    struct sockaddr_in mine = {.sin_family = AF_INET};
    socklen_t bytes = sizeof mine;
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&mine, sizeof mine), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&mine, &bytes), 0);
    struct fabric_options options = options_of(1, "alice");
    options.port = ntohs(mine.sin_port); // who would listen would be told that it is taken
    options.loopback_only = false;
    options.authority = NULL;
    cannot_open(&options, -EINVAL, "authority");
    options = options_of(1, "alice");
    options.authority = "none.pem";
    cannot_open(&options, -ENOENT, "none.pem");
    options = options_of(1, "alice");
    options.certificate_key = "bob.key";
    cannot_open(&options, -EKEYREJECTED, "alice.pem");
    options = options_of(1, "alice");
    options.revoked = "ca.pem";
    cannot_open(&options, -EBADMSG, "alice.pem");
    options = rig_options(1);
    options.peer_names = "*";
    cannot_open(&options, -EINVAL, "certificate");
    certificates_command("chmod 604 alice.key");
    options = options_of(1, "alice");
    cannot_open(&options, -EACCES, "chmod 600");
    close(fd);
    certificates_end();
}

TEST(beacons_are_signed_by_a_key_alone) {
    authority_begin();
    struct fabric_options options = options_of(1, "alice");
    options.no_discovery = false;
    options.discovery_port = 1; // which is not opened
    struct side *a = side_open(&options);
    ck_assert_ptr_null(a->fabric->discovery);
    rig_close_all();
    struct identity *it;
    char text[256];
    options.key = rig_key;
    ck_assert_int_eq(identity_open(&it, &options, text), 0);
    ck_assert_uint_eq(identity_signatures(it), 1);
    ck_assert_uint_eq(identity_offers(it), 1);
    identity_close(it);
    certificates_end();
}
