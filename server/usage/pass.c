/* See pass.h. One byte moves the machine one step; in a string, which is what most of a file is, a
 * loop of its own looks for the end.
 *
 * `path` counts the objects from the root on that all matter, `depth` whatever is open; while both
 * are the same a key can matter. What opens below a member that does not matter raises `depth`
 * alone, until it closes. */
#include "usage/pass.h"

#include <assert.h>
#include <string.h>

enum state {
    LINE_BEGINS,
    KEY_OR_END, /* behind { */
    KEY,        /* behind a comma in an object */
    COLON,
    VALUE_OR_END, /* behind [ */
    VALUE,
    IN_KEY,
    IN_KEY_ESCAPE,
    IN_STRING,
    IN_STRING_ESCAPE,
    IN_WORD, /* a number, true, false, null */
    BEHIND_VALUE,
    LINE_ENDS, /* behind the root */
    BROKEN     /* until the line ends */
};

enum place { OF_LINE, OF_RESPONSE, OF_BODY, OF_USAGE, OF_INPUT, OF_OUTPUT, PLACES };

enum name { NO_NAME, STATUS, MODEL, IN, CACHED, OUT, REASONING, OPENS_PLACE };

static const enum place parents[PLACES] = {[OF_RESPONSE] = OF_LINE,
                                           [OF_BODY] = OF_RESPONSE,
                                           [OF_USAGE] = OF_BODY,
                                           [OF_INPUT] = OF_USAGE,
                                           [OF_OUTPUT] = OF_USAGE};

static const struct member {
    enum place of;
    const char *key;
    enum name name;
    enum place opens; /* of OPENS_PLACE */
} members[] = {
    {OF_LINE, "response", OPENS_PLACE, OF_RESPONSE},
    {OF_RESPONSE, "status_code", STATUS, 0},
    {OF_RESPONSE, "body", OPENS_PLACE, OF_BODY},
    {OF_BODY, "model", MODEL, 0},
    {OF_BODY, "usage", OPENS_PLACE, OF_USAGE},
    {OF_USAGE, "prompt_tokens", IN, 0},
    {OF_USAGE, "input_tokens", IN, 0},
    {OF_USAGE, "completion_tokens", OUT, 0},
    {OF_USAGE, "output_tokens", OUT, 0},
    {OF_USAGE, "prompt_tokens_details", OPENS_PLACE, OF_INPUT},
    {OF_USAGE, "input_tokens_details", OPENS_PLACE, OF_INPUT},
    {OF_USAGE, "completion_tokens_details", OPENS_PLACE, OF_OUTPUT},
    {OF_USAGE, "output_tokens_details", OPENS_PLACE, OF_OUTPUT},
    {OF_INPUT, "cached_tokens", CACHED, 0},
    {OF_OUTPUT, "reasoning_tokens", REASONING, 0},
};

void usage_pass_init(struct usage_pass *pass)
{
    memset(pass, 0, sizeof(*pass));
}

/* --- lines --- */

/* Of the models but the last one each has a name: there is room for the lines of whatever else. */
static struct usage_count *count_of(struct usage_counts *counts, const char *model)
{
    struct usage_count *count;

    for (uint32_t i = 0; i < counts->num; i++)
        if (strcmp(counts->of[i].model, model) == 0)
            return &counts->of[i];
    if (*model != '\0' && counts->num + 1 >= USAGE_MODELS)
        return count_of(counts, "");
    assert(counts->num < USAGE_MODELS);
    count = &counts->of[counts->num++];
    memcpy(count->model, model, strlen(model) + 1);
    return count;
}

static void count_good(struct usage_pass *pass)
{
    const struct usage_line *line = &pass->line;
    struct price_tokens tokens = {.in = line->in, .cached = line->cached, .out = line->out};
    struct usage_count *count = count_of(&pass->counts, line->model);

    count->ok++;
    if (!line->has_in) {
        count->unmeasured++;
        return;
    }
    if (line->in > PRICE_LONG_TOKENS) {
        tokens.long_in = line->in;
        tokens.long_cached = line->cached;
        tokens.long_out = line->out;
    }
    price_tokens_add(&count->tokens, &tokens);
    count->reasoning += line->reasoning;
}

static void end_line(struct usage_pass *pass)
{
    if (pass->state == LINE_ENDS && pass->line.status == 200)
        count_good(pass);
    else if (pass->line.has_text)
        pass->bad++;
    pass->line = (struct usage_line){0};
    pass->state = LINE_BEGINS;
    pass->depth = pass->path = 0;
    pass->place = OF_LINE;
    pass->name = NO_NAME;
}

/* --- what stands where --- */

static bool matters(const struct usage_pass *pass)
{
    return pass->depth == pass->path;
}

static bool is_object(const struct usage_pass *pass)
{
    unsigned level = pass->depth - 1;

    return (pass->objects[level / 64] >> level % 64 & 1) != 0;
}

/* A member that stands there twice begins anew. */
static void enter_place(struct usage_pass *pass, enum place place)
{
    struct usage_line *line = &pass->line;

    pass->path = pass->depth;
    pass->place = (uint8_t)place;
    if (place == OF_RESPONSE)
        line->status = 0;
    if (place == OF_RESPONSE || place == OF_BODY)
        line->model[0] = '\0';
    if (place < OF_INPUT) {
        line->in = line->cached = line->out = line->reasoning = 0;
        line->has_in = false;
    }
}

static void open_level(struct usage_pass *pass, bool object)
{
    bool enters = object && (pass->depth == 0 || (matters(pass) && pass->name >= OPENS_PLACE));
    uint64_t bit = UINT64_C(1) << pass->depth % 64;

    if (pass->depth == USAGE_PASS_DEPTH) {
        pass->state = BROKEN;
        return;
    }
    if (object)
        pass->objects[pass->depth / 64] |= bit;
    else
        pass->objects[pass->depth / 64] &= ~bit;
    pass->depth++;
    if (enters)
        enter_place(pass, pass->depth == 1 ? OF_LINE : (enum place)(pass->name - OPENS_PLACE));
    pass->state = object ? KEY_OR_END : VALUE_OR_END;
}

static void close_level(struct usage_pass *pass, bool object)
{
    assert(pass->depth > 0 && pass->path <= pass->depth);
    if (is_object(pass) != object) {
        pass->state = BROKEN;
        return;
    }
    if (matters(pass)) {
        pass->path--;
        pass->place = (uint8_t)parents[pass->place];
    }
    pass->depth--;
    pass->name = NO_NAME;
    pass->state = pass->depth == 0 ? LINE_ENDS : BEHIND_VALUE;
}

static void take_key(struct usage_pass *pass)
{
    pass->name = NO_NAME;
    for (size_t i = 0; matters(pass) && pass->word_fits && i < sizeof(members) / sizeof(members[0]);
         i++) {
        const struct member *m = &members[i];

        if (m->of == pass->place && strlen(m->key) == pass->word_len &&
            memcmp(m->key, pass->word, pass->word_len) == 0)
            pass->name = (uint8_t)(m->name + (m->name == OPENS_PLACE ? m->opens : 0));
    }
}

/* --- values --- */

static void take_model(struct usage_pass *pass)
{
    bool good = pass->word_fits && pass->word_len < USAGE_MODEL_BYTES;

    for (size_t i = 0; good && i < pass->word_len; i++)
        good = pass->word[i] > ' ' && pass->word[i] < 0x7f;
    pass->line.model[0] = '\0';
    if (!good)
        return;
    memcpy(pass->line.model, pass->word, pass->word_len);
    pass->line.model[pass->word_len] = '\0';
}

/* @return false: no whole number, or one of a size that no request has */
static bool read_number(const struct usage_pass *pass, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < pass->word_len; i++) {
        if (pass->word[i] < '0' || pass->word[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(pass->word[i] - '0');
    }
    return pass->word_fits && pass->word_len > 0 && pass->word_len <= 15;
}

static void take_number(struct usage_pass *pass)
{
    struct usage_line *line = &pass->line;
    uint64_t number;
    bool good = read_number(pass, &number);

    if (!good)
        number = 0;
    if (pass->name == STATUS)
        line->status = number;
    if (pass->name == IN) {
        line->in = number;
        line->has_in = good;
    }
    if (pass->name == CACHED)
        line->cached = number;
    if (pass->name == OUT)
        line->out = number;
    if (pass->name == REASONING)
        line->reasoning = number;
}

static void end_value(struct usage_pass *pass)
{
    pass->name = NO_NAME;
    pass->state = BEHIND_VALUE;
}

/* --- the machine --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void begin_word(struct usage_pass *pass, enum state state)
{
    pass->state = (uint8_t)state;
    pass->word_len = 0;
    pass->word_fits = true;
}

static void add_word(struct usage_pass *pass, const char *bytes, size_t len)
{
    if (len > sizeof(pass->word) - pass->word_len)
        pass->word_fits = false;
    if (!pass->word_fits)
        return;
    memcpy(pass->word + pass->word_len, bytes, len);
    pass->word_len += len;
}

static void step_value(struct usage_pass *pass, char c)
{
    if (c == '{' || c == '[') {
        open_level(pass, c == '{');
    } else if (c == '"') {
        begin_word(pass, IN_STRING);
    } else if ((c >= '0' && c <= '9') || c == '-' || (c >= 'a' && c <= 'z')) {
        begin_word(pass, IN_WORD);
        add_word(pass, &c, 1);
    } else {
        pass->state = BROKEN;
    }
}

static void step_behind_value(struct usage_pass *pass, char c)
{
    if (c == ',')
        pass->state = is_object(pass) ? KEY : VALUE;
    else if (c == '}' || c == ']')
        close_level(pass, c == '}');
    else
        pass->state = BROKEN;
}

/* A byte that is no white space, outside of strings and words. */
static void step(struct usage_pass *pass, char c)
{
    switch (pass->state) {
    case LINE_BEGINS:
        if (c == '{')
            open_level(pass, true);
        else
            pass->state = BROKEN;
        break;
    case KEY_OR_END:
    case KEY:
        if (c == '"')
            begin_word(pass, IN_KEY);
        else if (c == '}' && pass->state == KEY_OR_END)
            close_level(pass, true);
        else
            pass->state = BROKEN;
        break;
    case COLON:
        pass->state = c == ':' ? VALUE : BROKEN;
        break;
    case VALUE_OR_END:
        if (c == ']') {
            close_level(pass, false);
            break;
        }
        step_value(pass, c);
        break;
    case VALUE:
        step_value(pass, c);
        break;
    case BEHIND_VALUE:
        step_behind_value(pass, c);
        break;
    default:
        pass->state = BROKEN;
    }
}

static void end_string(struct usage_pass *pass)
{
    if (pass->state == IN_KEY) {
        take_key(pass);
        pass->state = COLON;
        return;
    }
    if (pass->name == MODEL && matters(pass))
        take_model(pass);
    end_value(pass);
}

/* @return how many bytes of a string were read: up to a line's end, which no string has */
static size_t read_string(struct usage_pass *pass, const char *bytes, size_t len)
{
    bool wanted = pass->state == IN_KEY ? matters(pass) : pass->name == MODEL && matters(pass);
    size_t i = 0;

    while (i < len && bytes[i] != '"' && bytes[i] != '\\' && bytes[i] != '\n')
        i++;
    if (wanted)
        add_word(pass, bytes, i);
    if (i == len || bytes[i] == '\n')
        return i;
    if (bytes[i] == '"') {
        end_string(pass);
    } else {
        pass->word_fits = false;
        pass->state = pass->state == IN_KEY ? IN_KEY_ESCAPE : IN_STRING_ESCAPE;
    }
    return i + 1;
}

static bool is_of_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '+' || c == '-' || c == '.' ||
           c == 'E';
}

static size_t read_word(struct usage_pass *pass, const char *bytes, size_t len)
{
    size_t i = 0;

    while (i < len && is_of_word(bytes[i]))
        i++;
    add_word(pass, bytes, i);
    if (i == len)
        return i;
    if (matters(pass))
        take_number(pass);
    end_value(pass);
    return i;
}

static size_t read_some(struct usage_pass *pass, const char *bytes, size_t len)
{
    const char *end;

    switch (pass->state) {
    case IN_KEY:
    case IN_STRING:
        return read_string(pass, bytes, len);
    case IN_KEY_ESCAPE:
        pass->state = IN_KEY;
        return 1;
    case IN_STRING_ESCAPE:
        pass->state = IN_STRING;
        return 1;
    case IN_WORD:
        return read_word(pass, bytes, len);
    case BROKEN:
        end = memchr(bytes, '\n', len);
        return end == NULL ? len : (size_t)(end - bytes);
    default:
        if (!is_space(*bytes)) {
            pass->line.has_text = true;
            step(pass, *bytes);
        }
        return 1;
    }
}

void usage_pass_feed(struct usage_pass *pass, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t done = 1;

        if (*bytes == '\n')
            end_line(pass);
        else
            done = read_some(pass, bytes, len);
        assert(done <= len);
        bytes += done;
        len -= done;
    }
}

void usage_pass_finish(struct usage_pass *pass, struct usage_counts *out)
{
    end_line(pass);
    *out = pass->counts;
    out->source = USAGE_OF_OUTPUT;
    if (pass->bad == 0)
        return;
    if (out->num == 0)
        (void)count_of(out, "");
    out->of[0].bad = pass->bad;
}
