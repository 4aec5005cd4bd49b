/* See claims.h. */
#include "jwt/claims.h"

#include <string.h>

#include "common/rights.h"

#define MAX_PATH 512 /* bytes of one name of a path; config takes no longer paths */

/* One name of a path, its backslashes taken away. @return what follows its dot; NULL: it was the
 * last, or it is too long */
static const char *next_name(const char *path, char name[MAX_PATH])
{
    size_t len = 0;

    for (; *path != '\0' && *path != '.' && len < MAX_PATH - 1; path++) {
        if (path[0] == '\\' && (path[1] == '.' || path[1] == '\\'))
            path++;
        name[len++] = *path;
    }
    name[len] = '\0';
    return *path == '.' ? path + 1 : NULL;
}

struct json *jwt_claim(const struct json *claims, const char *path)
{
    char name[MAX_PATH];
    struct json *found;

    if (path == NULL || strlen(path) >= MAX_PATH)
        return NULL;
    for (;;) {
        path = next_name(path, name);
        found = json_get(claims, name);
        if (path == NULL || found == NULL)
            return found;
        claims = found;
    }
}

/* A text without NUL that a team's or a user's id can be. NULL: it is none */
static const char *id_of(const struct json *v)
{
    size_t len = 0;
    const char *text = json_str(v, &len);

    return text != NULL && len > 0 && len <= RIGHTS_NAME_MAX && strlen(text) == len ? text : NULL;
}

/* Whether words with spaces between have one (RFC 6749 section 3.3). */
static bool has_word(const char *words, const char *wanted)
{
    size_t len = strlen(wanted);

    for (;;) {
        size_t word = strcspn(words, " ");

        if (word == len && memcmp(words, wanted, len) == 0)
            return true;
        if (words[word] == '\0')
            return false;
        words += word + 1;
    }
}

/* Whether a claim has a word: a text of words, or an array of texts. */
static bool names(const struct json *claim, const char *wanted)
{
    if (json_is(claim, JSON_STRING))
        return has_word(json_str(claim, NULL), wanted);
    for (size_t i = 0; json_is(claim, JSON_ARRAY) && i < json_size(claim); i++) {
        const char *text = id_of(json_at(claim, i));

        if (text != NULL && strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

static bool is_admin(const struct json *claims, const struct jwt_rules *rules)
{
    const struct json *roles = jwt_claim(claims, rules->roles);

    if (rules->admin_scope != NULL && names(json_get(claims, "scope"), rules->admin_scope))
        return true;
    for (size_t i = 0; i < rules->num_admin_roles; i++)
        if (names(roles, rules->admin_roles[i]))
            return true;
    return false;
}

/* @return whether there was room, or nothing to add */
static bool add_team(struct jwt_identity *out, const char *name, bool is_alias)
{
    if (name == NULL || out->num_teams == JWT_MAX_TEAMS)
        return false;
    out->teams[out->num_teams++] = (struct jwt_team){.name = name, .is_alias = is_alias};
    return true;
}

/* A claim that is one id. @return false: it is there and none */
static bool add_one(const struct json *claim, bool is_alias, struct jwt_identity *out)
{
    return claim == NULL || json_is(claim, JSON_NULL) || add_team(out, id_of(claim), is_alias);
}

/* A claim that is an array of ids, or one. */
static bool add_each(const struct json *claim, struct jwt_identity *out)
{
    if (!json_is(claim, JSON_ARRAY))
        return add_one(claim, false, out);
    for (size_t i = 0; i < json_size(claim); i++)
        if (!add_team(out, id_of(json_at(claim, i)), false))
            return false;
    return true;
}

/* Leave the team that the client asked for. */
static enum jwt_person choose(const char *wanted, size_t len, struct jwt_identity *out)
{
    for (size_t i = 0; i < out->num_teams; i++) {
        struct jwt_team team = out->teams[i];

        if (strlen(team.name) != len || memcmp(team.name, wanted, len) != 0)
            continue;
        out->teams[0] = team;
        out->num_teams = 1;
        return JWT_PERSON_TEAM;
    }
    out->num_teams = 0;
    return JWT_PERSON_WRONG_TEAM;
}

enum jwt_person jwt_identify(const struct json *claims, const struct jwt_rules *rules,
                             const char *wanted, size_t wanted_len, struct jwt_identity *out)
{
    out->num_teams = 0;
    out->user = id_of(jwt_claim(claims, rules->user_id));
    if (is_admin(claims, rules))
        return JWT_PERSON_ADMIN;
    if (!add_one(jwt_claim(claims, rules->team_id), false, out) ||
        !add_each(jwt_claim(claims, rules->team_ids), out) ||
        !add_one(jwt_claim(claims, rules->team_alias), true, out))
        return JWT_PERSON_MALFORMED;
    if (out->num_teams == 0)
        (void)add_team(out, rules->team_id_default, false);
    if (wanted != NULL)
        return choose(wanted, wanted_len, out);
    return out->num_teams > 0 ? JWT_PERSON_TEAM : JWT_PERSON_NO_TEAM;
}
