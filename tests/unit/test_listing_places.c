/* What a page leaves behind for the next one: ids of every length, and what of them is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "read/listing_places.h"

#define NOW 1000
#define EU  7u

struct world {
    struct memo *memo;
    struct strbuf key;
};

static void open_world(struct world *w, uint32_t entries)
{
    memset(w, 0, sizeof(*w));
    assert_int_equal(memo_new(entries, &w->memo), 0);
    listing_places_key(&w->key, 0, ID_BATCH, false, "", "batch_last");
}

static void close_world(struct world *w)
{
    strbuf_deinit(&w->key);
    memo_free(w->memo);
}

static void put(struct world *w, uint32_t account, const char *id, bool more)
{
    struct listing_place place = {.more = more};

    snprintf(place.id, sizeof(place.id), "%s", id);
    listing_places_put(w->memo, &w->key, account, &place, NOW);
}

static void ids_of_every_length_come_back_as_they_were(void **state)
{
    struct world w;
    struct listing_place place;
    char id[IDS_MAX + 1];

    (void)state;
    open_world(&w, 1024);
    for (size_t len = 1; len <= LISTING_PLACE_MAX; len++) {
        for (size_t i = 0; i < len; i++)
            id[i] = (char)('a' + (i * 7 + len) % 26);
        id[len] = '\0';
        put(&w, EU, id, len % 2 == 0);
        assert_true(listing_places_get(w.memo, &w.key, EU, NOW, &place));
        assert_string_equal(place.id, id);
        assert_int_equal(place.more, len % 2 == 0);
    }
    close_world(&w);
}

static void a_longer_id_is_not_remembered(void **state)
{
    struct world w;
    struct listing_place place;
    char id[LISTING_PLACE_MAX + 2];

    (void)state;
    open_world(&w, 1024);
    memset(id, 'x', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    put(&w, EU, id, true);
    put(&w, EU, "", true);
    assert_false(listing_places_get(w.memo, &w.key, EU, NOW, &place));
    close_world(&w);
}

static void a_longer_id_leaves_what_is_remembered_alone(void **state)
{
    struct world w;
    struct listing_place place;
    char id[LISTING_PLACE_MAX + 2];

    (void)state;
    open_world(&w, 1024);
    put(&w, EU, "batch_eu", true);
    for (size_t len = LISTING_PLACE_MAX + 1; len >= LISTING_PLACE_MAX; len--) {
        memset(id, 'x', len);
        id[len] = '\0';
        put(&w, EU, id, true);
        assert_true(listing_places_get(w.memo, &w.key, EU, NOW, &place));
        assert_string_equal(place.id, len > LISTING_PLACE_MAX ? "batch_eu" : id);
    }
    close_world(&w);
}

/* Entries as they stand in the memory that a program hands over to the next one. */
static uint64_t entry(const struct world *w, uint32_t piece)
{
    return memo_key(0x6c700000u | piece, EU, strbuf_str(&w->key), w->key.len);
}

static void an_id_takes_no_more_entries_than_it_fills(void **state)
{
    struct world w;
    uint64_t value[MEMO_WORDS];
    char id[65];

    (void)state;
    for (size_t len = 1; len <= 64; len++) {
        open_world(&w, 1024);
        memset(id, 'x', len);
        id[len] = '\0';
        put(&w, EU, id, true);
        assert_true(memo_get(w.memo, entry(&w, (uint32_t)((len - 1) / 32)), 0, NOW, value));
        assert_false(memo_get(w.memo, entry(&w, (uint32_t)((len + 31) / 32)), 0, NOW, value));
        close_world(&w);
    }
}

/* A program with another bound may have written it. */
static void an_entry_of_a_longer_id_is_not_believed(void **state)
{
    for (size_t len = LISTING_PLACE_MAX; len <= LISTING_PLACE_MAX + 1; len++) {
        char id[LISTING_PLACE_MAX + 32] = "";
        uint64_t value[MEMO_WORDS];
        struct listing_place place;
        struct world w;

        (void)state;
        open_world(&w, 1024);
        memset(id, 'x', len);
        value[0] = memo_key(0x6c700000u, 1, id, len) << 32 | len;
        for (uint32_t piece = 0; piece * 32 < len; piece++) {
            memcpy(value + 1, id + piece * 32, 32);
            memo_put(w.memo, entry(&w, piece), value, NOW);
        }
        assert_int_equal(listing_places_get(w.memo, &w.key, EU, NOW, &place),
                         len <= LISTING_PLACE_MAX);
        close_world(&w);
    }
}

static void accounts_and_pages_are_kept_apart(void **state)
{
    struct world w;
    struct listing_place place;
    struct listing_page_end end = {1790000000, EU}, got;

    (void)state;
    open_world(&w, 1024);
    put(&w, EU, "batch_eu", true);
    listing_places_put_end(w.memo, &w.key, &end, NOW);
    assert_false(listing_places_get(w.memo, &w.key, EU + 1, NOW, &place));
    assert_true(listing_places_get_end(w.memo, &w.key, NOW, &got));
    assert_int_equal(got.created_at, 1790000000);
    assert_int_equal(got.account, EU);

    listing_places_key(&w.key, 0, ID_FILE, false, "", "batch_last");
    assert_false(listing_places_get_end(w.memo, &w.key, NOW, &got));
    listing_places_key(&w.key, 0, ID_FILE, true, "", "batch_last");
    assert_false(listing_places_get_end(w.memo, &w.key, NOW, &got));
    listing_places_key(&w.key, 0, ID_BATCH, false, "batch", "batch_last");
    assert_false(listing_places_get_end(w.memo, &w.key, NOW, &got));
    listing_places_key(&w.key, 0, ID_BATCH, false, "", "batch_other");
    assert_false(listing_places_get(w.memo, &w.key, EU, NOW, &place));
    close_world(&w);
}

/* In a table that is much too small pieces of ids are driven out one by one; an id that is put
 * together of pieces of two would send a page to the wrong place. */
static void an_id_that_lost_a_piece_is_forgotten_whole(void **state)
{
    struct world w;
    struct listing_place place;
    char id[IDS_MAX + 1];
    unsigned found = 0, lost = 0;

    (void)state;
    open_world(&w, 16);
    for (unsigned n = 0; n < 2000; n++) {
        uint32_t account = 1 + n % 9;

        snprintf(id, sizeof(id), "batch_%08x-%08x-%08x-%08x-%08x-%08x", n, n, n, n, n, n);
        put(&w, account, id, true);
        for (uint32_t a = 1; a <= 9; a++) {
            unsigned of;

            if (!listing_places_get(w.memo, &w.key, a, NOW, &place)) {
                lost++;
                continue;
            }
            found++;
            assert_int_equal(sscanf(place.id, "batch_%8x", &of), 1);
            snprintf(id, sizeof(id), "batch_%08x-%08x-%08x-%08x-%08x-%08x", of, of, of, of, of, of);
            assert_string_equal(place.id, id);
            assert_int_equal(1 + of % 9, a);
        }
    }
    assert_true(found > 0 && lost > 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_every_length_come_back_as_they_were),
        cmocka_unit_test(a_longer_id_is_not_remembered),
        cmocka_unit_test(a_longer_id_leaves_what_is_remembered_alone),
        cmocka_unit_test(an_id_takes_no_more_entries_than_it_fills),
        cmocka_unit_test(an_entry_of_a_longer_id_is_not_believed),
        cmocka_unit_test(accounts_and_pages_are_kept_apart),
        cmocka_unit_test(an_id_that_lost_a_piece_is_forgotten_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
