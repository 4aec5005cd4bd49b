/* Push parser of multipart/form-data. A delimiter is CR LF "--" boundary, and CR stands nowhere
 * else in it, so a match that breaks off can only begin anew at the byte that broke it: no
 * backtracking, the data goes through memmem() in place. */
#include "multipart/multipart.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json/json.h"
#include "common/strbuf.h"

enum {
    MAX_BOUNDARY = 70, /* RFC 2046, section 5.1.1 */
    MAX_PADDING = 64,
    DEFAULT_PARTS = 128,
    DEFAULT_HEAD_BYTES = 8 * 1024,
    DEFAULT_NAME_BYTES = 1024
};

enum state {
    STATE_PREAMBLE,
    STATE_DATA,     /* of a part */
    STATE_PADDING,  /* behind a boundary: blanks, then CR, or the first dash */
    STATE_LINE_END, /* behind the CR of a boundary's line */
    STATE_DASH,     /* behind the first dash after a boundary */
    STATE_HEAD,
    STATE_EPILOGUE
};

struct multipart {
    struct multipart_ops ops;
    void *arg; /* borrowed; for the ops */
    struct multipart_limits limits;
    enum state state;
    bool in_part;                     /* a part's data is open */
    char delimiter[4 + MAX_BOUNDARY]; /* CR LF "--" boundary */
    size_t delimiter_len;
    size_t matched;  /* bytes of the delimiter seen so far */
    size_t imagined; /* of these, at its start, how many were not in the body */
    char padding[MAX_PADDING];
    size_t padding_len;
    size_t num_parts;
    struct strbuf head;           /* of the part that begins */
    size_t head_checked;          /* bytes of it in lines that are known to end with CR LF */
    struct strbuf name, filename; /* decoded */
    uint64_t offset;              /* bytes of the body taken */
    int result;                   /* final once not 0 */
    const char *error;            /* constant */
    uint64_t error_at;            /* offset of the byte, or of the head, that is wrong */
    uint64_t head_at;             /* offset of the head being read */
};

/* --- header parameters --- */

struct span {
    const char *text; /* borrowed */
    size_t len;
};

/* One `; name=value`. */
struct param {
    struct span name;
    struct span value; /* between the quotes when quoted, escapes as sent */
    bool quoted;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_token_char(char c)
{
    return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f &&
           strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static bool span_is(struct span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.text, word, s.len) == 0;
}

static void skip_blanks(struct span *s)
{
    while (s->len > 0 && is_blank(s->text[0])) {
        s->text++;
        s->len--;
    }
}

static void skip(struct span *s, size_t n)
{
    s->text += n;
    s->len -= n;
}

/* The word up to the first ';' or blank. */
static struct span take_word(struct span *s)
{
    struct span word = {s->text, 0};

    skip_blanks(s);
    word.text = s->text;
    while (word.len < s->len && !is_blank(s->text[word.len]) && s->text[word.len] != ';')
        word.len++;
    skip(s, word.len);
    return word;
}

/* The text between quotes; a backslash protects only a quote or another backslash, because browsers
 * send Windows paths with single ones. `C:\` before the closing quote is the one spelling that this
 * reads wrongly, as everybody does. */
static bool take_quoted(struct span *s, struct span *value)
{
    size_t i;

    skip(s, 1);
    for (i = 0; i < s->len && s->text[i] != '"'; i++)
        if (s->text[i] == '\\' && i + 1 < s->len &&
            (s->text[i + 1] == '"' || s->text[i + 1] == '\\'))
            i++;
    if (i >= s->len)
        return false;
    *value = (struct span){s->text, i};
    skip(s, i + 1);
    return true;
}

/* The next parameter of a header value. Returns 1, 0 at the end, or ERR_SYNTAX. */
static int next_param(struct span *s, struct param *param)
{
    size_t n = 0;

    for (;;) {
        skip_blanks(s);
        if (s->len == 0)
            return 0;
        if (s->text[0] != ';')
            return ERR_SYNTAX;
        skip(s, 1);
        skip_blanks(s);
        if (s->len > 0 && s->text[0] != ';')
            break; /* `;;` and a last `;` are harmless */
    }
    if (s->len == 0)
        return 0;
    while (n < s->len && is_token_char(s->text[n]))
        n++;
    param->name = (struct span){s->text, n};
    skip(s, n);
    skip_blanks(s);
    if (n == 0 || s->len == 0 || s->text[0] != '=')
        return ERR_SYNTAX;
    skip(s, 1);
    skip_blanks(s);
    param->quoted = s->len > 0 && s->text[0] == '"';
    if (param->quoted)
        return take_quoted(s, &param->value) ? 1 : ERR_SYNTAX;
    param->value = take_word(s);
    return param->value.len > 0 ? 1 : ERR_SYNTAX;
}

/* --- names --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of `%XX` at the start of `s`, -1 when that is not what stands there. */
static int percent_byte(struct span s)
{
    int high, low;

    if (s.len < 3 || s.text[0] != '%')
        return -1;
    high = hex_digit(s.text[1]);
    low = hex_digit(s.text[2]);
    return high >= 0 && low >= 0 ? high * 16 + low : -1;
}

static void decode_quoted(struct span s, struct strbuf *out)
{
    int byte;

    while (s.len > 0) {
        byte = percent_byte(s);
        if (byte == '"' || byte == '\r' || byte == '\n') {
            strbuf_addc(out, (char)byte);
            skip(&s, 3);
            continue;
        }
        if (s.text[0] == '\\' && s.len > 1 && (s.text[1] == '"' || s.text[1] == '\\'))
            skip(&s, 1);
        strbuf_addc(out, s.text[0]);
        skip(&s, 1);
    }
}

static void add_latin1(struct strbuf *out, int byte)
{
    if (byte < 0x80) {
        strbuf_addc(out, (char)byte);
        return;
    }
    strbuf_addc(out, (char)(0xc0 | (byte >> 6)));
    strbuf_addc(out, (char)(0x80 | (byte & 0x3f)));
}

/* charset'language'percent-encoded. RFC 5987, section 3.2. */
static int decode_extended(struct span s, struct strbuf *out)
{
    const char *end = memchr(s.text, '\'', s.len);
    struct span charset;
    bool latin1;
    int byte;

    if (end == NULL)
        return ERR_SYNTAX;
    charset = (struct span){s.text, (size_t)(end - s.text)};
    latin1 = span_is(charset, "ISO-8859-1");
    if (!latin1 && !span_is(charset, "UTF-8"))
        return ERR_SYNTAX;
    skip(&s, charset.len + 1);
    end = memchr(s.text, '\'', s.len);
    if (end == NULL)
        return ERR_SYNTAX;
    skip(&s, (size_t)(end - s.text) + 1);
    while (s.len > 0) {
        byte = s.text[0] == '%' ? percent_byte(s) : (unsigned char)s.text[0];
        if (byte < 0)
            return ERR_SYNTAX;
        skip(&s, s.text[0] == '%' ? 3 : 1);
        if (latin1)
            add_latin1(out, byte);
        else
            strbuf_addc(out, (char)byte);
    }
    return 0;
}

static void add_clean_run(struct strbuf *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i;

    for (i = 0; i < len; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f)
            continue;
        if (p[i] == 0xc2 && p[i + 1] < 0xa0) { /* U+0080 to U+009F; valid, so that a byte follows */
            i++;
            continue;
        }
        strbuf_addc(out, text[i]);
    }
}

/* Without control characters, invalid UTF-8 replaced. */
static void clean(struct strbuf *name)
{
    struct strbuf out = STRBUF_INIT;
    size_t at = 0, valid;

    while (at < name->len) {
        valid = utf8_valid_prefix(name->data + at, name->len - at);
        add_clean_run(&out, name->data + at, valid);
        at += valid;
        if (at < name->len) {
            strbuf_adds(&out, "\xef\xbf\xbd");
            at++;
        }
    }
    out.failed = out.failed || name->failed;
    strbuf_deinit(name);
    *name = out;
}

static void keep_base_name(struct strbuf *name)
{
    size_t start = name->len;

    while (start > 0 && name->data[start - 1] != '/' && name->data[start - 1] != '\\')
        start--;
    if (start > 0) {
        memmove(name->data, name->data + start, name->len - start + 1);
        name->len -= start;
    }
    if (strcmp(strbuf_str(name), ".") == 0 || strcmp(strbuf_str(name), "..") == 0)
        strbuf_reset(name);
}

/* --- a part's head --- */

/* What a head said. */
struct head {
    struct span disposition, content_type, encoding; /* text NULL when absent */
};

struct disposition {
    struct param name, filename, extended; /* name.text NULL when absent */
};

static int fail(struct multipart *mp, int code, const char *why)
{
    mp->result = code;
    mp->error = why;
    mp->error_at = mp->state == STATE_HEAD ? mp->head_at : mp->offset;
    return code;
}

/* Join folded lines and refuse what no line may hold. Line ends are CR LF already. */
static int unfold(struct multipart *mp)
{
    char *text = mp->head.data;
    size_t i;

    for (i = 0; i + 2 < mp->head.len; i++) {
        if (text[i] == '\r') { /* its LF follows, see take_head() */
            if (is_blank(text[i + 2]))
                text[i] = text[i + 1] = ' ';
            i++;
        } else if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f) {
            return fail(mp, ERR_SYNTAX, "control byte in the head of a part");
        }
    }
    return 0;
}

static int once(struct multipart *mp, struct span *field, struct span value)
{
    if (field->text != NULL)
        return fail(mp, ERR_SYNTAX, "a header of a part is repeated");
    *field = value;
    return 0;
}

static int read_line(struct multipart *mp, struct span line, struct head *head)
{
    struct span name = {line.text, 0};
    struct span value;

    while (name.len < line.len && is_token_char(line.text[name.len]))
        name.len++;
    if (name.len == 0 || name.len == line.len || line.text[name.len] != ':')
        return fail(mp, ERR_SYNTAX, "line without `name:` in the head of a part");
    value = (struct span){line.text + name.len + 1, line.len - name.len - 1};
    skip_blanks(&value);
    while (value.len > 0 && is_blank(value.text[value.len - 1]))
        value.len--;
    if (span_is(name, "Content-Disposition"))
        return once(mp, &head->disposition, value);
    if (span_is(name, "Content-Type"))
        return once(mp, &head->content_type, value);
    if (span_is(name, "Content-Transfer-Encoding"))
        return once(mp, &head->encoding, value);
    return 0;
}

static int read_head(struct multipart *mp, struct head *head)
{
    struct span rest = {mp->head.data, mp->head.len};
    struct span line;
    const char *end;
    int err;

    while (rest.len > 2) { /* the last two bytes are the empty line */
        end = memchr(rest.text, '\r', rest.len);
        line = (struct span){rest.text, (size_t)(end - rest.text)};
        skip(&rest, line.len + 2);
        err = read_line(mp, line, head);
        if (err != 0)
            return err;
    }
    return 0;
}

static int read_disposition(struct multipart *mp, struct span value, struct disposition *out)
{
    struct param param, *slot;
    int more;

    if (!span_is(take_word(&value), "form-data"))
        return fail(mp, ERR_SYNTAX, "the Content-Disposition of a part is not form-data");
    while ((more = next_param(&value, &param)) > 0) {
        if (span_is(param.name, "name"))
            slot = &out->name;
        else if (span_is(param.name, "filename"))
            slot = &out->filename;
        else if (span_is(param.name, "filename*"))
            slot = &out->extended;
        else
            continue;
        if (slot->name.text != NULL)
            return fail(mp, ERR_SYNTAX, "a parameter of Content-Disposition is repeated");
        *slot = param;
    }
    if (more < 0)
        return fail(mp, ERR_SYNTAX, "Content-Disposition cannot be parsed");
    if (out->name.name.text == NULL)
        return fail(mp, ERR_SYNTAX, "a part has no name");
    return 0;
}

static void decode_param(const struct param *param, struct strbuf *out)
{
    strbuf_reset(out);
    if (param->quoted)
        decode_quoted(param->value, out);
    else
        strbuf_add(out, param->value.text, param->value.len);
}

/* Removed, it would make another field's name of this one. A NUL cannot be in a head. */
static bool has_line_end(const struct strbuf *name)
{
    return name->len > 0 && (memchr(name->data, '\r', name->len) != NULL ||
                             memchr(name->data, '\n', name->len) != NULL);
}

static int decode_names(struct multipart *mp, const struct disposition *d)
{
    decode_param(&d->name, &mp->name);
    if (has_line_end(&mp->name))
        return fail(mp, ERR_SYNTAX, "the name of a part has a line end in it");
    clean(&mp->name);
    if (d->extended.name.text != NULL) {
        strbuf_reset(&mp->filename);
        if (decode_extended(d->extended.value, &mp->filename) != 0)
            return fail(mp, ERR_SYNTAX, "`filename*` cannot be decoded");
    } else if (d->filename.name.text != NULL) {
        decode_param(&d->filename, &mp->filename);
    } else {
        strbuf_reset(&mp->filename);
    }
    clean(&mp->filename);
    keep_base_name(&mp->filename);
    if (strbuf_failed(&mp->name) || strbuf_failed(&mp->filename))
        return fail(mp, ERR_NOMEM, "out of memory");
    if (mp->name.len > mp->limits.max_name_bytes || mp->filename.len > mp->limits.max_name_bytes)
        return fail(mp, ERR_LIMIT, "the name of a part is too long");
    return 0;
}

static bool is_identity(struct span encoding)
{
    return encoding.text == NULL || span_is(encoding, "7bit") || span_is(encoding, "8bit") ||
           span_is(encoding, "binary");
}

/* The head is complete: tell the caller. */
static int begin_part(struct multipart *mp)
{
    struct head head = {0};
    struct disposition d = {0};
    struct multipart_part part = {0};
    int err = unfold(mp);

    if (err == 0)
        err = read_head(mp, &head);
    if (err != 0)
        return err;
    if (head.disposition.text == NULL)
        return fail(mp, ERR_SYNTAX, "a part has no Content-Disposition");
    if (!is_identity(head.encoding))
        return fail(mp, ERR_SYNTAX, "a Content-Transfer-Encoding is not supported in form data");
    err = read_disposition(mp, head.disposition, &d);
    if (err == 0)
        err = decode_names(mp, &d);
    if (err != 0)
        return err;
    part.name = strbuf_str(&mp->name);
    if (d.filename.name.text != NULL || d.extended.name.text != NULL)
        part.filename = strbuf_str(&mp->filename);
    if (head.content_type.text != NULL) {
        mp->head.data[head.content_type.text + head.content_type.len - mp->head.data] = '\0';
        part.content_type = head.content_type.text;
    }
    mp->in_part = true;
    mp->result = mp->ops.on_part != NULL ? mp->ops.on_part(mp->arg, &part) : 0;
    return mp->result;
}

/* --- the body --- */

static int give_data(struct multipart *mp, const char *bytes, size_t len)
{
    if (len > 0 && mp->in_part && mp->ops.on_data != NULL)
        mp->result = mp->ops.on_data(mp->arg, bytes, len);
    return mp->result;
}

/* What looked like a delimiter was none: its bytes are data. */
static int give_back(struct multipart *mp)
{
    size_t from = mp->imagined, upto = mp->matched;

    mp->matched = 0;
    mp->imagined = 0;
    return give_data(mp, mp->delimiter + from, upto > from ? upto - from : 0);
}

/* The same behind a whole delimiter: blanks and a dash have been held back as well. */
static int give_back_line(struct multipart *mp)
{
    size_t padding_len = mp->padding_len;

    mp->padding_len = 0;
    mp->state = mp->in_part ? STATE_DATA : STATE_PREAMBLE;
    if (give_back(mp) != 0)
        return mp->result;
    return give_data(mp, mp->padding, padding_len);
}

static int end_part(struct multipart *mp)
{
    mp->matched = 0;
    mp->imagined = 0;
    mp->padding_len = 0;
    if (mp->in_part) {
        mp->in_part = false;
        mp->result = mp->ops.on_part_end != NULL ? mp->ops.on_part_end(mp->arg) : 0;
    }
    return mp->result;
}

/* Compare with the rest of a delimiter that has begun. Returns the bytes taken. */
static size_t match_on(struct multipart *mp, const char *p, size_t len)
{
    size_t i = 0;

    while (i < len && mp->matched + i < mp->delimiter_len && p[i] == mp->delimiter[mp->matched + i])
        i++;
    if (i == len || mp->matched + i == mp->delimiter_len) {
        mp->matched += i;
        return i;
    }
    give_back(mp);
    return 0; /* none of the bytes that fitted is CR: all of them can be searched as data */
}

/* Preamble or data: pass on what is certainly no delimiter. Returns the bytes taken. */
static size_t take_data(struct multipart *mp, const char *p, size_t len)
{
    const char *found, *last;
    size_t tail = len < mp->delimiter_len ? len : mp->delimiter_len - 1;

    if (mp->matched > 0) {
        size_t taken = match_on(mp, p, len);

        if (taken > 0 || mp->result != 0) {
            if (mp->matched == mp->delimiter_len)
                mp->state = STATE_PADDING;
            return taken;
        }
    }
    found = memmem(p, len, mp->delimiter, mp->delimiter_len);
    if (found != NULL) {
        give_data(mp, p, (size_t)(found - p));
        mp->matched = mp->delimiter_len;
        mp->state = STATE_PADDING;
        return (size_t)(found - p) + mp->delimiter_len;
    }
    last = memrchr(p + len - tail, '\r', tail);
    if (last != NULL && memcmp(last, mp->delimiter, (size_t)(p + len - last)) == 0) {
        give_data(mp, p, (size_t)(last - p));
        mp->matched = (size_t)(p + len - last);
        return len;
    }
    give_data(mp, p, len);
    return len;
}

static size_t take_padding(struct multipart *mp, char c)
{
    if (c == '-' && mp->padding_len == 0) {
        mp->state = STATE_DASH;
    } else if (c == '\r') {
        mp->state = STATE_LINE_END;
    } else if (c == '\n') {
        fail(mp, ERR_SYNTAX, "a boundary's line ends with LF, not with CR LF");
        return 0;
    } else if (!is_blank(c)) {
        give_back_line(mp);
        return 0;
    } else if (mp->padding_len == MAX_PADDING) {
        fail(mp, ERR_LIMIT, "too many blanks after a boundary");
        return 0;
    } else {
        mp->padding[mp->padding_len++] = c;
    }
    return 1;
}

static size_t take_line_end(struct multipart *mp, char c)
{
    if (c != '\n') { /* the CR may begin the real delimiter */
        if (give_back_line(mp) == 0)
            mp->matched = 1;
        return 0;
    }
    if (end_part(mp) != 0)
        return 0;
    if (++mp->num_parts > mp->limits.max_parts) {
        fail(mp, ERR_LIMIT, "too many parts");
        return 0;
    }
    strbuf_reset(&mp->head);
    mp->head_checked = 0;
    mp->head_at = mp->offset + 1;
    mp->state = STATE_HEAD;
    return 1;
}

static size_t take_dash(struct multipart *mp, char c)
{
    if (c == '-') {
        if (end_part(mp) == 0)
            mp->state = STATE_EPILOGUE;
        return 1;
    }
    mp->padding[mp->padding_len++] = '-';
    give_back_line(mp);
    return 0;
}

static bool head_is_complete(const struct strbuf *head)
{
    if (head->len == 2)
        return memcmp(head->data, "\r\n", 2) == 0;
    return head->len >= 4 && memcmp(head->data + head->len - 4, "\r\n\r\n", 4) == 0;
}

static const char bad_line_end[] = "a line in the head of a part does not end with CR LF";

/* One line, or what is there of it. Returns the bytes taken. */
static size_t take_head(struct multipart *mp, const char *p, size_t len)
{
    size_t room = mp->limits.max_head_bytes - mp->head.len;
    size_t n = len < room ? len : room;
    const char *newline = memchr(p, '\n', n), *cr;

    if (room == 0) {
        fail(mp, ERR_LIMIT, "the head of a part is too long");
        return 0;
    }
    if (newline != NULL)
        n = (size_t)(newline - p) + 1;
    strbuf_add(&mp->head, p, n);
    if (strbuf_failed(&mp->head)) {
        fail(mp, ERR_NOMEM, "out of memory");
        return 0;
    }
    /* Each CR is followed by LF and each LF preceded by CR; a CR that comes last is looked at with
     * the next piece. */
    cr = memchr(mp->head.data + mp->head_checked, '\r', mp->head.len - mp->head_checked);
    if (newline == NULL) {
        if (cr != NULL && cr != mp->head.data + mp->head.len - 1)
            fail(mp, ERR_SYNTAX, bad_line_end);
        return n;
    }
    if (cr == NULL || cr != mp->head.data + mp->head.len - 2) {
        fail(mp, ERR_SYNTAX, bad_line_end);
        return 0;
    }
    mp->head_checked = mp->head.len;
    if (head_is_complete(&mp->head) && begin_part(mp) == 0) {
        /* a part without data may be followed by its delimiter at once: RFC 2046's body-part lets
         * the empty line serve */
        mp->matched = mp->imagined = 2;
        mp->state = STATE_DATA;
    }
    return n;
}

static size_t take(struct multipart *mp, const char *p, size_t len)
{
    switch (mp->state) {
    case STATE_PREAMBLE:
    case STATE_DATA:
        return take_data(mp, p, len);
    case STATE_PADDING:
        return take_padding(mp, *p);
    case STATE_LINE_END:
        return take_line_end(mp, *p);
    case STATE_DASH:
        return take_dash(mp, *p);
    case STATE_HEAD:
        return take_head(mp, p, len);
    case STATE_EPILOGUE:
        break;
    }
    return len;
}

int multipart_feed(struct multipart *mp, const char *bytes, size_t len)
{
    size_t at = 0, taken;

    while (at < len && mp->result == 0) {
        taken = take(mp, bytes + at, len - at);
        at += taken;
        mp->offset += taken;
    }
    return mp->result;
}

int multipart_finish(struct multipart *mp)
{
    if (mp->result != 0 || mp->state == STATE_EPILOGUE)
        return mp->result;
    if (mp->num_parts == 0)
        return fail(mp, ERR_SYNTAX, "the announced boundary does not appear in the body");
    return fail(mp, ERR_SYNTAX, "the body ends before the closing boundary");
}

const char *multipart_error(const struct multipart *mp, uint64_t *offset)
{
    if (offset != NULL)
        *offset = mp->error_at;
    return mp->error != NULL ? mp->error : "";
}

/* --- birth and death --- */

static bool is_boundary(struct span b)
{
    size_t i;

    if (b.len == 0 || b.len > MAX_BOUNDARY || b.text[b.len - 1] == ' ')
        return false;
    for (i = 0; i < b.len; i++) {
        char c = b.text[i];

        if ((c < '0' || c > '9') && ((c | 0x20) < 'a' || (c | 0x20) > 'z') &&
            (c == '\0' || strchr("'()+_,-./:=? ", c) == NULL))
            return false;
    }
    return true;
}

/* NULL, or a constant text of what is wrong. */
static const char *find_boundary(struct span value, struct span *boundary)
{
    struct param param;
    bool seen = false;
    int more;

    if (!span_is(take_word(&value), "multipart/form-data"))
        return "the content type is not multipart/form-data";
    while ((more = next_param(&value, &param)) > 0) {
        if (!span_is(param.name, "boundary"))
            continue;
        if (seen)
            return "the content type names two boundaries";
        seen = true;
        *boundary = param.value;
    }
    if (more < 0)
        return "the content type cannot be parsed";
    if (!seen)
        return "the content type names no boundary";
    if (!is_boundary(*boundary))
        return "the boundary is not 1 to 70 of the characters that RFC 2046 allows";
    return NULL;
}

static void set_limits(struct multipart_limits *out, const struct multipart_limits *limits)
{
    if (limits != NULL)
        *out = *limits;
    if (out->max_parts == 0)
        out->max_parts = DEFAULT_PARTS;
    if (out->max_head_bytes == 0)
        out->max_head_bytes = DEFAULT_HEAD_BYTES;
    if (out->max_name_bytes == 0)
        out->max_name_bytes = DEFAULT_NAME_BYTES;
}

int multipart_new(const char *content_type, size_t content_type_len,
                  const struct multipart_limits *limits, const struct multipart_ops *ops, void *arg,
                  struct multipart **out, const char **why)
{
    struct span boundary = {NULL, 0};
    struct multipart *mp;

    *out = NULL;
    *why = find_boundary((struct span){content_type, content_type_len}, &boundary);
    if (*why != NULL)
        return ERR_INVALID;
    mp = calloc(1, sizeof(*mp));
    if (mp == NULL) {
        *why = "out of memory";
        return ERR_NOMEM;
    }
    mp->ops = *ops;
    mp->arg = arg;
    set_limits(&mp->limits, limits);
    memcpy(mp->delimiter, "\r\n--", 4);
    memcpy(mp->delimiter + 4, boundary.text, boundary.len);
    mp->delimiter_len = 4 + boundary.len;
    mp->matched = mp->imagined = 2; /* the body's start counts as the start of a line */
    *out = mp;
    return 0;
}

void multipart_free(struct multipart *mp)
{
    if (mp == NULL)
        return;
    strbuf_deinit(&mp->head);
    strbuf_deinit(&mp->name);
    strbuf_deinit(&mp->filename);
    free(mp);
}
