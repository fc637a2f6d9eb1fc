// SPDX-License-Identifier: MIT
// Tests of src/sys/net.c.
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "sys/net_private.h"

TEST(localhost_is_found) {
    struct sys_address found[8];
    int count = sys_lookup("localhost", "80", found, countof(found));
    ck_assert_int_ge(count, 1);
    for (int i = 0; i < count; i++) {
        ck_assert(sys_address_is_loopback(&found[i]));
        ck_assert_int_eq(found[i].port, 80);
    }
    ck_assert_int_eq(sys_lookup("localhost", "80", found, 1), 1);
}

TEST(what_nobody_knows_is_not_found) {
    struct sys_address found[8];
    // Without a name service nobody can know that the name is unknown.
    int result = sys_lookup("no-such-host.invalid", "80", found, countof(found));
    ck_assert(result == -ENOENT || result == -EAGAIN);
    ck_assert_int_eq(sys_lookup("127.0.0.1", "no-such-service", found, countof(found)), -ENOENT);
}

TEST(the_loopback_interface_is_listed) {
    struct sys_interface found[64];
    int count = sys_interfaces(found, countof(found));
    bool seen = false;
    for (int i = 0; i < count; i++) {
        ck_assert_uint_ne(found[i].index, 0);
        ck_assert(found[i].address.family == 4 || found[i].address.family == 6);
        if (!found[i].is_loopback || found[i].address.family != 4)
            continue;
        seen = true;
        ck_assert_str_eq(found[i].name, "lo");
        ck_assert_int_eq(found[i].broadcast.ip[3], 255);
    }
    ck_assert(seen);
    ck_assert_int_eq(sys_interfaces(found, 0), 0);
}

// In a network of its own, where this process may change them.
static int hear_of_loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = net_open(&(struct sys_open){.transport = SYS_INTERFACES});
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pollfd changes = {.fd = fd, .events = POLLIN};
    char message[4096];
    if (fd < 0 || control < 0 || poll(&changes, 1, 0) != 0)
        return 1;
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
        return 2;
    request.ifr_flags |= IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
        return 3;
    if (poll(&changes, 1, 20000) != 1 || read(fd, message, sizeof message) <= 0)
        return 4;
    return sys_interfaces(&(struct sys_interface){0}, 1) == 1 ? 0 : 5;
}

TEST(changes_of_the_interfaces_are_told) {
    pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 ? 77 : hear_of_loopback());
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("not tried: this process may not have a network of its own\n");
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}

TEST(the_host_name_is_cut_to_fit) {
    char name[256], cut[2];
    sys_host_name(name, sizeof name);
    ck_assert_uint_gt(strlen(name), 0);
    sys_host_name(cut, sizeof cut);
    ck_assert_uint_le(strlen(cut), 1);
}

static int open_bound(enum sys_transport transport, const char *text, bool listens, bool share) {
    struct sys_address bind_to;
    ck_assert(sys_address_parse(text, &bind_to));
    struct sys_open how = {
        .transport = transport, .bind = &bind_to, .listen = listens, .share_port = share};
    return net_open(&how);
}

static void text_of(int fd, char text[SYS_ADDRESS_TEXT_BYTES]) {
    struct sys_address address;
    ck_assert_int_eq(net_local(fd, &address, NULL), 0);
    sys_address_text(&address, text);
}

TEST(an_accepted_connection_has_no_delay) {
    int listener = open_bound(SYS_STREAM, "127.0.0.1:0", true, false);
    ck_assert_int_ge(listener, 0);
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    int server = accept(listener, NULL, NULL);
    int on = 0;
    bytes = sizeof on;
    ck_assert_int_eq(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, &bytes), 0);
    ck_assert_int_ne(on, 0);
    close(server);
    close(client);
    close(listener);
}

TEST(a_port_that_is_listened_on_is_taken) {
    char text[SYS_ADDRESS_TEXT_BYTES];
    int first = open_bound(SYS_STREAM, "127.0.0.1:0", true, false);
    text_of(first, text);
    ck_assert_int_eq(open_bound(SYS_STREAM, text, true, false), -EADDRINUSE);
    close(first);
    int second = open_bound(SYS_STREAM, text, true, false);
    ck_assert_int_ge(second, 0);
    close(second);
}

TEST(datagram_sockets_share_a_port_if_they_all_say_so) {
    char text[SYS_ADDRESS_TEXT_BYTES];
    int first = open_bound(SYS_DATAGRAMS, "127.0.0.1:0", false, true);
    text_of(first, text);
    int second = open_bound(SYS_DATAGRAMS, text, false, true);
    ck_assert_int_ge(second, 0);
    ck_assert_int_eq(open_bound(SYS_DATAGRAMS, text, false, false), -EADDRINUSE);
    close(first);
    close(second);
}

TEST(sockets_of_both_families_have_the_same_port_if_one_is_of_ipv6_only) {
    char text[SYS_ADDRESS_TEXT_BYTES], six[SYS_ADDRESS_TEXT_BYTES];
    struct sys_address bind_to;
    int first = open_bound(SYS_DATAGRAMS, "0.0.0.0:0", false, false);
    text_of(first, text);
    snprintf(six, sizeof six, "[::]%s", strrchr(text, ':'));
    ck_assert(sys_address_parse(six, &bind_to));
    struct sys_open how = {.transport = SYS_DATAGRAMS, .bind = &bind_to};
    int second = net_open(&how);
    ck_assert(second == -EADDRINUSE || second == -EAFNOSUPPORT);
    how.ipv6_only = true;
    second = net_open(&how);
    ck_assert(second >= 0 || second == -EAFNOSUPPORT);
    close(first);
    sys_fd_close(second);
}

TEST(a_group_is_joined_and_left) {
    struct sys_address group;
    ck_assert(sys_address_parse("239.255.1.2:0", &group));
    int fd = open_bound(SYS_DATAGRAMS, "0.0.0.0:0", false, false);
    unsigned lo = sys_interface_index("lo");
    ck_assert_int_eq(net_group(fd, &group, lo, true), 0);
    ck_assert_int_eq(net_group(fd, &group, lo, true), -EADDRINUSE);
    ck_assert_int_eq(net_group(fd, &group, lo, false), 0);
    ck_assert_int_eq(net_group(fd, &group, lo, false), -EADDRNOTAVAIL);
    ck_assert_int_eq(net_group(fd, &group, 999999, true), -ENODEV);
    ck_assert_int_eq(net_group(fd, &(struct sys_address){.family = SYS_UNIX}, lo, true), -EINVAL);
    close(fd);
}

TEST(a_socket_of_no_family_is_refused) {
    static const uint8_t wrong[] = {0, 2, 5, 7, 255};
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_int_eq(net_open(&(struct sys_open){.family = wrong[i]}), -EINVAL);
}

// ---- options ----

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t bytes = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, name, &value, &bytes), 0);
    return value;
}

TEST(a_connection_has_the_options_that_it_was_opened_with) {
    int fd = net_open(&(struct sys_open){.family = 4,
                                         .delay = true,
                                         .keep_alive_s = 30,
                                         .send_buffer_bytes = 50000,
                                         .receive_buffer_bytes = 60000});
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 10);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 60000);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_SNDBUF), 100000); // Linux counts its own part
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_RCVBUF), 120000);
    close(fd);
}

TEST(a_socket_for_datagrams_has_the_options_that_it_was_opened_with) {
    unsigned lo = sys_interface_index("lo");
    int fd = net_open(&(struct sys_open){.transport = SYS_DATAGRAMS,
                                         .family = 6,
                                         .hops = 7,
                                         .no_loopback = true,
                                         .broadcast = true,
                                         .interface = lo});
    if (fd == -EAFNOSUPPORT)
        TEST_SKIP("there is no IPv6 here");
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IP, IP_TTL), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_IP, IP_MULTICAST_TTL), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_IP, IP_MULTICAST_LOOP), 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 0);
    ck_assert_int_eq(option_of(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF), (int)lo);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_BROADCAST), 1);
    close(fd);
}

TEST(an_option_that_the_system_refuses_is_an_error) {
    ck_assert_int_eq(net_open(&(struct sys_open){.family = 4, .keep_alive_s = 40000}), -EINVAL);
    ck_assert_int_eq(
        net_open(&(struct sys_open){.transport = SYS_DATAGRAMS, .family = 4, .interface = 999999}),
        -EADDRNOTAVAIL);
}

TEST(two_listen_at_one_port_if_both_spread_it) {
    char text[SYS_ADDRESS_TEXT_BYTES];
    struct sys_address at;
    ck_assert(sys_address_parse("127.0.0.1:0", &at));
    struct sys_open how = {.bind = &at, .listen = true, .spread_port = true};
    int first = net_open(&how);
    text_of(first, text);
    ck_assert(sys_address_parse(text, &at));
    int second = net_open(&how);
    ck_assert_int_ge(second, 0);
    how.spread_port = false;
    ck_assert_int_eq(net_open(&how), -EADDRINUSE);
    close(first);
    close(second);
}

// ---- Unix sockets ----

static char folder[TEST_TEMPLATE_BYTES];
static char path[80];
static struct sys_unix name;
static const struct sys_address unix_family = {.family = SYS_UNIX};

static struct sys_open in_folder(enum sys_transport transport, struct sys_socket_file *file) {
    char text[96];
    if (!path[0]) {
        test_template(folder);
        ck_assert_ptr_nonnull(mkdtemp(folder));
    }
    snprintf(path, sizeof path, "%s/it", folder);
    snprintf(text, sizeof text, "unix:%s", path);
    ck_assert_int_eq(sys_unix_parse(text, &name), 0);
    return (struct sys_open){.transport = transport,
                             .bind = &unix_family,
                             .name = &name,
                             .listen = transport == SYS_STREAM,
                             .file = file};
}

static void leave_folder(void) { ck_assert_int_eq(rmdir(folder), 0); }

TEST(the_file_of_a_unix_socket_is_removed_if_it_is_still_the_same) {
    struct sys_socket_file file = {0}, other = {0};
    struct sys_open how = in_folder(SYS_STREAM, &file);
    int fd = net_open(&how);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_ne(file.number, 0);
    ck_assert_int_eq(net_open(&how), -EADDRINUSE);
    ck_assert_int_eq(unlink(path), 0);
    how.file = &other;
    int second = net_open(&how);
    ck_assert_int_ge(second, 0);
    sys_socket_file_remove(&name, file);
    ck_assert_int_eq(access(path, F_OK), 0);
    sys_socket_file_remove(&name, other);
    ck_assert_int_ne(access(path, F_OK), 0);
    sys_socket_file_remove(&name, other); // it is gone already
    close(fd);
    close(second);
    leave_folder();
}

static void expect_replaced(enum sys_transport transport) {
    struct sys_socket_file file;
    struct sys_open how = in_folder(transport, &file);
    int fd = net_open(&how);
    ck_assert_int_ge(fd, 0);
    how.replace = true;
    ck_assert_int_eq(net_open(&how), -EADDRINUSE); // somebody is there
    close(fd);
    how.replace = false;
    ck_assert_int_eq(net_open(&how), -EADDRINUSE);
    how.replace = true;
    fd = net_open(&how);
    ck_assert_int_ge(fd, 0);
    sys_socket_file_remove(&name, file);
    close(fd);
    leave_folder();
}

TEST(the_file_of_a_listener_that_is_gone_is_replaced) { expect_replaced(SYS_STREAM); }

TEST(the_file_of_a_socket_for_datagrams_that_is_gone_is_replaced) {
    expect_replaced(SYS_DATAGRAMS);
}

TEST(what_is_no_socket_is_never_replaced) {
    struct sys_socket_file file;
    struct sys_open how = in_folder(SYS_STREAM, &file);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    how.replace = true;
    ck_assert_int_eq(net_open(&how), -EADDRINUSE);
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    leave_folder();
}

TEST(the_file_of_a_unix_socket_has_the_rights_that_were_asked_for) {
    static const uint32_t modes[] = {0600, 0666, 0777};
    struct stat facts;
    umask(027);
    for (size_t i = 0; i < countof(modes); i++) {
        struct sys_socket_file file;
        struct sys_open how = in_folder(SYS_STREAM, &file);
        how.mode = modes[i];
        int fd = net_open(&how);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(stat(path, &facts), 0);
        ck_assert_uint_eq(facts.st_mode & 0777, modes[i]);
        sys_socket_file_remove(&name, file);
        close(fd);
    }
    leave_folder();
}

TEST(a_name_is_chosen_where_there_is_none) {
    struct sys_unix none = {0}, chosen;
    struct sys_address address;
    int fd = net_open(&(struct sys_open){.bind = &unix_family, .name = &none, .listen = true});
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(net_local(fd, &address, &chosen), 0);
    ck_assert_int_eq(address.family, SYS_UNIX);
    ck_assert_uint_gt(chosen.bytes, 1);
    ck_assert_int_eq(chosen.text[0], 0);
    close(fd);
}

// ---- descriptors of others ----

TEST(streams_and_listeners_are_told_from_what_is_none) {
    int pair[2];
    int folder_fd = open("/", O_RDONLY | O_DIRECTORY), null = open("/dev/null", O_RDWR);
    int listener = open_bound(SYS_STREAM, "127.0.0.1:0", true, false);
    int datagrams = open_bound(SYS_DATAGRAMS, "127.0.0.1:0", false, false);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(sys_fd_is_stream(pair[0]), 0);
    ck_assert_int_eq(sys_fd_is_stream(null), 0);
    ck_assert_int_eq(sys_fd_is_stream(listener), -EINVAL);
    ck_assert_int_eq(sys_fd_is_stream(datagrams), -EINVAL);
    ck_assert_int_eq(sys_fd_is_stream(folder_fd), -EINVAL);
    ck_assert_int_eq(sys_fd_is_stream(-1), -EBADF);
    ck_assert_int_eq(sys_fd_is_listener(listener), 0);
    ck_assert_int_eq(sys_fd_is_listener(pair[0]), -EINVAL);
    ck_assert_int_eq(sys_fd_is_listener(null), -EINVAL);
    ck_assert_int_eq(sys_fd_is_listener(datagrams), -EINVAL);
    ck_assert_int_eq(sys_fd_is_listener(-1), -EBADF);
    close(pair[0]);
    close(pair[1]);
    close(folder_fd);
    close(null);
    close(listener);
    close(datagrams);
}

TEST(the_other_end_of_a_unix_connection_is_known) {
    int pair[2];
    struct sys_credentials credentials = {0};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(sys_fd_credentials(pair[0], &credentials), 0);
    ck_assert_int_eq(credentials.process, getpid());
    ck_assert_uint_eq(credentials.user, getuid());
    ck_assert_uint_eq(credentials.group, getgid());
    int unconnected = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(sys_fd_credentials(unconnected, &credentials), -ENOTSUP);
    int tcp = open_bound(SYS_STREAM, "127.0.0.1:0", true, false);
    ck_assert_int_eq(sys_fd_credentials(tcp, &credentials), -ENOTSUP);
    close(pair[0]);
    close(pair[1]);
    close(unconnected);
    close(tcp);
}
