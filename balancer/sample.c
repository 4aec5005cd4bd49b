/* See sample.h. Two or three passes over the table's rows, without a list of those that count. Both
 * draws are stratified: one random number for each of `max` equal parts of the whole, so that they
 * come in order, need no sorting, and none of the parts is missed. */
#include "balancer/sample.h"

#include <stddef.h>

typedef double (*share_cb)(const struct table_deployment *d);

/* What may be drawn. */
struct frame {
    const struct sample_question *q;
    int32_t order;  /* that they have */
    uint32_t num;   /* of them */
    uint32_t first; /* its place */
};

static double weight_of(const struct table_deployment *d)
{
    return d->weight;
}

static double rpm_of(const struct table_deployment *d)
{
    return (double)d->rpm;
}

static double tpm_of(const struct table_deployment *d)
{
    return (double)d->tpm;
}

static double one_of(const struct table_deployment *d)
{
    (void)d;
    return 1;
}

static const struct table_deployment *row_at(const struct sample_question *q, uint32_t place)
{
    return table_deployment(q->table, q->candidates[place]);
}

static bool is_tried(const struct sample_question *q, uint32_t place)
{
    return q->tried != NULL && q->tried[place];
}

static bool is_in(const struct frame *f, uint32_t place)
{
    return !is_tried(f->q, place) && row_at(f->q, place)->order == f->order;
}

static bool is_before(int32_t order, int32_t other)
{
    return order != 0 && (other == 0 || order < other);
}

static struct frame frame_of(const struct sample_question *q)
{
    struct frame f = {.q = q};

    for (uint32_t i = 0; i < q->num; i++) {
        int32_t order;

        if (is_tried(q, i))
            continue;
        order = row_at(q, i)->order;
        if (f.num == 0 || is_before(order, f.order))
            f = (struct frame){.q = q, .order = order, .num = 1, .first = i};
        else if (order == f.order)
            f.num++;
    }
    return f;
}

/* One of each of `parts` runs of equal length. */
static uint32_t draw_places(const struct frame *f, uint32_t *out, uint32_t parts)
{
    uint64_t from = 0, to = 0, wanted = 0;
    uint32_t drawn = 0, nth = 0;

    for (uint32_t i = f->first; i < f->q->num && drawn < parts; i++) {
        if (!is_in(f, i))
            continue;
        if (nth == to) {
            from = to;
            to = (uint64_t)f->num * (drawn + 1) / parts;
            wanted = from + (uint64_t)(f->q->random(f->q->arg) * (double)(to - from));
        }
        if (nth++ == wanted)
            out[drawn++] = i;
    }
    return drawn;
}

static double total_of(const struct frame *f, share_cb share_of)
{
    double total = 0;

    for (uint32_t i = f->first; i < f->q->num; i++) {
        if (is_in(f, i) && share_of(row_at(f->q, i)) > 0)
            total += share_of(row_at(f->q, i));
    }
    return total;
}

/* Those in which `parts` points of the sum of all shares fall, one point in each equal part. */
static uint32_t draw_shares(const struct frame *f, share_cb share_of, double total, uint32_t *out,
                            uint32_t parts)
{
    double part = total / parts, sum = 0, point = f->q->random(f->q->arg) * part;
    uint32_t drawn = 0;

    for (uint32_t i = f->first; i < f->q->num && drawn < parts; i++) {
        if (!is_in(f, i) || !(share_of(row_at(f->q, i)) > 0))
            continue;
        sum += share_of(row_at(f->q, i));
        while (drawn < parts && point < sum) {
            out[drawn++] = i;
            point = (drawn + f->q->random(f->q->arg)) * part;
        }
    }
    return drawn; /* rounding may cost the last one */
}

static share_cb share_of_first(const struct frame *f)
{
    const struct table_deployment *d = row_at(f->q, f->first);

    if (d->weight != 0)
        return weight_of;
    return d->rpm > 0 ? rpm_of : d->tpm > 0 ? tpm_of : one_of;
}

uint32_t sample_draw(const struct sample_question *q, uint32_t *out, uint32_t max)
{
    struct frame f = frame_of(q);
    share_cb share_of = one_of;
    double total;

    if (f.num == 0 || max == 0)
        return 0;
    if (q->by_share)
        share_of = share_of_first(&f);
    if (share_of == one_of)
        return draw_places(&f, out, f.num < max ? f.num : max);
    total = total_of(&f, share_of);
    return total > 0 ? draw_shares(&f, share_of, total, out, max)
                     : draw_places(&f, out, f.num < max ? f.num : max);
}
