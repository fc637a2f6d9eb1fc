// SPDX-License-Identifier: MIT
// Intrusive lists, which live in the face of base/.
#include "test.h"

#include "base/base.h"

struct item {
    int number;
    struct list link;
};

static int number_of(const struct list *link) {
    return container_of(link, const struct item, link)->number;
}

TEST(a_new_list_is_empty) {
    struct list list;
    list_init(&list);
    ck_assert(list_empty(&list));
    ck_assert_ptr_null(list_first(&list));
    ck_assert_ptr_null(list_take(&list));
}

TEST(links_come_out_in_the_order_in_which_they_went_in) {
    struct list list;
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    list_init(&list);
    for (size_t i = 0; i < countof(items); i++)
        list_append(&list, &items[i].link);
    ck_assert_int_eq(number_of(list_first(&list)), 1);
    for (int n = 1; n <= 3; n++)
        ck_assert_int_eq(number_of(list_take(&list)), n);
    ck_assert(list_empty(&list));
}

TEST(a_link_can_leave_from_anywhere_and_twice) {
    struct list list;
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    list_init(&list);
    for (size_t i = 0; i < countof(items); i++)
        list_append(&list, &items[i].link);
    list_remove(&items[1].link);
    ck_assert(list_empty(&items[1].link));
    list_remove(&items[1].link);
    ck_assert_int_eq(number_of(list_take(&list)), 1);
    ck_assert_int_eq(number_of(list_take(&list)), 3);
    ck_assert(list_empty(&list));
}

TEST(links_may_be_removed_while_the_list_is_visited) {
    struct list list;
    struct item items[4] = {{.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    int sum = 0;
    list_init(&list);
    for (size_t i = 0; i < countof(items); i++)
        list_append(&list, &items[i].link);
    list_each (link, &list) {
        sum = sum * 10 + number_of(link);
        if (number_of(link) % 2 == 0)
            list_remove(link);
    }
    ck_assert_int_eq(sum, 1234);
    sum = 0;
    list_each (link, &list)
        sum = sum * 10 + number_of(link);
    ck_assert_int_eq(sum, 13);
}
