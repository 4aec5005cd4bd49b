/* See admin_calls.h. */
#include "admin_calls.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"

static void on_call(void *arg, struct call *call)
{
    const struct admin_calls *admin = arg;
    struct manage manage = *admin->manage;
    struct manage_answer answer;
    int ret;

    if (!call_is_wanted(call, clock_now_ms())) { /* nobody would hear what was done */
        call_answer(&call, KEEPER_NO_MEMORY, NULL, 0);
        return;
    }
    manage.now_unix_ms = clock_unix_ms();
    ret = manage_call(&manage, call->bytes, call->len, &answer);
    if (ret != 0)
        log_error("a request of the management API was not answered: %s", err_str(ret));
    if (answer.changed)
        admin->changed(admin->arg);
    call_answer(&call, (unsigned)answer.status, strbuf_str(&answer.body), answer.body.len);
    if (answer.body.data != NULL) /* a new key is in there */
        secret_wipe(answer.body.data, answer.body.len);
    strbuf_deinit(&answer.body);
    if (admin->answered != NULL)
        admin->answered(admin->arg);
}

void admin_calls_serve(struct admin_calls *admin, struct calls *calls)
{
    calls_serve(calls, KEEPER_ADMIN_CALL, on_call, admin);
}
