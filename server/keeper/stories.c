/* See stories.h. The events are those of `GET /journal/batches/{id}` (manage/manage.h). */
#include "stories.h"

#include "common/clock.h"
#include "common/log.h"
#include "journal/wire.h"
#include "store/store.h"

static enum wire_story_end read_story(const struct manage *manage, const struct wire_story *asked,
                                      struct strbuf *out)
{
    const struct manage_story story = {.native = asked->native,
                                       .account = asked->account,
                                       .all = asked->all != 0,
                                       .owner = asked->owner};
    int ret;

    if (manage->store == NULL || !manage->journal)
        return WIRE_NO_STORY;
    ret = manage_batch_story(manage, &story, out);
    if (ret != 0)
        strbuf_reset(out);
    if (ret == 0 || ret == ERR_NOT_FOUND)
        return ret == 0 ? WIRE_STORY : WIRE_NO_STORY;
    log_debug("the story of a batch cannot be read: %s", store_why(manage->store));
    return WIRE_STORY_LATER;
}

static void on_story(void *arg, struct call *call)
{
    struct manage manage = *(const struct manage *)arg;
    struct strbuf out = STRBUF_INIT;
    struct wire_story asked;
    unsigned end = WIRE_UNREADABLE;

    if (!call_is_wanted(call, clock_now_ms())) {
        call_answer(&call, WIRE_STORY_LATER, NULL, 0);
        return;
    }
    manage.now_unix_ms = clock_unix_ms();
    if (wire_story_read(call->bytes, call->len, &asked) == 0)
        end = read_story(&manage, &asked, &out);
    call_answer(&call, end, strbuf_str(&out), out.len);
    strbuf_deinit(&out);
}

void stories_serve(struct manage *manage, struct calls *calls)
{
    calls_serve(calls, KEEPER_STORY, on_story, manage);
}
