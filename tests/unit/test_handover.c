/* What one program hands to the next, in one process: descriptors and the variable that names them,
 * and regions that are not what they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "balancer/idem.h"
#include "balancer/memo.h"
#include "balancer/poll_cache.h"
#include "balancer/quota.h"
#include "balancer/slots.h"
#include "balancer/state.h"
#include "crypto/seal_cache.h"
#include "common/shm.h"
#include "master/handover.h"

#define OLD_MASTER 4711
#define NOW        1000000

/* --- regions --- */

/* The kinds of regions, as functions of a descriptor: make one, and take one over. */
static void *new_idem(void)
{
    struct idem *region = NULL;

    assert_int_equal(idem_new(64, &region), 0);
    return region;
}

static int adopt_idem(int fd)
{
    struct idem *region = NULL;
    int ret = idem_adopt(fd, 64, &region);

    idem_free(region);
    return ret;
}

static void *new_memo(void)
{
    struct memo *region = NULL;

    assert_int_equal(memo_new(64, &region), 0);
    return region;
}

static int adopt_memo(int fd)
{
    struct memo *region = NULL;
    int ret = memo_adopt(fd, 64, &region);

    memo_free(region);
    return ret;
}

static void *new_polls(void)
{
    struct poll_cache *region = NULL;

    assert_int_equal(poll_cache_new(64, &region), 0);
    return region;
}

static int adopt_polls(int fd)
{
    struct poll_cache *region = NULL;
    int ret = poll_cache_adopt(fd, 64, &region);

    poll_cache_free(region);
    return ret;
}

static void *new_seals(void)
{
    struct seal_cache *region = NULL;

    assert_int_equal(seal_cache_new(64, &region), 0);
    return region;
}

static int adopt_seals(int fd)
{
    struct seal_cache *region = NULL;
    int ret = seal_cache_adopt(fd, 64, &region);

    seal_cache_free(region);
    return ret;
}

static void *new_state(void)
{
    struct state *region = NULL;

    assert_int_equal(state_new(8, 64, &region), 0);
    return region;
}

static int adopt_state(int fd)
{
    struct state *region = NULL;
    int ret = state_adopt(fd, 8, 64, &region);

    state_free(region);
    return ret;
}

static void *new_quota(void)
{
    struct quota *region = NULL;

    assert_int_equal(quota_new(64, 64, &region), 0);
    return region;
}

static int adopt_quota(int fd)
{
    struct quota *region = NULL;
    int ret = quota_adopt_region(fd, 64, 64, &region);

    quota_free(region);
    return ret;
}

static void *new_slots(void)
{
    struct slots *region = NULL;

    assert_int_equal(slots_new(64, &region), 0);
    return region;
}

static int adopt_slots(int fd)
{
    struct slots *region = NULL;
    int ret = slots_adopt(fd, 64, &region);

    slots_free(region);
    return ret;
}

static const struct kind {
    const char *name;
    void *(*make)(void);
    int (*adopt)(int fd);
} kinds[] = {{"idem", new_idem, adopt_idem},    {"memo", new_memo, adopt_memo},
             {"polls", new_polls, adopt_polls}, {"seals", new_seals, adopt_seals},
             {"state", new_state, adopt_state}, {"quota", new_quota, adopt_quota},
             {"slots", new_slots, adopt_slots}};

#define NUM_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* The bytes of a region in a memfd of that size, sealed or not; each region is mapped to the end of
 * the test, as the program before keeps it. */
static int copy_of(const void *region, off_t size, bool sealed)
{
    char bytes[4096];
    ssize_t len;
    int fd = memfd_create("copy", MFD_ALLOW_SEALING | MFD_CLOEXEC);

    assert_true(fd != -1);
    len = pread(shm_fd(region), bytes, sizeof(bytes), 0);
    assert_true(len > 0);
    assert_int_equal(write(fd, bytes, (size_t)len), len);
    assert_int_equal(ftruncate(fd, size), 0);
    if (sealed)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

static off_t size_of(const void *region)
{
    return lseek(shm_fd(region), 0, SEEK_END);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1 || errno != EBADF;
}

static void a_region_of_the_same_form_is_taken_over(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_KINDS; i++) {
        void *region = kinds[i].make();

        assert_int_equal(kinds[i].adopt(dup(shm_fd(region))), 0);
        assert_int_equal(kinds[i].adopt(copy_of(region, size_of(region), true)), 0);
        assert_int_equal(kinds[i].adopt(-1), ERR_NOT_FOUND);
    }
}

static void each_byte_of_its_head_has_to_be_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_KINDS; i++) {
        void *region = kinds[i].make();

        for (off_t at = 0; at < 32; at++) { /* magic, layout, size, a dimension or a mask */
            int fd = copy_of(region, size_of(region), true);
            unsigned char byte;

            assert_int_equal(pread(fd, &byte, 1, at), 1);
            byte ^= 0x10;
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            if (at >= 20 && strcmp(kinds[i].name, "slots") == 0) {
                close(fd); /* padding */
                continue;
            }
            assert_int_equal(kinds[i].adopt(fd), ERR_INVALID);
            assert_false(is_open(fd));
        }
    }
}

static void what_is_cut_off_or_too_long_is_not_mapped(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_KINDS; i++) {
        void *region = kinds[i].make();
        off_t size = size_of(region);
        const off_t sizes[] = {0, 1, 16, size - 1, size + 1};

        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
            assert_int_equal(kinds[i].adopt(copy_of(region, sizes[k], true)), ERR_INVALID);
    }
}

/* It could be cut off while it is mapped. */
static void what_may_change_its_size_is_not_mapped(void **state)
{
    char path[] = "/tmp/tranche-handover-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd != -1);
    assert_int_equal(unlink(path), 0);
    for (size_t i = 0; i < NUM_KINDS; i++) {
        void *region = kinds[i].make();

        assert_int_equal(kinds[i].adopt(copy_of(region, size_of(region), false)), ERR_INVALID);
        assert_int_equal(kinds[i].adopt(dup(fd)), ERR_INVALID);
        assert_int_equal(kinds[i].adopt(open("/dev/null", O_RDWR)), ERR_INVALID);
    }
    close(fd);
}

static void a_ledger_that_names_columns_or_places_beyond_its_end_is_not_taken_over(void **state)
{
    struct quota *quota = new_quota();
    struct quota_terms terms = {.fingerprint = 1};
    struct quota_claim claim;
    uint64_t large = UINT64_C(1) << 40;
    int fd;

    (void)state;
    quota_bind(quota, 0, &terms);
    assert_int_equal(quota_reserve(quota, 1, 0, 10, 0, NOW, &claim), 0);
    fd = dup(shm_fd(quota));
    assert_int_equal(adopt_quota(dup(fd)), 0);
    assert_int_equal(pwrite(fd, &large, sizeof(large), 64), sizeof(large)); /* places ever used */
    assert_int_equal(adopt_quota(fd), ERR_INVALID);
}

static void a_region_without_a_descriptor_is_a_region_all_the_same(void **state)
{
    void *plain = shm_new(4096);

    (void)state;
    assert_non_null(plain);
    assert_int_equal(shm_fd(plain), -1);
    shm_free(plain, 4096);
}

/* --- what two programs know of each other's places --- */

static void what_one_program_has_under_way_the_other_sees_and_does_not_undo(void **state)
{
    struct idem *old = new_idem(), *new = NULL;
    struct idem_key key = idem_key('c', 1, "key", 3);
    struct idem_claim claim, again;
    struct idem_answer answer;

    (void)state;
    assert_int_equal(idem_begin(old, 3, &key, 7, "n", 1000, NOW, &claim, &answer), IDEM_NEW);
    assert_true(idem_sent(old, &claim, 1));
    assert_int_equal(idem_adopt(dup(shm_fd(old)), 64, &new), 0);
    assert_int_equal(idem_since_ms(new), idem_since_ms(old));
    assert_int_equal(idem_undo_holders(new, 128, 128), 0); /* its own workers died */
    assert_int_equal(idem_begin(new, 130, &key, 7, "n", 1000, NOW, &again, &answer), IDEM_RUNNING);
    assert_int_equal(idem_undo_holders(new, 0, 128), 1); /* nobody of the other one is left */
    assert_int_equal(idem_begin(new, 130, &key, 7, "n", 1000, NOW, &again, &answer), IDEM_LOST);
    idem_free(new);
    idem_free(old);
}

static void
reservations_of_a_program_that_died_become_orphans_and_those_of_the_other_stay(void **state)
{
    struct quota *old = new_quota(), *new = NULL;
    struct quota_terms terms = {.fingerprint = 1};
    struct quota_claim sent, reserved, other;
    struct quota_undone undone;
    struct quota_sum sum;

    (void)state;
    quota_bind(old, 0, &terms);
    assert_int_equal(quota_reserve(old, 0, 0, 1, 0, NOW, &sent), 0);
    assert_true(quota_sent(old, &sent));
    assert_int_equal(quota_reserve(old, 127, 0, 10, 0, NOW, &reserved), 0);
    assert_int_equal(quota_adopt_region(dup(shm_fd(old)), 64, 64, &new), 0);
    quota_bind(new, 0, &terms);
    assert_int_equal(quota_reserve(new, 128, 0, 100, 0, NOW, &other), 0);
    undone = quota_undo_holders(new, 0, 128, NOW);
    assert_int_equal(undone.orphans, 1);
    assert_int_equal(undone.freed, 1);
    assert_true(quota_repair(new, NULL));
    quota_read(old, 0, NOW, &sum);
    assert_int_equal(sum.reserved, 101);
    undone = quota_undo_holders(new, 0, 128, NOW); /* once is enough */
    assert_int_equal(undone.orphans + undone.freed, 0);
    quota_free(new);
    quota_free(old);
}

/* --- the variable --- */

static struct handover_offer no_offer(void)
{
    static const struct secret none = SECRET_NONE;
    struct handover_offer offer = {
        .side = 1, .seal = &none, .place = -1, .own_life = -1, .life = LIFE_NONE};

    for (int i = 0; i < HANDOVER_REGIONS; i++)
        offer.regions[i] = -1;
    return offer;
}

/* With both lives, as a program makes it. The read end of the other's life is *other. */
static struct handover_offer an_offer(struct life *own)
{
    struct handover_offer offer = no_offer();

    assert_int_equal(life_new(own), 0);
    assert_int_equal(life_new(&offer.life), 0);
    offer.own_life = own->watched;
    return offer;
}

static void what_is_offered_is_taken_once_and_stays_closed_for_others(void **state)
{
    struct idem *idem = new_idem();
    struct life own, mine;
    struct handover_offer offer = an_offer(&own);
    int fd = dup(shm_fd(idem)), other;

    (void)state;
    offer.regions[HANDOVER_IDEM] = fd;
    offer.columns = 64;
    assert_true(handover_export(&offer, OLD_MASTER));
    assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    handover_init(OLD_MASTER);
    assert_null(getenv("TRANCHE_HANDOVER"));
    assert_true(handover_is_given());
    assert_int_equal(handover_side(), 1);
    assert_int_equal(handover_columns(), 64);
    assert_int_equal(handover_take(HANDOVER_IDEM), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(handover_take(HANDOVER_IDEM), -1);
    assert_int_equal(handover_take(HANDOVER_QUOTA), -1);
    handover_take_lives(&mine, &other);
    assert_int_equal(mine.held, offer.life.held);
    assert_int_equal(mine.watched, offer.life.watched);
    assert_int_equal(other, own.watched);
    handover_end();
    assert_true(is_open(fd) && is_open(mine.held));
    life_close(&mine);
    life_close(&own);
    close(fd);
}

static void the_lock_on_a_place_goes_over_with_its_descriptor(void **state)
{
    char path[] = "/tmp/test-handover-XXXXXX";
    int fd = mkstemp(path), taken, stranger = open(path, O_RDWR | O_CLOEXEC);
    struct life own;
    struct handover_offer offer = an_offer(&own);

    (void)state;
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    offer.place = dup(fd); /* as after fork(2): two descriptors of one open file */
    assert_true(handover_export(&offer, OLD_MASTER));
    handover_init(OLD_MASTER);
    taken = handover_take_place();
    assert_int_equal(taken, offer.place);
    assert_true(fcntl(taken, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(handover_take_place(), -1);
    handover_end();
    close(fd);
    assert_int_equal(flock(taken, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(flock(stranger, LOCK_EX | LOCK_NB), -1);
    close(taken);
    assert_int_equal(flock(stranger, LOCK_EX | LOCK_NB), 0);
    close(stranger);
    unlink(path);
    life_close(&own);
}

static void what_nobody_took_is_closed(void **state)
{
    struct memo *memo = new_memo();
    struct life own;
    struct handover_offer offer = an_offer(&own);
    int fd = dup(shm_fd(memo));

    (void)state;
    offer.regions[HANDOVER_MEMO] = fd;
    assert_true(handover_export(&offer, OLD_MASTER));
    handover_init(OLD_MASTER);
    handover_end();
    assert_false(is_open(fd));
    assert_false(is_open(offer.life.held));
    close(own.held);
}

/* A program of before the hand-over is started by one that does, and starts one that does: the
 * variable is still there, and what it names is years old. */
static void an_offer_of_another_program_than_the_one_that_started_us_is_not_believed(void **state)
{
    struct life own;
    struct handover_offer offer = an_offer(&own);

    (void)state;
    assert_true(handover_export(&offer, OLD_MASTER));
    handover_init(OLD_MASTER + 1);
    assert_false(handover_is_given());
    assert_int_equal(handover_side(), 0);
    assert_null(getenv("TRANCHE_HANDOVER"));
    assert_true(handover_export(&offer, OLD_MASTER));
    handover_init(0);
    assert_false(handover_is_given());
    life_close(&offer.life);
    life_close(&own);
}

static void without_the_two_lives_nothing_is_shared(void **state)
{
    static const char *const texts[] = {
        "",
        "from=4711",
        "from=4711 side=1 idem=0",
        "from=4711 side=1 before=1 held=2",
        "from=4711 side=1 before=99999999999999999999 held=x",
        "from=4711 side=1 before=-1 held=-1 idem=1000000",
        "side=1 from=4711x before=3 held=4",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        setenv("TRANCHE_HANDOVER", texts[i], 1);
        handover_init(OLD_MASTER);
        assert_false(handover_is_given());
        assert_int_equal(handover_side(), 0);
        assert_int_equal(handover_take(HANDOVER_IDEM), -1);
    }
}

static void the_random_seal_goes_over_and_is_nowhere_else(void **state)
{
    static const char bytes[] = {1, 0, 2, '\n', 3};
    struct secret seal = SECRET_NONE, got = SECRET_NONE, more = SECRET_NONE;
    struct life own;
    struct handover_offer offer = an_offer(&own);

    (void)state;
    assert_int_equal(secret_set(&seal, bytes, sizeof(bytes)), 0);
    offer.seal = &seal;
    assert_true(handover_export(&offer, OLD_MASTER));
    handover_init(OLD_MASTER);
    handover_take_seal(&got);
    assert_true(secret_equal(&got, bytes, sizeof(bytes)));
    handover_take_seal(&more);
    assert_false(secret_is_set(&more));
    handover_end();
    secret_clear(&seal);
    secret_clear(&got);
    close(own.held);
}

static void a_life_ends_with_the_last_one_who_holds_it(void **state)
{
    struct life life;
    char byte;
    int another;

    (void)state;
    assert_int_equal(life_new(&life), 0);
    another = dup(life.held);
    close(life.held);
    assert_int_equal(read(life.watched, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    close(another);
    assert_int_equal(read(life.watched, &byte, 1), 0);
    close(life.watched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_of_the_same_form_is_taken_over),
        cmocka_unit_test(each_byte_of_its_head_has_to_be_right),
        cmocka_unit_test(what_is_cut_off_or_too_long_is_not_mapped),
        cmocka_unit_test(what_may_change_its_size_is_not_mapped),
        cmocka_unit_test(a_ledger_that_names_columns_or_places_beyond_its_end_is_not_taken_over),
        cmocka_unit_test(a_region_without_a_descriptor_is_a_region_all_the_same),
        cmocka_unit_test(what_one_program_has_under_way_the_other_sees_and_does_not_undo),
        cmocka_unit_test(
            reservations_of_a_program_that_died_become_orphans_and_those_of_the_other_stay),
        cmocka_unit_test(what_is_offered_is_taken_once_and_stays_closed_for_others),
        cmocka_unit_test(the_lock_on_a_place_goes_over_with_its_descriptor),
        cmocka_unit_test(what_nobody_took_is_closed),
        cmocka_unit_test(an_offer_of_another_program_than_the_one_that_started_us_is_not_believed),
        cmocka_unit_test(without_the_two_lives_nothing_is_shared),
        cmocka_unit_test(the_random_seal_goes_over_and_is_nowhere_else),
        cmocka_unit_test(a_life_ends_with_the_last_one_who_holds_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
