/* What a database of keys and teams keeps: the same tests on both engines. */
#include "both_engines.h"

#include "store/import.h"

static void add_team(struct world *w, const char *id)
{
    struct store_team team = {.id = (char *)id, .models = "[\"gpt-4o\"]"};

    OK(w, store_team_add(w->store, &team, &tester, NULL));
}

/* ---- a row ---- */

static void a_key_is_read_as_it_was_written(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), read;
    struct store_key_name name = {.hash = key.hash};
    uint64_t gen = 0;

    add_team(w, "team-a");
    key.alias = "caf\xc3\xa9 \"quoted\" 'single' $1 @key ?";
    key.team_id = "team-a";
    key.user_id = "u1";
    key.organization_id = "o1";
    key.models = "[\"gpt-4o\",\"o3*\"]";
    key.aliases = "{\"mini\":\"gpt-4o-mini\"}";
    key.routes = "[\"llm_api_routes\"]";
    key.metadata = "{\"batch_enqueued_token_limit\":\"5000\"}";
    key.fields = "{\"max_budget\":1.5,\"tpm_limit\":100}";
    key.blocked = true;
    key.expires_unix_ms = 4102444800123;
    OK(w, store_key_add(w->store, &key, &tester, &gen));
    assert_int_equal(gen, 2);
    OK(w, store_key_get(w->store, &name, &read));
    assert_string_equal(read.hash, key.hash);
    assert_string_equal(read.id, key.hash);
    assert_string_equal(read.name, key.name);
    assert_string_equal(read.alias, key.alias);
    assert_string_equal(read.team_id, key.team_id);
    assert_string_equal(read.user_id, key.user_id);
    assert_string_equal(read.organization_id, key.organization_id);
    assert_string_equal(read.models, key.models);
    assert_string_equal(read.aliases, key.aliases);
    assert_string_equal(read.routes, key.routes);
    assert_string_equal(read.metadata, key.metadata);
    assert_string_equal(read.fields, key.fields);
    assert_string_equal(read.source, "api");
    assert_string_equal(read.created_by, "tester");
    assert_true(read.blocked);
    assert_false(read.admin);
    assert_int_equal(read.expires_unix_ms, key.expires_unix_ms);
    assert_true(read.created_unix_ms > 1600000000000);
    assert_int_equal(read.gen, 2);
    store_key_deinit(&read);
}

static void a_key_is_found_by_hash_alias_and_id(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), read;
    struct store_key_name by_alias = {.alias = "a"}, by_id = {.id = key.hash};
    struct store_key_name nobody = {.alias = "b"};

    key.alias = "a";
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_key_get(w->store, &by_alias, &read));
    store_key_deinit(&read);
    OK(w, store_key_get(w->store, &by_id, &read));
    store_key_deinit(&read);
    assert_int_equal(store_key_get(w->store, &nobody, &read), ERR_NOT_FOUND);
    assert_int_equal(store_state(w->store), STORE_UP);
}

static void a_hash_and_an_alias_are_one_keys(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), same_hash = key_of(1), same_alias = key_of(2);
    uint64_t gen, before;

    key.alias = same_alias.alias = "a";
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_generation(w->store, &before));
    assert_int_equal(store_key_add(w->store, &same_hash, &tester, NULL), ERR_DUPLICATE);
    assert_int_equal(store_key_add(w->store, &same_alias, &tester, NULL), ERR_LIMIT);
    OK(w, store_generation(w->store, &gen));
    assert_int_equal(gen, before); /* what was refused changed nothing */
}

static void a_key_of_no_team_is_refused(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);

    key.team_id = "nobody";
    assert_int_equal(store_key_add(w->store, &key, &tester, NULL), ERR_NOT_FOUND);
}

static void what_is_no_json_is_refused(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);

    key.metadata = "{\"a\":";
    assert_int_equal(store_key_add(w->store, &key, &tester, NULL), ERR_INVALID);
    assert_non_null(strstr(store_why(w->store), "metadata"));
    key.metadata = NULL;
    key.models = "{}";
    assert_int_equal(store_key_add(w->store, &key, &tester, NULL), ERR_INVALID);
    key.models = NULL;
    key.alias = "\xff";
    assert_int_equal(store_key_add(w->store, &key, &tester, NULL), ERR_INVALID);
    key.alias = NULL;
    key.hash[3] = 'X';
    assert_int_equal(store_key_add(w->store, &key, &tester, NULL), ERR_INVALID);
}

static void a_key_changes_as_a_whole_and_only_as_it_was_read(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), first, second;
    struct store_key_name name = {.hash = key.hash};

    key.alias = "a";
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_key_get(w->store, &name, &first));
    OK(w, store_key_get(w->store, &name, &second));
    free(first.alias);
    first.alias = NULL;
    first.models = strdup("[\"o3\"]");
    OK(w, store_key_update(w->store, &first, &tester, NULL));
    second.blocked = true;
    assert_int_equal(store_key_update(w->store, &second, &tester, NULL), ERR_NOT_FOUND);
    store_key_deinit(&second);
    OK(w, store_key_get(w->store, &name, &second));
    assert_null(second.alias);
    assert_string_equal(second.models, "[\"o3\"]");
    assert_false(second.blocked);
    store_key_deinit(&first);
    store_key_deinit(&second);
}

static void a_block_is_a_change_and_so_is_its_end(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), read;
    struct store_key_name name = {.hash = key.hash}, nobody = {.hash = "00"};
    uint64_t gen[2];

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_key_block(w->store, &name, true, &tester, &gen[0]));
    OK(w, store_key_get(w->store, &name, &read));
    assert_true(read.blocked);
    store_key_deinit(&read);
    OK(w, store_key_block(w->store, &name, false, &tester, &gen[1]));
    OK(w, store_key_get(w->store, &name, &read));
    assert_false(read.blocked);
    store_key_deinit(&read);
    assert_int_equal(gen[1], gen[0] + 1);
    assert_int_equal(store_key_block(w->store, &nobody, true, &tester, NULL), ERR_NOT_FOUND);
}

static void a_deleted_key_is_among_the_deleted(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct store_key_name name = {.hash = key.hash};
    struct store_key_filter gone = {.deleted = true, .page = 1, .size = 10};
    struct store_key_page page;
    struct rights_list list;
    unsigned char hash[RIGHTS_HASH_BYTES];
    uint64_t gen;

    hash_bytes(key.hash, hash);
    key.alias = "a";
    for (int i = 0; i < 2; i++) { /* also when the same one was deleted before */
        OK(w, store_key_add(w->store, &key, &tester, NULL));
        OK(w, store_key_delete(w->store, &name, &tester, NULL));
    }
    assert_int_equal(store_key_delete(w->store, &name, &tester, NULL), ERR_NOT_FOUND);
    assert_int_equal(store_find(w->store, hash, &list, &gen), ERR_NOT_FOUND);
    assert_int_equal(gen, 4);
    OK(w, store_key_list(w->store, &gone, &page));
    assert_int_equal(page.total, 1);
    assert_string_equal(page.keys[0].alias, "a");
    assert_string_equal(page.keys[0].updated_by, "tester");
    store_key_page_deinit(&page);
}

/* ---- regeneration ---- */

static void a_new_hash_keeps_the_id_and_the_old_one_is_good_for_its_grace(void **state)
{
    WORLD(w);
    struct store_key old = key_of(1), new = key_of(2), read;
    struct store_key_name by_old = {.hash = old.hash}, by_new = {.hash = new.hash};
    int64_t until = clock_unix_ms() + 3600000;
    struct rights_list list;
    unsigned char hash[RIGHTS_HASH_BYTES];
    uint64_t gen;

    OK(w, store_key_add(w->store, &old, &tester, NULL));
    OK(w, store_key_regenerate(w->store, &by_old, new.hash, "sk-...wxyz", until, &tester, NULL));
    OK(w, store_key_get(w->store, &by_new, &read));
    assert_string_equal(read.id, old.hash);
    assert_string_equal(read.name, "sk-...wxyz");
    store_key_deinit(&read);
    OK(w, store_key_get(w->store, &by_old, &read)); /* its old name names it for so long */
    assert_string_equal(read.hash, new.hash);
    store_key_deinit(&read);
    hash_bytes(old.hash, hash);
    OK(w, store_find(w->store, hash, &list, &gen));
    assert_int_equal(list.num_keys, 1);
    assert_memory_equal(list.keys[0].hash, hash, RIGHTS_HASH_BYTES);
    assert_string_equal(list.keys[0].id, old.hash);
    assert_int_equal(list.keys[0].expires_unix_ms, until);
    assert_string_equal(list.keys[0].tail, "");
    rights_list_deinit(&list);
    OK(w, store_load(w->store, &list, &gen));
    assert_int_equal(list.num_keys, 2);
    rights_list_deinit(&list);
}

static void without_grace_the_old_hash_is_nobodys(void **state)
{
    WORLD(w);
    struct store_key old = key_of(1), new = key_of(2), read;
    struct store_key_name by_old = {.hash = old.hash};

    OK(w, store_key_add(w->store, &old, &tester, NULL));
    OK(w, store_key_regenerate(w->store, &by_old, new.hash, NULL, 0, &tester, NULL));
    assert_int_equal(store_key_get(w->store, &by_old, &read), ERR_NOT_FOUND);
}

static void a_hash_in_its_grace_is_not_given_again(void **state)
{
    WORLD(w);
    struct store_key old = key_of(1), new = key_of(2), third = key_of(3);
    struct store_key_name by_old = {.hash = old.hash}, by_third = {.hash = third.hash};
    int64_t until = clock_unix_ms() + 3600000;

    OK(w, store_key_add(w->store, &old, &tester, NULL));
    OK(w, store_key_add(w->store, &third, &tester, NULL));
    OK(w, store_key_regenerate(w->store, &by_old, new.hash, NULL, until, &tester, NULL));
    assert_int_equal(store_key_add(w->store, &old, &tester, NULL), ERR_DUPLICATE);
    assert_int_equal(store_key_regenerate(w->store, &by_third, old.hash, NULL, 0, &tester, NULL),
                     ERR_DUPLICATE);
    assert_int_equal(store_key_regenerate(w->store, &by_third, new.hash, NULL, 0, &tester, NULL),
                     ERR_DUPLICATE);
    assert_int_equal(store_key_add_grace(w->store, third.hash, new.hash, until, &tester, NULL),
                     ERR_DUPLICATE);
}

/* ---- rights ---- */

static void all_is_loaded_as_rights(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct rights_list list;
    const struct rights_key *k;
    uint64_t gen;

    add_team(w, "team-a");
    key.team_id = "team-a";
    key.alias = "a";
    key.models = "[\"gpt-4o\",\"o3*\"]";
    key.aliases = "{\"mini\":\"gpt-4o-mini\"}";
    key.metadata = "{\"batch_enqueued_token_limit\":\"5000\"}";
    key.fields = "{\"rpm_limit\":60}";
    key.expires_unix_ms = 4102444800000;
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_load(w->store, &list, &gen));
    assert_int_equal(gen, 2);
    assert_int_equal(list.num_keys, 1);
    assert_int_equal(list.num_teams, 1);
    k = &list.keys[0];
    assert_string_equal(k->id, key.hash);
    assert_string_equal(k->team_id, "team-a");
    assert_string_equal(k->tail, "abcd");
    assert_int_equal(k->models.num_names, 2);
    assert_false(k->models.all);
    assert_string_equal(k->models.aliases[0].target, "gpt-4o-mini");
    assert_int_equal(k->limits.enqueued_tokens, 5000);
    assert_int_equal(k->limits.requests_per_minute, 60);
    assert_int_equal(k->limits.open_batches, RIGHTS_UNLIMITED);
    assert_int_equal(k->routes, RIGHTS_ALL_ROUTES);
    assert_int_equal(k->expires_unix_ms, 4102444800000);
    assert_int_equal(k->source, RIGHTS_OF_DATABASE);
    assert_string_equal(list.teams[0].models.names[0], "gpt-4o");
    rights_list_deinit(&list);
}

static void more_keys_than_a_page_are_all_loaded(void **state)
{
    WORLD(w);
    enum { MANY = 1001 };
    struct rights_list list;
    uint64_t gen;

    OK(w, store_generation(w->store, &gen));
    for (unsigned i = 0; i < MANY; i++) {
        struct store_key key = key_of(i);

        OK(w, store_key_add(w->store, &key, &tester, NULL));
    }
    OK(w, store_load(w->store, &list, &gen));
    assert_int_equal(list.num_keys, MANY);
    assert_int_equal(gen, MANY);
    rights_list_deinit(&list);
}

/* ---- what changed ---- */

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const struct rights_key *)a)->hash, ((const struct rights_key *)b)->hash,
                  RIGHTS_HASH_BYTES);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct rights_team *)a)->id, ((const struct rights_team *)b)->id);
}

/* A list that was refreshed is the one that is loaded. */
static void assert_fresh(struct world *w, struct rights_list *list, uint64_t *gen)
{
    struct rights_list all;
    uint64_t now;

    OK(w, store_refresh(w->store, list, gen));
    OK(w, store_load(w->store, &all, &now));
    assert_int_equal(*gen, now);
    assert_int_equal(list->num_keys, all.num_keys);
    assert_int_equal(list->num_teams, all.num_teams);
    if (all.num_keys > 1) {
        qsort(all.keys, all.num_keys, sizeof(all.keys[0]), by_hash);
        qsort(list->keys, list->num_keys, sizeof(list->keys[0]), by_hash);
    }
    for (size_t i = 0; i < all.num_keys; i++) {
        const struct rights_key *a = &all.keys[i], *b = &list->keys[i];

        assert_memory_equal(a->hash, b->hash, RIGHTS_HASH_BYTES);
        assert_string_equal(a->id, b->id);
        assert_true(a->blocked == b->blocked && a->expires_unix_ms == b->expires_unix_ms);
        assert_memory_equal(&a->limits, &b->limits, sizeof(a->limits));
    }
    if (all.num_teams > 1)
        qsort(all.teams, all.num_teams, sizeof(all.teams[0]), by_id);
    if (list->num_teams > 1)
        qsort(list->teams, list->num_teams, sizeof(list->teams[0]), by_id);
    for (size_t i = 0; i < all.num_teams; i++)
        assert_true(strcmp(all.teams[i].id, list->teams[i].id) == 0 &&
                    all.teams[i].blocked == list->teams[i].blocked);
    rights_list_deinit(&all);
}

static void a_refreshed_list_is_what_is_there(void **state)
{
    WORLD(w);
    struct store_key key;
    char hash[STORE_HASH_DIGITS + 1];
    struct store_key_name one = {.hash = hash};
    struct rights_list list;
    uint64_t gen;

    OK(w, store_load(w->store, &list, &gen));
    assert_fresh(w, &list, &gen); /* nothing changed */
    add_team(w, "t");
    add_team(w, "u");
    for (unsigned i = 0; i < 40; i++) {
        key = key_of(i);
        key.team_id = i % 3 == 0 ? "t" : i % 3 == 1 ? "u" : NULL;
        OK(w, store_key_add(w->store, &key, &tester, NULL));
    }
    assert_fresh(w, &list, &gen);
    hash_of(2, hash);
    OK(w, store_key_block(w->store, &one, true, &tester, NULL));
    assert_fresh(w, &list, &gen);
    hash_of(1000, hash);
    key = key_of(5);
    OK(w, store_key_regenerate(w->store, &(struct store_key_name){.hash = key.hash}, hash,
                               "sk-...wxyz", clock_unix_ms() + 3600000, &tester, NULL));
    assert_fresh(w, &list, &gen); /* the old hash is one more */
    OK(w, store_key_delete(w->store, &one, &tester, NULL));
    assert_fresh(w, &list, &gen);
    OK(w, store_team_block(w->store, "u", true, &tester, NULL));
    assert_fresh(w, &list, &gen);
    OK(w, store_team_delete(w->store, "t", &tester, NULL)); /* with its keys */
    assert_fresh(w, &list, &gen);
    assert_int_equal(list.num_teams, 1);
    rights_list_deinit(&list);
}

static void what_changed_without_a_word_is_read_anew(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct rights_list list;
    uint64_t gen, before;

    OK(w, store_load(w->store, &list, &gen));
    before = gen;
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    world_do(w, "delete from @audit");
    assert_int_equal(store_refresh(w->store, &list, &gen), ERR_LIMIT);
    assert_true(gen == before && list.num_keys == 0);
    gen = 1000; /* a copy was put in its place */
    assert_int_equal(store_refresh(w->store, &list, &gen), ERR_LIMIT);
    assert_int_equal(store_state(w->store), STORE_UP);
    rights_list_deinit(&list);
}

/* ---- several at once ---- */

static void a_batch_keeps_what_was_taken_and_drops_what_was_refused(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1), twice = key_of(1), other = key_of(2), lost = key_of(3);
    struct rights_list list;
    uint64_t gen, before = 0;

    lost.team_id = "nobody";
    OK(w, store_load(w->store, &list, &before));
    OK(w, store_batch_begin(w->store));
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_int_equal(store_key_add(w->store, &twice, &tester, NULL), ERR_DUPLICATE);
    assert_int_equal(store_key_add(w->store, &lost, &tester, NULL), ERR_NOT_FOUND);
    OK(w, store_key_add(w->store, &other, &tester, NULL));
    OK(w, store_batch_end(w->store));
    assert_fresh(w, &list, &before);
    assert_int_equal(list.num_keys, 2);
    OK(w, store_generation(w->store, &gen));
    assert_int_equal(gen, 2); /* what was refused made none */
    rights_list_deinit(&list);
}

static void on_refused(void *arg, const char *what, const char *why)
{
    (void)arg;
    assert_string_equal(what, "key sk-...abcd");
    assert_non_null(strstr(why, "team"));
}

static void an_import_is_whole_and_a_second_one_changes_nothing(void **state)
{
    WORLD(w);
    enum { NUM = 2500 };
    struct litellm_rows rows = {.num_keys = NUM};
    struct import_counts counts;
    uint64_t gen, again;

    rows.keys = calloc(NUM, sizeof(rows.keys[0]));
    for (unsigned i = 0; i < NUM; i++)
        rows.keys[i] = key_of(i);
    rows.keys[7].team_id = "nobody"; /* the others of its group are taken all the same */
    OK(w, import_into(w->store, &rows, &tester, &counts, on_refused, NULL));
    assert_true(counts.added == NUM - 1 && counts.there == 0 && counts.refused == 1);
    OK(w, store_generation(w->store, &gen));
    assert_int_equal(gen, NUM - 1);
    OK(w, import_into(w->store, &rows, &tester, &counts, on_refused, NULL));
    assert_true(counts.added == 0 && counts.there == NUM - 1 && counts.refused == 1);
    OK(w, store_generation(w->store, &again));
    assert_int_equal(again, gen);
    free(rows.keys);
}

/* ---- lists ---- */

static size_t num_listed(struct world *w, struct store_key_filter filter)
{
    struct store_key_page page;
    size_t total;

    filter.page = 1;
    filter.size = 100;
    OK(w, store_key_list(w->store, &filter, &page));
    total = page.total;
    assert_int_equal(page.num_keys, total);
    store_key_page_deinit(&page);
    return total;
}

static void a_list_has_what_its_filter_asks_for(void **state)
{
    WORLD(w);
    struct store_key keys[3] = {key_of(1), key_of(2), key_of(3)};

    add_team(w, "t");
    keys[0].alias = "Prod_1";
    keys[0].team_id = "t";
    keys[1].alias = "prod%2";
    keys[1].user_id = "u";
    keys[1].expires_unix_ms = 1000;
    keys[2].organization_id = "o";
    keys[2].expires_unix_ms = 9000000000000;
    for (size_t i = 0; i < 3; i++)
        OK(w, store_key_add(w->store, &keys[i], &tester, NULL));
    assert_int_equal(num_listed(w, (struct store_key_filter){0}), 3);
    assert_int_equal(num_listed(w, (struct store_key_filter){.team_id = "t"}), 1);
    assert_int_equal(num_listed(w, (struct store_key_filter){.user_id = "u"}), 1);
    assert_int_equal(num_listed(w, (struct store_key_filter){.organization_id = "o"}), 1);
    assert_int_equal(num_listed(w, (struct store_key_filter){.hash = keys[1].hash}), 1);
    assert_int_equal(num_listed(w, (struct store_key_filter){.alias = "prod"}), 0);
    assert_int_equal(num_listed(w, (struct store_key_filter){.alias = "prod", .substring = true}),
                     2);
    assert_int_equal(num_listed(w, (struct store_key_filter){.alias = "d_1", .substring = true}),
                     1);
    assert_int_equal(num_listed(w, (struct store_key_filter){.alias = "%", .substring = true}), 1);
    assert_int_equal(
        num_listed(w, (struct store_key_filter){.expiry = STORE_EXPIRED, .now_unix_ms = 5000}), 1);
    assert_int_equal(
        num_listed(w, (struct store_key_filter){.expiry = STORE_NOT_EXPIRED, .now_unix_ms = 5000}),
        2);
    assert_int_equal(
        num_listed(w, (struct store_key_filter){.alias = "' or 1=1 --", .team_id = "t"}), 0);
}

static void pages_follow_one_another_in_order(void **state)
{
    WORLD(w);
    static const enum store_order orders[] = {STORE_BY_CREATED, STORE_BY_UPDATED, STORE_BY_EXPIRY,
                                              STORE_BY_ALIAS,   STORE_BY_TEAM,    STORE_BY_USER,
                                              STORE_BY_HASH};
    struct store_key_page page;

    for (unsigned i = 0; i < 5; i++) {
        struct store_key key = key_of(i);
        char alias[8];

        snprintf(alias, sizeof(alias), "k%u", i);
        key.alias = alias;
        OK(w, store_key_add(w->store, &key, &tester, NULL));
    }
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        for (uint32_t number = 1; number <= 3; number++) {
            struct store_key_filter f = {
                .order = orders[i], .descending = i % 2 == 0, .page = number, .size = 2};

            OK(w, store_key_list(w->store, &f, &page));
            assert_int_equal(page.total, 5);
            assert_int_equal(page.num_keys, number < 3 ? 2 : 1);
            if (orders[i] == STORE_BY_ALIAS && number == 1)
                assert_string_equal(page.keys[0].alias, "k0");
            store_key_page_deinit(&page);
        }
    assert_int_equal(
        store_key_list(w->store, &(struct store_key_filter){.page = 0, .size = 10}, &page),
        ERR_INVALID);
    assert_int_equal(
        store_key_list(w->store, &(struct store_key_filter){.page = 1, .size = 101}, &page),
        ERR_INVALID);
}

/* ---- teams ---- */

static void a_team_is_added_changed_blocked_listed_and_deleted_with_its_keys(void **state)
{
    WORLD(w);
    struct store_team team = {.id = "t", .alias = "Team", .metadata = "{\"a\":1}"}, read;
    struct store_key key = key_of(1);
    struct store_key_name name = {.hash = key.hash};
    struct store_team_filter filter = {.alias = "Other", .page = 1, .size = 10};
    struct store_team_page page;

    OK(w, store_team_add(w->store, &team, &tester, NULL));
    assert_int_equal(store_team_add(w->store, &team, &tester, NULL), ERR_DUPLICATE);
    OK(w, store_team_get(w->store, "t", &read));
    assert_string_equal(read.metadata, team.metadata);
    free(read.alias);
    read.alias = strdup("Other");
    OK(w, store_team_update(w->store, &read, &tester, NULL));
    assert_int_equal(store_team_update(w->store, &read, &tester, NULL), ERR_NOT_FOUND);
    store_team_deinit(&read);
    OK(w, store_team_block(w->store, "t", true, &tester, NULL));
    OK(w, store_team_list(w->store, &filter, &page));
    assert_int_equal(page.total, 1);
    assert_true(page.teams[0].blocked);
    store_team_page_deinit(&page);
    key.team_id = "t";
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_team_delete(w->store, "t", &tester, NULL));
    assert_int_equal(store_team_get(w->store, "t", &read), ERR_NOT_FOUND);
    assert_int_equal(store_key_delete(w->store, &name, &tester, NULL), ERR_NOT_FOUND);
}

/* ---- audit ---- */

static void each_change_stands_in_the_audit_with_who_made_it(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct store_key_name name = {.hash = key.hash};
    struct store_audit rows[4];
    size_t num;

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_key_block(w->store, &name, true, &tester, NULL));
    OK(w, store_key_delete(w->store, &name, &tester, NULL));
    OK(w, store_audit_read(w->store, rows, 4, &num));
    assert_int_equal(num, 3);
    assert_string_equal(rows[0].what, "key.delete");
    assert_string_equal(rows[1].what, "key.block");
    assert_string_equal(rows[2].what, "key.add");
    assert_int_equal(rows[0].seq, 3);
    assert_string_equal(rows[1].who, "tester");
    assert_string_equal(rows[1].target, key.hash);
    assert_non_null(strstr(rows[1].before, "\"blocked\":false"));
    assert_non_null(strstr(rows[1].after, "\"blocked\":true"));
    assert_null(rows[0].after);
    for (size_t i = 0; i < num; i++)
        store_audit_deinit(&rows[i]);
}

/* ---- budgets ---- */

static struct rights_limits limits_of(const char *fields, enum rights_source source)
{
    struct store_key key = key_of(1);
    struct rights_key rights;
    struct rights_limits limits;

    key.fields = (char *)fields;
    assert_int_equal(store_key_rights(&key, source, &rights), 0);
    limits = rights.limits;
    rights_key_deinit(&rights);
    return limits;
}

/* (tenants statements A3, A16) */
static void a_budget_is_dollars_less_what_litellm_has_spent(void **state)
{
    static const struct {
        const char *fields;
        enum rights_source source;
        uint64_t nano;
        uint32_t period_s;
    } cases[] = {
        {"{}", RIGHTS_OF_DATABASE, RIGHTS_UNLIMITED, 0},
        {"{\"max_budget\":null}", RIGHTS_OF_DATABASE, RIGHTS_UNLIMITED, 0},
        {"{\"max_budget\":10.5}", RIGHTS_OF_DATABASE, UINT64_C(10500000000), 0},
        {"{\"max_budget\":\"1e-3\",\"budget_duration\":\"1h\"}", RIGHTS_OF_DATABASE, 1000000, 3600},
        {"{\"max_budget\":true}", RIGHTS_OF_DATABASE, 0, 0}, /* what is none may spend nothing */
        {"{\"max_budget\":-1}", RIGHTS_OF_DATABASE, 0, 0},
        {"{\"max_budget\":2,\"spend\":0.5}", RIGHTS_OF_DATABASE, 1500000000, 0},
        {"{\"max_budget\":2,\"spend\":3}", RIGHTS_OF_DATABASE, 0, 0},
        /* of which period it is nobody knows here */
        {"{\"max_budget\":2,\"spend\":0.5,\"budget_duration\":\"1d\"}", RIGHTS_OF_DATABASE,
         2000000000, 86400},
        {"{\"max_budget\":2,\"spend\":0.5,\"budget_duration\":\"1d\"}", RIGHTS_OF_LITELLM,
         1500000000, 86400},
        {"{\"max_budget\":2,\"budget_duration\":\"soon\"}", RIGHTS_OF_DATABASE, 2000000000, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rights_limits limits = limits_of(cases[i].fields, cases[i].source);

        if (limits.budget_nano != cases[i].nano || limits.budget_period_s != cases[i].period_s)
            fail_msg("%s: %llu in %u s", cases[i].fields, (unsigned long long)limits.budget_nano,
                     limits.budget_period_s);
    }
}

/* ---- schema ---- */

static void a_second_program_opens_what_the_first_one_made(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct store *second = world_open(w->url);
    struct rights_list list;
    uint64_t gen;

    OK(w, store_key_add(w->store, &key, &tester, NULL));
    assert_int_equal(store_load(second, &list, &gen), 0);
    assert_int_equal(list.num_keys, 1);
    assert_int_equal(gen, 1);
    rights_list_deinit(&list);
    store_free(second);
}

static void a_newer_programs_database_is_left_alone(void **state)
{
    WORLD(w);
    struct store *store = world_open(w->url);
    uint64_t gen;

    OK(w, store_generation(w->store, &gen));
    world_do(w, "update @meta set value = '99' where name = 'schema'");
    assert_int_equal(store_generation(store, &gen), 0); /* which says that we may read it */
    store_free(store);
    world_do(w, "update @meta set value = '98' where name = 'min_reader'");
    store = world_open(w->url);
    assert_int_equal(store_generation(store, &gen), ERR_BAD_STATE);
    assert_int_equal(store_state(store), STORE_FOREIGN);
    assert_non_null(strstr(store_why(store), "newer tranche"));
    assert_int_equal(store_generation(store, &gen), ERR_BAD_STATE); /* also while it waits */
    store_free(store);
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_key_is_read_as_it_was_written, s), T(a_key_is_found_by_hash_alias_and_id, s),              \
        T(a_hash_and_an_alias_are_one_keys, s), T(a_key_of_no_team_is_refused, s),                 \
        T(what_is_no_json_is_refused, s), T(a_key_changes_as_a_whole_and_only_as_it_was_read, s),  \
        T(a_block_is_a_change_and_so_is_its_end, s), T(a_deleted_key_is_among_the_deleted, s),     \
        T(a_new_hash_keeps_the_id_and_the_old_one_is_good_for_its_grace, s),                       \
        T(without_grace_the_old_hash_is_nobodys, s), T(a_hash_in_its_grace_is_not_given_again, s), \
        T(all_is_loaded_as_rights, s), T(more_keys_than_a_page_are_all_loaded, s),                 \
        T(a_list_has_what_its_filter_asks_for, s), T(pages_follow_one_another_in_order, s),        \
        T(a_team_is_added_changed_blocked_listed_and_deleted_with_its_keys, s),                    \
        T(each_change_stands_in_the_audit_with_who_made_it, s),                                    \
        T(a_second_program_opens_what_the_first_one_made, s),                                      \
        T(a_batch_keeps_what_was_taken_and_drops_what_was_refused, s),                             \
        T(an_import_is_whole_and_a_second_one_changes_nothing, s),                                 \
        T(a_refreshed_list_is_what_is_there, s), T(what_changed_without_a_word_is_read_anew, s),   \
        T(a_newer_programs_database_is_left_alone, s)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_dollars_less_what_litellm_has_spent), BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
