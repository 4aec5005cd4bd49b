/* What goes between workers and the keeper about batches: structs to bytes and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "journal/wire.h"

static const struct wire_who somebody = {.owner = 7,
                                         .key = 8,
                                         .team = 9,
                                         .key_hash = "ab12",
                                         .key_alias = "nightly",
                                         .team_id = "t1",
                                         .user_id = "u",
                                         .tags = "[\"a\"]",
                                         .group = "gpt",
                                         .endpoint = "/v1/chat/completions",
                                         .file = "file-1",
                                         .original = "file-0",
                                         .home = 70,
                                         .delete_after_s = 3600,
                                         .lines = 10};

static void assert_who(const struct wire_who *who)
{
    assert_int_equal(who->owner, 7);
    assert_int_equal(who->key, 8);
    assert_int_equal(who->team, 9);
    assert_int_equal(who->lines, 10);
    assert_string_equal(who->key_hash, "ab12");
    assert_string_equal(who->key_alias, "nightly");
    assert_string_equal(who->team_id, "t1");
    assert_string_equal(who->user_id, "u");
    assert_string_equal(who->tags, "[\"a\"]");
    assert_string_equal(who->group, "gpt");
    assert_string_equal(who->endpoint, "/v1/chat/completions");
    assert_string_equal(who->file, "file-1");
    assert_string_equal(who->original, "file-0");
    assert_int_equal(who->home, 70);
    assert_int_equal(who->delete_after_s, 3600);
}

static void an_intent_comes_back_as_it_was(void **state)
{
    struct wire_intent in = {.kind = WIRE_CREATE,
                             .anyway = 1,
                             .id = "0123456789abcdef0123456789abcdef",
                             .claim = "c",
                             .nonce = "n",
                             .name = "name",
                             .request = 11,
                             .ledger = 12,
                             .deployment = 13,
                             .account = 14,
                             .tokens = 15,
                             .nano = 16,
                             .who = somebody,
                             .hook_url = "https://h.example/",
                             .hook_secret = "a secret",
                             .hook_types = 5},
                       out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    in.scopes[WIRE_DEPLOYMENT] = (struct wire_scope){1, 2, WIRE_UNLIMITED, WIRE_UNLIMITED, 0};
    in.scopes[WIRE_TEAM] = (struct wire_scope){3, 4, 5, 6, 7};
    assert_int_equal(wire_intent_write(&in, &text), 0);
    assert_int_equal(wire_intent_read(text.data, text.len, &out), 0);
    assert_int_equal(out.kind, WIRE_CREATE);
    assert_int_equal(out.anyway, 1);
    assert_string_equal(out.id, in.id);
    assert_string_equal(out.claim, "c");
    assert_string_equal(out.nonce, "n");
    assert_string_equal(out.name, "name");
    assert_int_equal(out.request, 11);
    assert_int_equal(out.ledger, 12);
    assert_int_equal(out.deployment, 13);
    assert_int_equal(out.account, 14);
    assert_int_equal(out.tokens, 15);
    assert_int_equal(out.nano, 16);
    assert_memory_equal(out.scopes, in.scopes, sizeof(in.scopes));
    assert_who(&out.who);
    assert_string_equal(out.hook_url, in.hook_url);
    assert_string_equal(out.hook_secret, in.hook_secret);
    assert_int_equal(out.hook_types, 5);
    strbuf_deinit(&text);
}

static void a_text_that_is_null_comes_back_empty(void **state)
{
    struct wire_drop in = {.why = WIRE_WAS_LOST, .ledger = 5}, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_drop_write(&in, &text), 0);
    assert_int_equal(wire_drop_read(text.data, text.len, &out), 0);
    assert_string_equal(out.id, "");
    assert_string_equal(out.claim, "");
    assert_string_equal(out.nonce, "");
    assert_int_equal(out.why, WIRE_WAS_LOST);
    assert_int_equal(out.ledger, 5);
    strbuf_deinit(&text);
}

static void a_verdict_has_the_answer_of_then(void **state)
{
    struct wire_verdict in = {.end = WIRE_DONE,
                              .epoch = 3,
                              .scope = WIRE_TEAM,
                              .by = WIRE_BY_BATCHES,
                              .used = 4,
                              .limit = 5,
                              .wait_ms = 6,
                              .answer = {200, 77, "batch_1-t", "nonce", "{\"id\":1}", 9}},
                        out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_verdict_write(&in, &text), 0);
    assert_int_equal(wire_verdict_read(text.data, text.len, &out), 0);
    assert_int_equal(out.end, WIRE_DONE);
    assert_int_equal(out.used, 4);
    assert_int_equal(out.limit, 5);
    assert_int_equal(out.wait_ms, 6);
    assert_int_equal(out.answer.status, 200);
    assert_int_equal(out.answer.deployment, 77);
    assert_string_equal(out.answer.id, "batch_1-t");
    assert_string_equal(out.answer.body, "{\"id\":1}");
    assert_int_equal(out.answer.age_ms, 9);
    strbuf_deinit(&text);
}

static void a_batch_is_seen_with_its_usage(void **state)
{
    static struct wire_seen in, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    in = (struct wire_seen){.native = "batch_1", .status = "completed", .total = 3, .num_usage = 2};
    in.usage[0] = (struct wire_usage){"gpt-4o", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    in.usage[1] = (struct wire_usage){
        .model = "gpt-4o-mini", .ok = 7, .reasoning = UINT64_MAX, .unmeasured = 1};
    assert_int_equal(wire_seen_write(&in, &text), 0);
    assert_int_equal(wire_seen_read(text.data, text.len, &out), 0);
    assert_string_equal(out.native, "batch_1");
    assert_int_equal(out.num_usage, 2);
    assert_string_equal(out.usage[0].model, "gpt-4o");
    assert_int_equal(out.usage[0].cached, 4);
    assert_int_equal(out.usage[0].long_out, 9);
    assert_int_equal(out.usage[0].unmeasured, 10);
    assert_string_equal(out.usage[1].model, "gpt-4o-mini");
    assert_true(out.usage[1].reasoning == UINT64_MAX);
    strbuf_deinit(&text);
}

static void a_step_of_a_move_is_read_back(void **state)
{
    struct wire_move in = {.step = WIRE_MOVE_MADE,
                           .account = 7,
                           .native = "batch_1",
                           .nonce = "0123456789abcdef0123456789abcdef",
                           .to = 8,
                           .wait_ms = 9,
                           .to_account = 10,
                           .to_native = "batch_2",
                           .status = "validating",
                           .tokens = 11,
                           .expires_s = 12,
                           .text = "{}"},
                     out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_move_write(&in, &text), 0);
    assert_int_equal(wire_move_read(text.data, text.len, &out), 0);
    assert_int_equal(out.step, WIRE_MOVE_MADE);
    assert_int_equal(out.account, 7);
    assert_string_equal(out.native, "batch_1");
    assert_string_equal(out.nonce, in.nonce);
    assert_int_equal(out.to, 8);
    assert_int_equal(out.wait_ms, 9);
    assert_string_equal(out.why, "");
    assert_int_equal(out.to_account, 10);
    assert_string_equal(out.to_native, "batch_2");
    assert_string_equal(out.status, "validating");
    assert_string_equal(out.id, "");
    assert_int_equal(out.tokens, 11);
    assert_int_equal(out.expires_s, 12);
    assert_string_equal(out.text, "{}");
    strbuf_deinit(&text);
}

static void what_is_due_is_a_list(void **state)
{
    static struct wire_due_list in, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    in = (struct wire_due_list){.num = WIRE_MAX_DUE, .wait_ms = 1000};
    for (uint32_t i = 0; i < WIRE_MAX_DUE; i++)
        in.due[i] = (struct wire_due){.task = WIRE_FIND, .tries = i, .nonce = "n"};
    assert_int_equal(wire_due_list_write(&in, &text), 0);
    assert_int_equal(wire_due_list_read(text.data, text.len, &out), 0);
    assert_int_equal(out.num, WIRE_MAX_DUE);
    assert_int_equal(out.due[WIRE_MAX_DUE - 1].tries, WIRE_MAX_DUE - 1);
    assert_string_equal(out.due[WIRE_MAX_DUE - 1].nonce, "n");
    strbuf_deinit(&text);
}

static void claims_that_are_worked_on_are_named(void **state)
{
    static struct wire_due_ask in, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    in = (struct wire_due_ask){.max = 3, .rebuilt = 7, .unread = 1, .num_held = 2};
    in.held[1] = (struct wire_held){.account = 9, .native = "batch_2"};
    assert_int_equal(wire_due_ask_write(&in, &text), 0);
    assert_int_equal(wire_due_ask_read(text.data, text.len, &out), 0);
    assert_int_equal(out.rebuilt, 7);
    assert_int_equal(out.num_held, 2);
    assert_string_equal(out.held[0].native, "");
    assert_int_equal(out.held[1].account, 9);
    assert_string_equal(out.held[1].native, "batch_2");
    strbuf_deinit(&text);
}

static void what_is_beyond_its_bound_is_not_written(void **state)
{
    static struct wire_seen seen;
    char long_id[WIRE_MAX_ID + 2];
    struct strbuf text = STRBUF_INIT;

    (void)state;
    strbuf_adds(&text, "before");
    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    seen.native = long_id;
    assert_int_equal(wire_seen_write(&seen, &text), ERR_LIMIT);
    assert_string_equal(strbuf_str(&text), "before");
    long_id[WIRE_MAX_ID] = '\0';
    seen.num_usage = WIRE_MAX_MODELS + 1;
    assert_int_equal(wire_seen_write(&seen, &text), ERR_LIMIT);
    assert_string_equal(strbuf_str(&text), "before");
    seen.num_usage = 0;
    assert_int_equal(wire_seen_write(&seen, &text), 0);
    strbuf_deinit(&text);
}

/* Each cut, and each changed byte, is read or refused, and nothing outside of the bytes is looked at:
 * they stand in a block of their own, which AddressSanitizer guards. */
static void bytes_that_are_no_message_are_refused(void **state)
{
    struct wire_intent in = {.id = "id", .who = somebody}, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_intent_write(&in, &text), 0);
    for (size_t len = 0; len < text.len; len++) {
        char *cut = malloc(len > 0 ? len : 1);

        memcpy(cut, text.data, len);
        assert_int_equal(wire_intent_read(cut, len, &out), ERR_SYNTAX);
        free(cut);
    }
    for (size_t at = 0; at < text.len; at++) {
        char *other = malloc(text.len);

        memcpy(other, text.data, text.len);
        other[at] = (char)~other[at];
        if (wire_intent_read(other, text.len, &out) == 0)
            assert_in_range(strlen(out.who.group), 0, WIRE_MAX_NAME);
        free(other);
    }
    strbuf_addc(&text, '\0');
    assert_int_equal(wire_intent_read(text.data, text.len, &out), ERR_SYNTAX);
    strbuf_deinit(&text);
}

static void a_message_of_another_kind_is_none(void **state)
{
    struct wire_due_ask ask = {.max = 3};
    struct wire_drop drop;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_due_ask_write(&ask, &text), 0);
    assert_int_equal(wire_drop_read(text.data, text.len, &drop), ERR_SYNTAX);
    strbuf_deinit(&text);
}

static void a_text_with_a_nul_inside_is_none(void **state)
{
    struct wire_story in = {.native = "batch_1"}, out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(wire_story_write(&in, &text), 0);
    text.data[10] = '\0'; /* behind the message's number and the text's length */
    assert_int_equal(wire_story_read(text.data, text.len, &out), ERR_SYNTAX);
    strbuf_deinit(&text);
}

static void a_list_longer_than_its_bound_is_none(void **state)
{
    static struct wire_due_list list;
    struct strbuf text = STRBUF_INIT;
    uint32_t many = UINT32_MAX;

    (void)state;
    assert_int_equal(wire_due_list_write(&list, &text), 0);
    memcpy(text.data + 4, &many, sizeof(many));
    assert_int_equal(wire_due_list_read(text.data, text.len, &list), ERR_SYNTAX);
    strbuf_deinit(&text);
}

static void scopes_have_names(void **state)
{
    char text[WIRE_SCOPE_TEXT];

    (void)state;
    wire_scope_text(WIRE_DEPLOYMENT, 0xab, text);
    assert_string_equal(text, "d:000000ab");
    wire_scope_text(WIRE_KEY, UINT64_MAX, text);
    assert_string_equal(text, "k:ffffffffffffffff");
    wire_scope_text(WIRE_TEAM, 1, text);
    assert_string_equal(text, "t:0000000000000001");
}

static void what_became_of_a_file_comes_back_as_it_was(void **state)
{
    struct wire_deletion in = {.end = WIRE_LISTED,
                               .account = 7,
                               .native = "batch_1",
                               .input = "file-1",
                               .output = "file-2",
                               .why = "its provider answered 503"},
                         out;
    struct strbuf text = STRBUF_INIT;
    char much[WIRE_MAX_WHY + 2];

    (void)state;
    assert_int_equal(wire_deletion_write(&in, &text), 0);
    assert_int_equal(wire_deletion_read(text.data, text.len, &out), 0);
    assert_int_equal(out.end, WIRE_LISTED);
    assert_int_equal(out.account, 7);
    assert_string_equal(out.native, "batch_1");
    assert_string_equal(out.input, "file-1");
    assert_string_equal(out.output, "file-2");
    assert_string_equal(out.error, "");
    assert_string_equal(out.why, "its provider answered 503");
    assert_int_equal(wire_deletion_read(text.data, text.len - 1, &out), ERR_SYNTAX);
    memset(much, 'x', sizeof(much));
    much[sizeof(much) - 1] = '\0';
    in.why = much;
    strbuf_reset(&text);
    assert_int_equal(wire_deletion_write(&in, &text), ERR_LIMIT);
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_intent_comes_back_as_it_was),
        cmocka_unit_test(what_became_of_a_file_comes_back_as_it_was),
        cmocka_unit_test(a_text_that_is_null_comes_back_empty),
        cmocka_unit_test(a_verdict_has_the_answer_of_then),
        cmocka_unit_test(a_batch_is_seen_with_its_usage),
        cmocka_unit_test(a_step_of_a_move_is_read_back),
        cmocka_unit_test(what_is_due_is_a_list),
        cmocka_unit_test(claims_that_are_worked_on_are_named),
        cmocka_unit_test(what_is_beyond_its_bound_is_not_written),
        cmocka_unit_test(bytes_that_are_no_message_are_refused),
        cmocka_unit_test(a_message_of_another_kind_is_none),
        cmocka_unit_test(a_text_with_a_nul_inside_is_none),
        cmocka_unit_test(a_list_longer_than_its_bound_is_none),
        cmocka_unit_test(scopes_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
