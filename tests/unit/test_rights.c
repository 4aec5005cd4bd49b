#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/rights.c"
#include "balancer/rights_publish.c"
#include "hammer.h"
#include "crypto/ids.h"
#include "rights_world.h"

#define NOW INT64_C(1800000000000)

static struct rights_table *table;
static struct rights_list list;
static struct rights found;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(rights_table_new(16, &table), 0);
    memset(&list, 0, sizeof(list));
    memset(&found, 0, sizeof(found));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rights_list_deinit(&list);
    rights_table_free(table);
    return 0;
}

static int publish_by(uint32_t writer, bool complete)
{
    const struct rights_list *lists[] = {&list};

    return rights_publish(table, writer, lists, 1, complete);
}

static bool find(const char *text)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    hash_of(text, hash);
    return rights_find(table, hash, &found);
}

static enum rights_model use(const char *text, const char *model)
{
    assert_true(find(text));
    return rights_may_use(table, &found, model, strlen(model));
}

static void before_anything_is_published_no_key_is_known_nor_certainly_wrong(void **state)
{
    (void)state;
    assert_false(find("sk-a"));
    assert_false(rights_is_complete(table));
    assert_int_equal(rights_generation(table), 0);
    assert_int_equal(rights_num_keys(table), 0);
    assert_int_equal(rights_may_use(table, &found, "m", 1), RIGHTS_MODEL_NOT_OF_KEY);
}

static void what_a_key_has_is_found_by_its_hash(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", NULL);

    (void)state;
    key->alias = own("alice");
    key->limits.enqueued_tokens = 5000;
    key->limits.file_expiry_s = 3600;
    key->routes = RIGHTS_FILES;
    key->source = RIGHTS_OF_DATABASE;
    key->expires_unix_ms = NOW;
    memcpy(key->tail, "WXYZ", 5);
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_memory_equal(found.hash, key->hash, RIGHTS_HASH_BYTES);
    assert_string_equal(found.alias, "alice");
    assert_string_equal(found.tail, "WXYZ");
    assert_string_equal(found.team_name, "");
    assert_int_equal(found.key_limits.enqueued_tokens, 5000);
    assert_int_equal(found.key_limits.file_expiry_s, 3600);
    assert_true(found.key_limits.open_batches == RIGHTS_UNLIMITED);
    assert_true(found.team_limits.enqueued_tokens == RIGHTS_UNLIMITED);
    assert_int_equal(found.routes, RIGHTS_FILES);
    assert_int_equal(found.source, RIGHTS_OF_DATABASE);
    assert_true(found.expires_unix_ms == NOW);
    assert_false(found.admin || found.key_blocked || found.team_blocked);
    assert_false(find("sk-b"));
    assert_int_equal(rights_num_keys(table), 1);
}

static void a_team_owns_what_its_keys_make_else_the_key_itself_does(void **state)
{
    (void)state;
    add_team_of(&list, "t1")->limits.open_batches = 3;
    (void)add_key_of(&list, "sk-a", NULL);
    (void)add_key_of(&list, "sk-b", "t1");
    (void)add_key_of(&list, "sk-c", "nobody tells of it");
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_true(found.owner == ids_owner_fingerprint("key:sk-a"));
    assert_true(found.key == found.owner && found.team == 0);
    assert_true(find("sk-b"));
    assert_true(found.owner == ids_owner_fingerprint("team:t1"));
    assert_true(found.team == found.owner && found.key == ids_owner_fingerprint("key:sk-b"));
    assert_string_equal(found.team_name, "t1");
    assert_int_equal(found.team_limits.open_batches, 3);
    assert_true(found.key_limits.open_batches == RIGHTS_UNLIMITED);
    assert_true(find("sk-c"));
    assert_true(found.owner == ids_owner_fingerprint("team:nobody tells of it"));
    assert_true(found.team == found.owner && found.team_limits.open_batches == RIGHTS_UNLIMITED);
}

static void a_key_that_is_blocked_or_expired_or_of_a_blocked_team_is_not_good(void **state)
{
    struct rights rights = {0};

    (void)state;
    assert_int_equal(rights_judge(&rights, NOW), RIGHTS_GOOD);
    rights.expires_unix_ms = NOW + 1;
    assert_int_equal(rights_judge(&rights, NOW), RIGHTS_GOOD);
    rights.team_blocked = true;
    assert_int_equal(rights_judge(&rights, NOW), RIGHTS_TEAM_BLOCKED);
    rights.expires_unix_ms = NOW;
    assert_int_equal(rights_judge(&rights, NOW), RIGHTS_EXPIRED);
    rights.key_blocked = true;
    assert_int_equal(rights_judge(&rights, NOW), RIGHTS_KEY_BLOCKED);
}

static void a_block_of_a_key_or_a_team_is_found(void **state)
{
    (void)state;
    add_team_of(&list, "t1")->blocked = true;
    add_key_of(&list, "sk-a", NULL)->blocked = true;
    (void)add_key_of(&list, "sk-b", "t1");
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_true(found.key_blocked && !found.team_blocked);
    assert_true(find("sk-b"));
    assert_true(!found.key_blocked && found.team_blocked);
}

static void a_model_is_allowed_by_its_name_or_by_a_pattern(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", NULL);

    (void)state;
    add_model(&key->models, "gpt-4o");
    add_model(&key->models, "team-a/*");
    add_model(&key->models, "a name of more than one word of eight bytes");
    add_model(&add_key_of(&list, "sk-star", NULL)->models, "*");
    (void)add_key_of(&list, "sk-none", NULL);
    add_key_of(&list, "sk-all", NULL)->models.all = true;
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(use("sk-a", "gpt-4o"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "team-a/x"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "team-a/"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "a name of more than one word of eight bytes"),
                     RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "gpt-4o-mini"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-a", "gpt-4"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-a", "team-a"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-a", "GPT-4o"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-a", ""), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-star", "anything"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-all", "anything"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-none", "gpt-4o"), RIGHTS_MODEL_NOT_OF_KEY);
}

static void a_key_and_its_team_must_both_allow_a_model(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", "t1");
    struct rights_team *team = add_team_of(&list, "t1");

    (void)state;
    add_model(&key->models, "m1");
    add_model(&key->models, "m2");
    add_model(&team->models, "m2");
    add_model(&team->models, "m3");
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(use("sk-a", "m1"), RIGHTS_MODEL_NOT_OF_TEAM);
    assert_int_equal(use("sk-a", "m2"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "m3"), RIGHTS_MODEL_NOT_OF_KEY);
}

static void a_team_is_found_by_its_id_and_by_an_alias_of_its_own(void **state)
{
    struct rights_team *team = add_team_of(&list, "t1");

    (void)state;
    team->alias = own("Team one");
    team->limits.open_batches = 7;
    add_model(&team->models, "m1");
    add_alias(&team->models, "short", "m1");
    add_team_of(&list, "t2")->alias = own("both");
    add_team_of(&list, "t3")->alias = own("both");
    add_key_of(&list, "sk-a", "t1")->models.all = true;
    assert_int_equal(publish_by(1, true), 0);
    assert_true(rights_find_team(table, "t1", 2, false, &found));
    assert_int_equal(found.owner, ids_owner_fingerprint("team:t1"));
    assert_int_equal(found.team, found.owner);
    assert_int_equal(found.team_limits.open_batches, 7);
    assert_int_equal(found.key_limits.open_batches, RIGHTS_UNLIMITED);
    assert_string_equal(found.team_name, "t1");
    assert_false(found.admin);
    assert_int_equal(rights_may_use(table, &found, "m1", 2), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(rights_may_use(table, &found, "m2", 2), RIGHTS_MODEL_NOT_OF_TEAM);
    assert_true(rights_find_team(table, "Team one", 8, true, &found));
    assert_string_equal(found.team_name, "t1");
    assert_false(rights_find_team(table, "Team one", 8, false, &found));
    assert_false(rights_find_team(table, "t1", 2, true, &found));
    assert_false(rights_find_team(table, "t", 1, false, &found));
    assert_false(rights_find_team(table, "both", 4, true, &found));
    assert_true(rights_find_team(table, "t3", 2, false, &found));
    assert_int_equal(rights_num_keys(table), 1);
}

/* Teams are found in the same index as keys: no text of a client leads to one, not even with the NUL
 * that stands before the name. */
static void no_key_opens_a_team(void **state)
{
    static const char text[] = "id\0t1";
    unsigned char hash[SHA256_BYTES];
    static const char *const texts[] = {"t1", "idt1", "id", "team:t1"};

    (void)state;
    (void)add_team_of(&list, "t1");
    assert_int_equal(publish_by(1, true), 0);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(find(texts[i]));
    sha256_of(&(struct sha256_piece){text, sizeof(text) - 1}, 1, hash);
    assert_false(rights_find(table, hash, &found));
}

static void a_blocked_team_is_found_so(void **state)
{
    (void)state;
    add_team_of(&list, "t1")->blocked = true;
    assert_int_equal(publish_by(1, true), 0);
    assert_true(rights_find_team(table, "t1", 2, false, &found));
    assert_int_equal(rights_judge(&found, 0), RIGHTS_TEAM_BLOCKED);
}

static void all_team_models_are_what_the_team_may_and_none_without_one(void **state)
{
    (void)state;
    add_key_of(&list, "sk-a", "t1")->models.of_team = true;
    add_key_of(&list, "sk-b", NULL)->models.of_team = true;
    add_key_of(&list, "sk-c", "unknown")->models.of_team = true;
    add_model(&add_team_of(&list, "t1")->models, "m1");
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(use("sk-a", "m1"), RIGHTS_MODEL_ALLOWED);
    assert_int_equal(use("sk-a", "m2"), RIGHTS_MODEL_NOT_OF_TEAM);
    assert_int_equal(use("sk-b", "m1"), RIGHTS_MODEL_NOT_OF_KEY);
    assert_int_equal(use("sk-c", "m1"), RIGHTS_MODEL_NOT_OF_KEY);
}

static void an_admin_key_may_use_every_model(void **state)
{
    (void)state;
    add_key_of(&list, "sk-a", NULL)->admin = true;
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(use("sk-a", "m1"), RIGHTS_MODEL_ALLOWED);
    assert_true(found.admin);
}

static void a_key_that_went_meanwhile_may_use_nothing(void **state)
{
    (void)state;
    add_key_of(&list, "sk-a", NULL)->admin = true;
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    rights_list_deinit(&list);
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(rights_may_use(table, &found, "m1", 2), RIGHTS_MODEL_NOT_OF_KEY);
    assert_false(rights_resolve_alias(table, &found, "m1", 2, (char[RIGHTS_NAME_MAX + 1]){0}));
}

static void an_alias_is_the_keys_own_else_the_teams(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", "t1");
    struct rights_team *team = add_team_of(&list, "t1");
    char longest[RIGHTS_NAME_MAX + 1], out[RIGHTS_NAME_MAX + 1];

    (void)state;
    memset(longest, 'x', RIGHTS_NAME_MAX);
    longest[RIGHTS_NAME_MAX] = '\0';
    add_model(&key->models, "fast");
    add_alias(&key->models, "fast", "gpt-4o-mini");
    add_alias(&key->models, "longest", longest);
    add_alias(&team->models, "fast", "of the team");
    add_alias(&team->models, "deep", "o3*");
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_true(rights_resolve_alias(table, &found, "fast", 4, out));
    assert_string_equal(out, "gpt-4o-mini");
    assert_true(rights_resolve_alias(table, &found, "longest", 7, out));
    assert_string_equal(out, longest);
    assert_true(rights_resolve_alias(table, &found, "deep", 4, out));
    assert_string_equal(out, "o3*");
    assert_false(rights_resolve_alias(table, &found, "fas", 3, out));
    assert_false(rights_resolve_alias(table, &found, "deeper", 6, out));
}

static void assert_names(const char *const *wanted)
{
    char out[RIGHTS_NAME_MAX + 1];
    uint32_t i = 0;

    for (; wanted[i] != NULL; i++) {
        assert_true(rights_name_at(table, &found, i, out));
        assert_string_equal(out, wanted[i]);
    }
    assert_false(rights_name_at(table, &found, i, out));
    assert_false(rights_name_at(table, &found, i + 1, out));
}

static void names_of_a_key_are_its_own_then_its_teams(void **state)
{
    static const char *const of_key[] = {"a", "", "fast", "deep", NULL};
    static const char *const of_team[] = {"b", "c", "deep", NULL};
    struct rights_key *key = add_key_of(&list, "sk-a", "t1");
    struct rights_team *team;

    (void)state;
    add_model(&key->models, "a");
    add_model(&key->models, "gpt*");
    add_alias(&key->models, "fast", "x");
    add_alias(&key->models, "a", "x"); /* it is there already */
    team = add_team_of(&list, "t1");
    add_model(&team->models, "b");
    add_model(&team->models, "c");
    add_alias(&team->models, "deep", "y");
    add_key_of(&list, "sk-b", "t1")->models.of_team = true;
    (void)add_key_of(&list, "sk-c", NULL);
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_names(of_key);
    assert_true(find("sk-b"));
    assert_names(of_team);
    assert_true(find("sk-c"));
    assert_names((const char *const[]){NULL});
}

static void of_several_lists_the_first_one_that_has_a_key_or_a_team_wins(void **state)
{
    struct rights_list second = {0};
    const struct rights_list *lists[] = {&list, &second};

    (void)state;
    add_key_of(&list, "sk-a", "t1")->blocked = true;
    (void)add_key_of(&second, "sk-a", NULL);
    (void)add_key_of(&second, "sk-b", "t2");
    add_team_of(&list, "t2")->blocked = true;
    (void)add_team_of(&second, "t2");
    add_team_of(&second, "t1")->limits.uploads = 7;
    assert_int_equal(rights_publish(table, 1, lists, 2, true), 0);
    assert_true(find("sk-a"));
    assert_true(found.key_blocked);
    assert_int_equal(found.team_limits.uploads, 7); /* a team of a later list is known to all */
    assert_true(find("sk-b"));
    assert_true(found.team_blocked);
    assert_int_equal(rights_num_keys(table), 2);
    rights_list_deinit(&second);
}

static void a_newer_state_takes_the_whole_place_of_the_one_before(void **state)
{
    (void)state;
    (void)add_key_of(&list, "sk-a", NULL);
    for (unsigned i = 1; i <= 5; i++) {
        char text[16];

        assert_int_equal(publish_by(1, i % 2 == 0), 0);
        assert_true(rights_is_complete(table) == (i % 2 == 0));
        assert_int_equal(rights_generation(table), i);
        rights_list_deinit(&list);
        snprintf(text, sizeof(text), "sk-%u", i);
        (void)add_key_of(&list, text, NULL);
        assert_false(find(text));
    }
    assert_true(find("sk-4"));
    assert_false(find("sk-3"));
    assert_false(find("sk-a"));
}

static void a_writer_that_a_newer_one_has_followed_is_refused(void **state)
{
    (void)state;
    assert_int_equal(publish_by(2, true), 0);
    (void)add_key_of(&list, "sk-a", NULL);
    assert_int_equal(publish_by(1, true), ERR_BAD_STATE);
    assert_false(find("sk-a"));
    assert_int_equal(publish_by(2, true), 0);
    assert_int_equal(publish_by(3, true), 0);
    assert_int_equal(publish_by(2, true), ERR_BAD_STATE);
    assert_true(find("sk-a"));
}

static void after_a_newer_writer_was_dismissed_the_one_before_may_write_again(void **state)
{
    (void)state;
    assert_int_equal(rights_hand_back(table, 1), ERR_NOT_FOUND);
    assert_int_equal(publish_by(2, true), 0);
    assert_int_equal(rights_hand_back(table, 1), 0);
    assert_int_equal(rights_generation(table), 1);
    (void)add_key_of(&list, "sk-a", NULL);
    assert_int_equal(publish_by(0, true), ERR_BAD_STATE);
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
}

static void more_keys_than_there_is_room_for_change_nothing(void **state)
{
    char text[16];

    (void)state;
    for (int i = 0; i < 16; i++) {
        snprintf(text, sizeof(text), "sk-%d", i);
        (void)add_key_of(&list, text, NULL);
        (void)add_key_of(&list, text, NULL); /* twice is once */
    }
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(rights_num_keys(table), 16);
    (void)add_key_of(&list, "sk-16", NULL);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    assert_int_equal(rights_generation(table), 1);
    assert_true(find("sk-15"));
    assert_false(find("sk-16"));
}

static void more_teams_or_names_than_there_is_room_for_change_nothing(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", NULL);
    char name[RIGHTS_NAME_MAX + 2];

    (void)state;
    assert_int_equal(publish_by(1, true), 0);
    for (int i = 0; i < 17; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        (void)add_team_of(&list, name);
    }
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    list.num_teams--;
    rights_team_deinit(&list.teams[16]);
    assert_int_equal(publish_by(1, true), 0);
    memset(name, 'n', RIGHTS_NAME_MAX);
    name[RIGHTS_NAME_MAX] = '\0';
    for (int i = 0; i < 400; i++)
        add_model(&key->models, name);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    assert_int_equal(rights_generation(table), 2);
    assert_true(find("sk-a"));
}

static void names_that_are_too_long_are_refused_or_cut_at_a_whole_character(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-a", NULL);
    char name[RIGHTS_NAME_MAX + 2];

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    memcpy(name + 42, "\xc3\xa9", 2); /* its second byte would be the last one that fits */
    key->alias = own(name);
    assert_int_equal(publish_by(1, true), 0);
    assert_true(find("sk-a"));
    assert_int_equal(strlen(found.alias), 42);
    add_model(&key->models, name);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    rights_list_deinit(&list);
    (void)add_key_of(&list, name, NULL);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    rights_list_deinit(&list);
    (void)add_key_of(&list, "sk-a", name);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
    rights_list_deinit(&list);
    (void)add_team_of(&list, name);
    assert_int_equal(publish_by(1, true), ERR_LIMIT);
}

static void keys_whose_hashes_begin_alike_are_told_apart(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        struct rights_key *key = add_key_of(&list, "sk-a", NULL);

        memset(key->hash, 0xff, RIGHTS_HASH_BYTES);
        key->hash[RIGHTS_HASH_BYTES - 1] = (unsigned char)i;
        key->limits.uploads = (uint64_t)i;
    }
    assert_int_equal(publish_by(1, true), 0);
    for (int i = 0; i < 12; i++) {
        assert_true(rights_find(table, list.keys[i].hash, &found));
        assert_int_equal(found.key_limits.uploads, i);
    }
    list.keys[0].hash[RIGHTS_HASH_BYTES - 1] = 77;
    assert_false(rights_find(table, list.keys[0].hash, &found));
}

static void equal_lists_of_models_stand_there_once(void **state)
{
    struct rights_facts facts;
    char text[32];

    (void)state;
    for (int i = 0; i < 16; i++) {
        struct rights_key *key;

        snprintf(text, sizeof(text), "sk-%d", i);
        key = add_key_of(&list, text, NULL);
        for (int m = 0; m < 200; m++) { /* 16 of these have no room side by side */
            snprintf(text, sizeof(text), "a-model-with-a-long-name-%d", m);
            add_model(&key->models, text);
        }
    }
    assert_false(rights_at(table, 0, &found));
    assert_int_equal(publish_by(1, true), 0);
    facts = facts_of(table, rights_generation(table));
    assert_int_equal(facts.num_keys, 16);
    for (uint32_t i = 0; i < 16; i++) {
        assert_true(rights_at(table, i, &found));
        assert_memory_equal(found.hash, list.keys[i].hash, sizeof(found.hash));
    }
    assert_false(rights_at(table, 16, &found));
    assert_int_equal(use("sk-15", "a-model-with-a-long-name-199"), RIGHTS_MODEL_ALLOWED);
}

static void of_a_hundred_thousand_keys_each_is_found(void **state)
{
    struct rights_table *own_table = table;
    unsigned char hash[RIGHTS_HASH_BYTES];
    char text[16];

    (void)state;
    assert_int_equal(rights_table_new(1000000, &table), 0);
    list.keys = calloc(100000, sizeof(*list.keys));
    assert_non_null(list.keys);
    for (; list.num_keys < 100000; list.num_keys++) {
        struct rights_key *key = &list.keys[list.num_keys];

        snprintf(text, sizeof(text), "sk-%zu", list.num_keys);
        hash_of(text, key->hash);
        key->id = own(text);
        key->limits.uploads = list.num_keys;
    }
    assert_int_equal(publish_by(1, true), 0);
    assert_int_equal(rights_num_keys(table), 100000);
    for (uint64_t i = 0; i < 100000; i++) {
        assert_true(rights_find(table, list.keys[i].hash, &found));
        assert_true(found.key_limits.uploads == i);
        snprintf(text, sizeof(text), "sk-x%u", (unsigned)i);
        hash_of(text, hash);
        assert_false(rights_find(table, hash, &found));
    }
    rights_table_free(table);
    table = own_table;
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct rights_table *none = NULL;

    (void)state;
    assert_int_equal(rights_table_new(0, &none), ERR_INVALID);
    assert_int_equal(rights_table_new((4u << 20) + 1, &none), ERR_INVALID);
    assert_null(none);
    rights_table_free(NULL);
    assert_int_equal(rights_table_new(1, &none), 0);
    rights_table_free(none);
    assert_int_equal(rights_table_new(4u << 20, &none), 0); /* address space, no memory */
    rights_table_free(none);
}

/* --- processes --- */

/* Somebody else writes: this one is refused at once, and goes on when that one is dead. */
static void a_writer_that_is_killed_while_it_writes_locks_nobody_out(void **state)
{
    int ready[2];
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid != -1);
    if (pid == 0) {
        if (set_lock(table, F_WRLCK) == 0 && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(publish_by(9, true), ERR_BAD_STATE);
    assert_int_equal(rights_generation(table), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(publish_by(9, true), 0);
    close(ready[0]);
    close(ready[1]);
}

#define ROUNDS 2000

/* Each state has either key 0 or key 1, which may use the model of its number; both tell in all
 * their limits which state they are of. The first thread writes, the others read. */
static void *write_or_read(void *arg)
{
    static const char *const models[] = {"a model of the first kind", "another model altogether"};
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct rights rights;

        if (arg == NULL) {
            struct rights_key *key = &list.keys[0];

            hash_of(i % 2 == 0 ? "sk-0" : "sk-1", key->hash);
            snprintf(key->models.names[0], 64, "%s", models[i % 2]);
            key->limits.uploads = key->limits.spool_bytes = 2 * i + i % 2;
            wrong += publish_by(1, true) != 0;
            continue;
        }
        for (unsigned k = 0; k < 2; k++) {
            unsigned char hash[RIGHTS_HASH_BYTES];
            const char *mine = models[k], *other = models[1 - k];

            hash_of(k == 0 ? "sk-0" : "sk-1", hash);
            if (!rights_find(table, hash, &rights))
                continue;
            wrong += rights.key_limits.uploads != rights.key_limits.spool_bytes;
            wrong += rights.key_limits.uploads % 2 != k;
            wrong += memcmp(rights.hash, hash, sizeof(hash)) != 0;
            wrong += rights_may_use(table, &rights, other, strlen(other)) == RIGHTS_MODEL_ALLOWED;
            (void)rights_may_use(table, &rights, mine, strlen(mine));
        }
    }
    return (void *)(uintptr_t)wrong;
}

static void who_reads_while_another_writes_sees_one_whole_state(void **state)
{
    struct rights_key *key = add_key_of(&list, "sk-0", NULL);
    char room[64];

    (void)state;
    memset(room, 'x', sizeof(room) - 1);
    room[sizeof(room) - 1] = '\0';
    add_model(&key->models, room);
    hammer(write_or_read);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(before_anything_is_published_no_key_is_known_nor_certainly_wrong),
        TEST(what_a_key_has_is_found_by_its_hash),
        TEST(a_team_owns_what_its_keys_make_else_the_key_itself_does),
        TEST(a_key_that_is_blocked_or_expired_or_of_a_blocked_team_is_not_good),
        TEST(a_block_of_a_key_or_a_team_is_found),
        TEST(a_model_is_allowed_by_its_name_or_by_a_pattern),
        TEST(a_key_and_its_team_must_both_allow_a_model),
        TEST(a_team_is_found_by_its_id_and_by_an_alias_of_its_own),
        TEST(no_key_opens_a_team),
        TEST(a_blocked_team_is_found_so),
        TEST(all_team_models_are_what_the_team_may_and_none_without_one),
        TEST(an_admin_key_may_use_every_model),
        TEST(a_key_that_went_meanwhile_may_use_nothing),
        TEST(an_alias_is_the_keys_own_else_the_teams),
        TEST(names_of_a_key_are_its_own_then_its_teams),
        TEST(of_several_lists_the_first_one_that_has_a_key_or_a_team_wins),
        TEST(a_newer_state_takes_the_whole_place_of_the_one_before),
        TEST(a_writer_that_a_newer_one_has_followed_is_refused),
        TEST(after_a_newer_writer_was_dismissed_the_one_before_may_write_again),
        TEST(more_keys_than_there_is_room_for_change_nothing),
        TEST(more_teams_or_names_than_there_is_room_for_change_nothing),
        TEST(names_that_are_too_long_are_refused_or_cut_at_a_whole_character),
        TEST(keys_whose_hashes_begin_alike_are_told_apart),
        TEST(equal_lists_of_models_stand_there_once),
        TEST(of_a_hundred_thousand_keys_each_is_found),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
        TEST(a_writer_that_is_killed_while_it_writes_locks_nobody_out),
        TEST(who_reads_while_another_writes_sees_one_whole_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
