// SPDX-License-Identifier: MIT
// State Threads: a thread for each connection, on a stack as in st.c.
#include "st.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ECHO_BYTES = 1024 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *serve(void *argument) {
    st_netfd_t client = argument;
    char bytes[ECHO_BYTES];
    ssize_t got;
    while ((got = st_read(client, bytes, sizeof bytes, ST_UTIME_NO_TIMEOUT)) > 0)
        if (st_write(client, bytes, (size_t)got, ST_UTIME_NO_TIMEOUT) != got)
            break;
    st_netfd_close(client);
    return NULL;
}

// What is accepted does not delay either: it inherits that from the socket that listens.
double echo_serve(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;
    signal(SIGPIPE, SIG_IGN);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        fail("listen");
    st_netfd_t server = st_netfd_open_socket(fd);
    if (!server)
        fail("st_netfd_open_socket");
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        st_netfd_t client = st_accept(server, NULL, NULL, ST_UTIME_NO_TIMEOUT);
        if (!client)
            fail("st_accept");
        if (!st_thread_create(serve, client, 0, STACK_BYTES))
            fail("st_thread_create");
    }
}
