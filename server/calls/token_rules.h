/* What a call of an account by Entra ID does while there is no token for it, and after a 401 (entra
 * statements 13, 16 to 19). Pure: attempt_token.c looks at the cell and at the clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A token this young is not thrown away for a 401: it is not its age that is wrong (entra statement
 * 16). It also bounds how often refusals make anybody ask for a token. */
#define TOKEN_YOUNG_MS 5000

/* The token of an account, as it is seen now. */
struct token_view {
    bool there;       /* a token that has not ended */
    bool refused;     /* ... for which a 401 came back, to whoever */
    uint64_t number;  /* ... 0: it is not there */
    bool heard;       /* who asked for a better one has his answer */
    bool failing;     /* the last token call failed */
    uint64_t wait_ms; /* until the next token call may be made; 0: it is due, or under way */
};

enum token_step {
    TOKEN_SEND, /* with the token that is there */
    TOKEN_WAIT, /* one is coming */
    TOKEN_NONE  /* none will come in time */
};

/**
 * What to do now.
 *
 * A token that was refused to somebody else is sent when no better one will come: the 401 may have
 * been that account's own affair. One that was refused to this very call is not.
 *
 * @param refused_here  number of the token that was refused to this call; 0: none was
 * @param waited_ms     how long it has waited for a token so far
 * @param left_ms       what is left of the call's own time; UINT64_MAX: it has no limit
 */
enum token_step token_step(const struct token_view *view, uint64_t refused_here, uint64_t waited_ms,
                           uint64_t left_ms);

/* A 401. */
struct token_refusal {
    bool denied;      /* PermissionDenied: the token is good, a role is missing */
    bool sent_again;  /* it is the second one of this call */
    bool can_go_back; /* the request can be sent again: it has no source, or one that rewinds */
    uint64_t number;  /* of the token that was sent */
    uint64_t age_ms;  /* ... since it was obtained */
    uint64_t current; /* number of the token that is there now; 0: none */
};

struct token_verdict {
    bool discard; /* that token is gone for everybody */
    bool again;   /* the request is sent once more, with another token */
};

/** What a 401 means. A token that was replaced meanwhile is not thrown away, and the call goes on
 * with the new one. */
struct token_verdict token_judge(const struct token_refusal *refusal);

/** When a client may come back who got no token: the next token call is made in `wait_ms`. */
int64_t token_retry_after_ms(uint64_t wait_ms);
