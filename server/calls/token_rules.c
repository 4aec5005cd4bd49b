/* See token_rules.h. */
#include "token_rules.h"

/* A token call takes 10 s at most (entra statement 23): who waits so long has seen its end. Where the
 * one before failed, this one may take as long in vain, and others may serve the request. */
#define PATIENCE_MS      10000
#define PATIENCE_DOWN_MS 1500
#define LEAST_RETRY_MS   1000
/* With less of its time a call that has waited is not sent: that it then came late would be told of
 * the deployment. */
#define LEAST_LEFT_MS    500

static bool is_patient(const struct token_view *view, uint64_t waited_ms, uint64_t left_ms)
{
    return !view->heard && view->wait_ms == 0 && left_ms > LEAST_LEFT_MS &&
           waited_ms < (view->failing ? PATIENCE_DOWN_MS : PATIENCE_MS);
}

enum token_step token_step(const struct token_view *view, uint64_t refused_here, uint64_t waited_ms,
                           uint64_t left_ms)
{
    bool in_time = waited_ms == 0 || left_ms >= LEAST_LEFT_MS;
    bool usable = view->there && view->number != refused_here && in_time;

    if (usable && !view->refused)
        return TOKEN_SEND;
    if (is_patient(view, waited_ms, left_ms))
        return TOKEN_WAIT;
    return usable ? TOKEN_SEND : TOKEN_NONE;
}

struct token_verdict token_judge(const struct token_refusal *r)
{
    bool newest = r->number == r->current;
    struct token_verdict verdict = {
        .discard = !r->denied && newest && r->age_ms >= TOKEN_YOUNG_MS,
        .again = !r->denied && !r->sent_again && r->can_go_back &&
                 (!newest || r->age_ms >= TOKEN_YOUNG_MS),
    };

    return verdict;
}

int64_t token_retry_after_ms(uint64_t wait_ms)
{
    return wait_ms < LEAST_RETRY_MS ? LEAST_RETRY_MS : (int64_t)wait_ms;
}
