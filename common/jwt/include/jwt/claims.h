/* Who a verified token speaks for, by LiteLLM's rules (litellm_jwtauth; tenants statements A53,
 * A54): an administrator, or one of the teams that it names. Pure; which of the teams exist is for
 * the caller to find. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "json/json.h"

#define JWT_MAX_TEAMS 256 /* that one token may name; a token has no room for many more */

/* Where a claim is: names with dots between, as deep as they go; a dot inside a name stands behind
 * a backslash ("kubernetes\.io.namespace"). NULL: not asked for. */
struct jwt_rules {
    char *admin_scope; /* of the claim `scope`: who has it administers */
    char *user_id, *team_id, *team_ids, *team_alias, *roles; /* where these claims are */
    char *team_id_default; /* for a token that names no team at all */
    char **admin_roles;    /* of `roles`: as admin_scope */
    size_t num_admin_roles;
};

enum jwt_person {
    JWT_PERSON_ADMIN,
    JWT_PERSON_TEAM,       /* of the teams, in the order in which they are to be looked for */
    JWT_PERSON_NO_TEAM,    /* it names none */
    JWT_PERSON_WRONG_TEAM, /* the client asked for a team that the token does not name */
    JWT_PERSON_MALFORMED   /* a claim that was asked for has another type than it must have */
};

struct jwt_team {
    const char *name; /* borrowed from the claims or the rules; at most RIGHTS_NAME_MAX bytes */
    bool is_alias;
};

struct jwt_identity {
    const char *user; /* borrowed from the claims; NULL: none */
    struct jwt_team teams[JWT_MAX_TEAMS];
    size_t num_teams;
};

/** A claim by its path. @return of `claims`; NULL: it is not there */
struct json *jwt_claim(const struct json *claims, const char *path);

/**
 * Who it is.
 *
 * @param claims  of a token that is good
 * @param wanted  the team that the client asked for (x-litellm-team-id), which the token must name;
 *                not terminated; NULL: it asked for none
 * @param out     the caller's; `teams` has what the person may be looked for as
 */
enum jwt_person jwt_identify(const struct json *claims, const struct jwt_rules *rules,
                             const char *wanted, size_t wanted_len, struct jwt_identity *out);
