/* What decimal.py asks: a line of the twelve prices of price.h in their order ("-" for one that is
 * not given), then the six numbers of struct price_tokens; answered by a line with what each price
 * became and the cost, all in whole numbers. "-": none. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "price/price.h"

#define WORDS (PRICE_NAMES + 6)

static void read_list(char *const *words, struct price_list *list)
{
    price_list_init(list);
    for (int i = 0; i < PRICE_NAMES; i++)
        if (strcmp(words[i], "-") != 0 &&
            price_parse(words[i], strlen(words[i]), &list->of[i]) != 0)
            list->of[i] = PRICE_NONE;
}

static uint64_t number(const char *word)
{
    return strtoull(word, NULL, 10);
}

static void print_number(int64_t number, bool there)
{
    if (there)
        printf("%" PRId64 " ", number);
    else
        printf("- ");
}

static void answer(char *const *words)
{
    char *const *t = words + PRICE_NAMES;
    const struct price_tokens tokens = {number(t[0]), number(t[1]), number(t[2]),
                                        number(t[3]), number(t[4]), number(t[5])};
    struct price_list list;
    struct price price;
    int64_t nano = 0;
    bool priced;

    read_list(words, &list);
    for (int i = 0; i < PRICE_NAMES; i++)
        print_number(list.of[i], list.of[i] != PRICE_NONE);
    priced = price_of_list(&list, &price) && price_cost(&price, &tokens, &nano);
    print_number(nano, priced);
    printf("\n");
    fflush(stdout);
}

int main(void)
{
    char line[4096], *words[WORDS];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *rest = line;
        size_t num = 0;

        while (num < WORDS && (words[num] = strtok_r(rest, " \n", &rest)) != NULL)
            num++;
        if (num != WORDS)
            return 1;
        answer(words);
    }
    return 0;
}
