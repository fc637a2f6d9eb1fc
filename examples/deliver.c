// SPDX-License-Identifier: MIT
// News over a channel, and how many have them in their mailbox. Somebody who is subscribed through
// two channels gets them once; who has unsubscribed, or has ended, no more.
#include <asyncoro.h>

static ac_value read_news(ac_value name) {
    ac_value news;
    bool more = true;
    while (more && ac_receive(&news, AC_FOREVER) == 0) {
        more = ac_kind_of(news) == AC_TEXT;
        if (more)
            ac_print("%v reads: %v\n", name, news);
        ac_drop(news); // if it is no text: the notice that a channel is closed, or a call to leave
    }
    return ac_nil;
}

static void publish(ac_ref channel, const char *news) {
    int count = ac_deliver(channel, news, ac_after(10));
    if (count < 0)
        ac_print("%s: %s\n", news, ac_strerror(count));
    else
        ac_print("%s: %d have it\n", news, count);
    ac_yield(); // they read it
}

static ac_value publisher(ac_value unused) {
    ac_ref news = ac_channel_open("news"), local = ac_channel_open("local news");
    publish(news, "too early");
    ac_ref ada = ac_spawn(read_news, "Ada"), grace = ac_spawn(read_news, "Grace");
    ac_channel_subscribe(news, ada);
    ac_channel_subscribe(news, grace);
    ac_channel_subscribe(news, local); // what is sent to the upper goes on to the lower
    ac_channel_subscribe(local, grace);
    publish(news, "sun");
    publish(local, "a street is closed");
    ac_channel_unsubscribe(news, grace);
    publish(news, "rain");
    ac_send(ada, ac_nil);
    int err = ac_join(ada, NULL, AC_FOREVER);
    publish(news, "snow");
    ac_channel_close(local); // Grace reads its last page and leaves
    publish(local, "too late");
    int closed = ac_channel_close(news);
    return ac_result(err < 0 ? err : closed);
}

int main(void) {
    ac_spawn(publisher, ac_nil);
    return ac_run();
}
