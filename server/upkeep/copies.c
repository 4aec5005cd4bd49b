/* See copies.h. */
#include "copies.h"

#include "common/log.h"
#include "objects/ledger.h"

static void on_deleted(void *arg, const struct attempt_result *result)
{
    const struct upkeep_account *account = arg;

    if (!result->ok && !outcome_is_gone(result->upstream))
        log_warn("account %s: cannot delete the copy of a moved batch: %s",
                 upkeep_account_name(account), result->failure.message);
}

bool copies_delete(struct upkeep_account *account, const struct observation *batch)
{
    const struct runtime *rt = &account->upkeep->rt;

    if (!ledger_takes_copy(rt->inherited, account->fingerprint, batch->copy, loop_now_ms(rt->loop)))
        return false;
    if (upkeep_call_start(account, CALL_FILE_DELETE, batch->copy, NULL, on_deleted, account) == 0)
        return true;
    log_warn("account %s: cannot delete the copy %.128s: out of memory",
             upkeep_account_name(account), batch->copy);
    return false;
}
