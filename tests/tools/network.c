// SPDX-License-Identifier: MIT
// The options of subcommands that look at other programs, and what they do when nobody is there.
#include "tools/tool.h"

#include "io/certificates.h"

TEST(nobody_is_found_where_nobody_is) {
    static const char *const tools[] = {"peers", "names", "top"};
    world_make();
    for (size_t i = 0; i < countof(tools); i++) {
        ck_assert_int_eq(run_tool(tools[i], "--loopback"), 1);
        ck_said("nobody was found");
    }
    world_clean();
}

TEST(a_peer_may_be_named_that_no_beacon_tells_of) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("peers", "--loopback"), 0);
    char address[64] = "";
    ck_assert_int_eq(sscanf(tool_said, "%63s", address), 1);
    char port[16];
    snprintf(port, sizeof port, "%d", atoi(getenv("ASYNCORO_DISCOVERY_PORT")) + 1);
    ck_assert_int_eq(run_tool("names", "--loopback", "--discovery-port", port, "--peer", address),
                     0);
    ck_said("echo ");
    pump_stop(pid);
    ck_assert_int_eq(run_tool("names", "--loopback", "--discovery-port", port, "--peer", address),
                     1);
    ck_said("asyncoro names: 127.0.0.1:");
    world_clean();
}

TEST(that_a_program_has_another_key_is_told) {
    world_make();
    char other[128];
    snprintf(other, sizeof other, "%s/other", world_folder);
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("peers", "--loopback"), 0);
    char address[64] = "";
    ck_assert_int_eq(sscanf(tool_said, "%63s", address), 1);
    ck_assert_int_eq(run_tool("peers", "--loopback", "--key-file", other, "--peer", address), 1);
    ck_said("has another key");
    pump_stop(pid);
    world_clean();
}

TEST(a_bad_key_is_told) {
    world_make();
    char path[128];
    snprintf(path, sizeof path, "%s/bad", world_folder);
    ck_assert_int_eq(sys_file_create_secret(path, "no key\n", 7), 0);
    static const char *const tools[] = {"peers", "names", "top"};
    for (size_t i = 0; i < countof(tools); i++)
        ck_assert_int_eq(run_tool(tools[i], "--key-file", path), 1);
    ck_said("asyncoro top: ");
    ck_assert_int_eq(run_tool("top", "--seconds", "0"), 2);
    ck_assert_int_eq(run_tool("names", "--", "--loopback", "more"), 2);
    ck_said("'more' is not understood");
    world_clean();
}

// The key tells where programs are, and certificates open.
TEST(all_who_look_can_show_a_certificate) {
    world_make();
    certificates_begin("ca");
    certificates_add("pump", "DNS:pump.example", "ca", 2);
    certificates_add("tool", "DNS:tool.example", "ca", 2);
    certificates_command("echo none >none.pem");
    const char *key = getenv("ASYNCORO_KEY_FILE");
    pump_network = (struct ac_network_options){.certificate = "pump.pem",
                                               .certificate_key = "pump.key",
                                               .authority = "ca.pem",
                                               .peer_names = "tool.example",
                                               .key_file = key};
    pid_t pid = pump_start(pump, false);
#define SHOWING                                                                                    \
    "--loopback", "--key-file", key, "--certificate", "tool.pem", "--certificate-key", "tool.key", \
        "--authority", "ca.pem"
    ck_assert_int_eq(run_tool("peers", SHOWING), 0);
    ck_said("pump");
    char address[64] = "";
    ck_assert_int_eq(sscanf(tool_said, "%63s", address), 1);
    ck_assert_int_eq(run_tool("names", SHOWING, "--peer-names", "*.example"), 0);
    ck_said("echo ");
    ck_assert_int_eq(run_tool("send", SHOWING, "--wait", "echo", "7"), 0);
    ck_said("7");
    ck_assert_int_eq(run_tool("top", SHOWING, "--once"), 0);
    ck_said("pump");
    // Without a key there are no beacons, and with it alone nobody is let in.
    ck_assert_int_eq(run_tool("peers", "--loopback", "--certificate", "tool.pem",
                              "--certificate-key", "tool.key", "--authority", "ca.pem", "--peer",
                              address),
                     0);
    ck_assert_int_eq(run_tool("names", "--loopback"), 1);
    ck_assert_int_eq(run_tool("names", SHOWING, "--peer-names", "other.example"), 1);
    ck_assert_int_eq(run_tool("names", SHOWING, "--revoked", "none.pem"), 1);
    ck_said("revocation");
    ck_assert_int_eq(run_tool("names", "--certificate", "tool.pem"), 1);
    ck_said("authority");
    pump_stop(pid);
    certificates_end();
    world_clean();
}

TEST(all_who_look_tell_of_certificates) {
    static const char *const tools[] = {"doctor", "nodes", "drain", "peers",
                                        "names",  "send",  "top"};
    for (size_t i = 0; i < countof(tools); i++) {
        ck_assert_int_eq(run_tool("help", tools[i]), 0);
        ck_said("--certificate-key FILE");
        ck_said("--revoked FILE");
    }
}
