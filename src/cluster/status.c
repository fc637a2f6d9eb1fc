// SPDX-License-Identifier: MIT
// Status messages and exit notices of jobs, as the owner of a computation gets them: values of kind
// AC_NOTICE, which cannot be forged in a message, around the lists
//
//     ["status", kind, node, worker, coroutine, job, lost?, location, text]
//     ["job", [who, how, reason, value], job, worker, location, seconds]
#include "cluster/cluster_private.h"

#include <stdio.h>

#define STATUS_WORD "status"
#define JOB_WORD "job"

ac_value status_notice(const struct ac_status *status) {
    return value_notice(ac_list(STATUS_WORD, (int)status->kind, status->node, status->worker,
                                status->coroutine, status->job, status->lost,
                                (const char *)status->location, (const char *)status->text));
}

static void copy_text(char *to, size_t bytes, const char *from) {
    snprintf(to, bytes, "%s", from ? from : "");
}

bool ac_status_of(ac_value message, struct ac_status *status) {
    if (message.kind != AC_NOTICE)
        return false;
    ac_value list = value_notice_list(message);
    const char *word, *location, *text;
    int kind;
    *status = (struct ac_status){0};
    bool is = message_is(list, STATUS_WORD) &&
              ac_unpack(list, &word, &kind, &status->node, &status->worker, &status->coroutine,
                        &status->job, &status->lost, &location, &text) == 0;
    if (is) {
        status->kind = (enum ac_status_kind)kind;
        copy_text(status->location, sizeof status->location, location);
        copy_text(status->text, sizeof status->text, text);
    }
    ac_drop(list);
    return is;
}

static ac_value job_list(const struct ac_job_exit *it, ac_value value) {
    return ac_list(JOB_WORD, ac_list(it->exit.who, (int)it->exit.how, it->exit.reason, value),
                   it->job, it->worker, (const char *)it->location, it->seconds);
}

ac_value job_exit_notice(const struct ac_job_exit *exit) {
    ac_value notice = value_notice(job_list(exit, ac_hold(exit->exit.value)));
    ac_drop(exit->exit.value);
    int err = ac_error_of(notice);
    if (notice.kind != AC_INVALID || err == -ENOMEM)
        return notice;
    // A value that just fitted by itself: the notice goes without it and says why.
    struct ac_job_exit without = *exit;
    without.exit.reason = exit->exit.reason ? exit->exit.reason : err;
    return value_notice(job_list(&without, ac_nil));
}

bool ac_job_exit_of(ac_value message, struct ac_job_exit *it) {
    if (message.kind != AC_NOTICE)
        return false;
    ac_value list = value_notice_list(message), end = ac_nil;
    const char *word, *location;
    int how = 0;
    *it = (struct ac_job_exit){0};
    bool is = message_is(list, JOB_WORD) &&
              ac_unpack(list, &word, &end, &it->job, &it->worker, &location, &it->seconds) == 0;
    if (is) {
        copy_text(it->location, sizeof it->location, location);
        is = ac_unpack(end, &it->exit.who, &how, &it->exit.reason, &it->exit.value) == 0;
        it->exit.how = (enum ac_end)how;
        ac_drop(end);
    }
    ac_drop(list);
    return is;
}

void text_mend(char *text) {
    ac_value value = ac_of_text(text);
    if (value.kind == AC_INVALID && ac_error_of(value) == -EILSEQ)
        for (; *text; text++)
            *text = (unsigned char)*text < 128 ? *text : '?';
    ac_drop(value);
}

// The bytes of the letter that begins there, 0 if it is none that may be shown: what is no UTF-8,
// and the controls, which are the bytes below ' ', DEL and, as UTF-8, C2 80 to C2 9F.
static size_t letter_bytes(const uint8_t *at, size_t count) {
    if (at[0] < 128)
        return (at[0] >= ' ' && at[0] != 127) || at[0] == '\n' || at[0] == '\t';
    size_t bytes = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    if (bytes == 0 || bytes > count)
        return 0;
    bool is_control = at[0] == 0xC2 && at[1] < 0xA0;
    bool is_too_long = (at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xF0 && at[1] < 0x90);
    for (size_t i = 1; i < bytes; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return is_control || is_too_long ? 0 : bytes;
}

// A letter cut by the end is lost.
void text_clean(char *bytes, size_t count) {
    for (size_t i = 0; i < count;) {
        size_t letter = letter_bytes((const uint8_t *)bytes + i, count - i);
        if (letter == 0)
            bytes[i] = '?';
        i += letter ? letter : 1;
    }
}

void location_of(struct loop *loop, ac_ref ref, char text[64]) {
    struct sys_address address;
    text[0] = 0;
    if (remote_find(loop, ref.peer, &address))
        sys_address_text(&address, text);
}
