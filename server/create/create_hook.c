/* See create_hook.h. */
#include "create_hook.h"

#include <string.h>

#include "request/errors.h"
#include "webhook/hook_address.h"
#include "webhook/hook_event.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_url.h"

#define MEMBER "webhook"

static enum answered refuse(struct relay *relay, const char *param, const char *why)
{
    relay_problem(relay, 400, "invalid_request_error", "invalid_value", param, "Invalid '%s': %s.",
                  param, why);
    return ANSWERED;
}

static const struct json *find(const struct relay *relay)
{
    const struct json *hook = json_get(relay->request, MEMBER);

    return relay->rt->config->journal && !json_is(hook, JSON_NULL) ? hook : NULL;
}

static enum answered check_members(struct relay *relay, const struct json *hook)
{
    static const char *const known[] = {"url", "secret", "events"};

    for (size_t i = 0; i < json_size(hook); i++) {
        const char *name = json_key_at(hook, i, NULL);
        size_t k = 0;

        while (k < sizeof(known) / sizeof(known[0]) && strcmp(known[k], name) != 0)
            k++;
        if (k == sizeof(known) / sizeof(known[0]))
            return refuse(relay, MEMBER, "it has 'url', 'secret' and 'events', and nothing else");
    }
    return GO_ON;
}

static enum answered check_url(struct relay *relay, const char *url)
{
    const struct config *config = relay->rt->config;
    unsigned char address[HOOK_ADDRESS_BYTES];
    const char *fault;

    if (url == NULL)
        return refuse(relay, MEMBER ".url", "expected the URL that is told of the batch's end");
    fault = hook_url_fault(url, config->webhook_allow_http);
    if (fault != NULL)
        return refuse(relay, MEMBER ".url", fault);
    if (hook_url_address(url, address) &&
        !hook_address_may(address, config->webhook_ranges, config->num_webhook_ranges))
        return refuse(relay, MEMBER ".url", "its address is not of the public internet");
    return GO_ON;
}

static enum answered check_secret(struct relay *relay, const char *secret)
{
    const char *fault = secret != NULL ? hook_secret_fault(secret)
                                       : "expected a text that the event is signed with";

    return fault == NULL ? GO_ON : refuse(relay, MEMBER ".secret", fault);
}

/* @return false: they are none */
static bool read_types(const struct json *hook, unsigned *out)
{
    const struct json *list = json_get(hook, "events");
    enum hook_type type;

    *out = HOOK_ALL_TYPES;
    if (list == NULL || json_is(list, JSON_NULL))
        return true;
    if (!json_is(list, JSON_ARRAY) || json_size(list) == 0)
        return false;
    *out = 0;
    for (size_t i = 0; i < json_size(list); i++) {
        const char *name = json_str(json_at(list, i), NULL);

        if (name == NULL || !hook_type_of(name, &type))
            return false;
        *out |= 1u << type;
    }
    return true;
}

enum answered create_hook_check(struct relay *relay)
{
    const struct json *hook = find(relay);
    unsigned types;

    if (hook == NULL)
        return GO_ON;
    if (!json_is(hook, JSON_OBJECT))
        return refuse(relay, MEMBER, "expected an object with 'url' and 'secret'");
    if (check_members(relay, hook) == ANSWERED ||
        check_url(relay, json_get_str(hook, "url")) == ANSWERED ||
        check_secret(relay, json_get_str(hook, "secret")) == ANSWERED)
        return ANSWERED;
    if (!read_types(hook, &types))
        return refuse(relay, MEMBER ".events",
                      "expected a list of batch.completed, batch.failed, batch.expired, "
                      "batch.cancelled");
    return GO_ON;
}

void create_hook_take(struct relay *relay, struct create_hook *out)
{
    const struct json *hook = find(relay);
    struct json *member = json_get(relay->request, MEMBER);

    *out = (struct create_hook){0};
    if (hook == NULL || !read_types(hook, &out->types))
        return;
    out->url = json_get_str(hook, "url");
    out->secret = json_get_str(hook, "secret"); /* the document keeps what was in it */
    while (json_get(member, "secret") != NULL)
        json_remove(member, "secret");
}

void create_hook_hide(struct relay *relay)
{
    if (relay->rt->config->journal)
        json_remove(relay->request, MEMBER);
}
