/* The document: HTML, style and script of page/, put together once. The Content-Security-Policy names
 * style and script by their hashes and allows nothing else, so nothing that a tenant or a provider
 * wrote can ever run, and no other host is asked (CSP Level 3 section 6.7.3.3). */
#include <openssl/evp.h>
#include <string.h>

#include "common/strbuf.h"
#include "crypto/sha256.h"
#include "page_bytes.h"
#include "request/errors.h"
#include "ui/ui.h"

#define STYLE_MARK  "/*STYLE*/"
#define SCRIPT_MARK "/*SCRIPT*/"

struct document {
    struct strbuf html, policy; /* owned; for good */
};

static void add_hash(struct strbuf *out, const unsigned char *bytes, size_t len)
{
    const struct sha256_piece piece = {bytes, len};
    unsigned char hash[SHA256_BYTES], text[4 * (SHA256_BYTES + 2) / 3 + 1];

    sha256_of(&piece, 1, hash);
    EVP_EncodeBlock(text, hash, sizeof(hash));
    strbuf_addf(out, "'sha256-%s'", (const char *)text);
}

/* @return what is behind the mark */
static const char *add_up_to(struct strbuf *out, const char *at, const char *end, const char *mark,
                             const unsigned char *part, size_t len)
{
    const char *found = memmem(at, (size_t)(end - at), mark, strlen(mark));

    if (found == NULL)
        return at;
    strbuf_add(out, at, (size_t)(found - at));
    strbuf_add(out, part, len);
    return found + strlen(mark);
}

static void make(struct document *d)
{
    const char *at = (const char *)page_html, *end = at + page_html_len;

    at = add_up_to(&d->html, at, end, STYLE_MARK, page_css, page_css_len);
    at = add_up_to(&d->html, at, end, SCRIPT_MARK, page_js, page_js_len);
    strbuf_add(&d->html, at, (size_t)(end - at));
    strbuf_adds(&d->policy, "default-src 'none'; script-src ");
    add_hash(&d->policy, page_js, page_js_len);
    strbuf_adds(&d->policy, "; style-src ");
    add_hash(&d->policy, page_css, page_css_len);
    strbuf_adds(&d->policy, "; connect-src 'self'; img-src data:; base-uri 'none'; form-action "
                            "'none'; frame-ancestors 'none'");
}

static void on_proceed(void *arg)
{
    (void)arg; /* there was one piece */
}

/* A stranger may ask on many streams and take nothing: none of them has a copy. */
static void send_html(struct relay *relay, const struct strbuf *html)
{
    relay_head(relay, 200, "text/html; charset=utf-8", html->len);
    relay_start(relay, 200, (int64_t)html->len, on_proceed, NULL);
    relay_send(relay, html->data, relay->method == METHOD_HEAD ? 0 : html->len, RELAY_LAST);
}

void ui_page(struct relay *relay)
{
    static struct document document;

    if (document.html.len == 0)
        make(&document);
    if (strbuf_failed(&document.html) || strbuf_failed(&document.policy)) {
        strbuf_deinit(&document.html);
        strbuf_deinit(&document.policy);
        relay_error(relay, OUT_OF_MEMORY, "");
        return;
    }
    relay_header(relay, "content-security-policy", strbuf_str(&document.policy));
    relay_header(relay, "x-content-type-options", "nosniff");
    relay_header(relay, "x-frame-options", "DENY");
    relay_header(relay, "referrer-policy", "no-referrer");
    relay_header(relay, "cross-origin-opener-policy", "same-origin");
    relay_header(relay, "cross-origin-resource-policy", "same-origin");
    relay_header(relay, "cache-control", "no-store");
    send_html(relay, &document.html);
}
