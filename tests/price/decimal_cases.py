"""Prices and costs against Python's decimal numbers: random prices in all ways of writing them, random tokens, the rules of
common/price said once more. The seeds are always the same, or those that are given: decimal_cases.py PROGRAM [SEED...]. Every
case is printed with its seed when it differs."""
import random
import subprocess
import sys
from decimal import ROUND_FLOOR, Decimal, getcontext

getcontext().prec = 200
NAMES = 12  # input, cached, output; the same of batches; above 272k; of batches above 272k
UNIT = Decimal(10) ** 15  # nano-dollars for a million tokens in a dollar for one


def half_up(number):
    return int((number + Decimal("0.5")).to_integral_value(ROUND_FLOOR))


def written(rng):
    """A price as somebody may write it, and the number that it is."""
    digits = rng.randint(1, 10 ** rng.randint(1, 22))
    exponent = -rng.randint(5, 34)
    value = Decimal(digits).scaleb(exponent)
    if value > 1000:
        value = value.scaleb(-30)
    form = rng.randrange(4)
    if form == 0:
        text = f"{value:f}"
    elif form == 1:
        text = f"{value:E}"
    elif form == 2:
        text = f"{value:e}".replace("e-0", "e-").replace("e-", "e-0")
    else:
        shift = rng.randint(0, 12)
        text = f"{value.scaleb(shift):f}e-{shift}"
    return text, Decimal(text)


def pick(prices, batches, ordinary, otherwise):
    if prices[batches] is not None:
        return prices[batches]
    if prices[ordinary] is not None:
        return half_up(Decimal(prices[ordinary]) / 2)
    return otherwise


def cost_of(prices, tokens):
    base_in = pick(prices, 3, 0, None)
    if base_in is None:
        return None
    base_cached, base_out = pick(prices, 4, 1, base_in), pick(prices, 5, 2, None)
    long_in = pick(prices, 9, 6, base_in)
    long_cached = pick(prices, 10, 7, long_in if base_cached == base_in else base_cached)
    long_out = pick(prices, 11, 8, base_out)
    t_in, t_cached, t_out, l_in, l_cached, l_out = tokens
    if (t_out > l_out and base_out is None) or (l_out > 0 and long_out is None):
        return None
    total = (Decimal(t_in - l_in - (t_cached - l_cached)) * base_in + Decimal(t_cached - l_cached) * base_cached
             + Decimal(t_out - l_out) * (base_out or 0) + Decimal(l_in - l_cached) * long_in + Decimal(l_cached) * long_cached
             + Decimal(l_out) * (long_out or 0))
    return min(half_up(total / 1000000), 2 ** 63 - 1)


def some_tokens(rng):
    """Consistent ones: parts are no larger than the whole."""
    l_in, o_in = (rng.randint(0, 10 ** rng.randint(0, 17)) for _ in range(2))
    l_cached, o_cached = rng.randint(0, l_in), rng.randint(0, o_in)
    l_out, o_out = (rng.randint(0, 10 ** rng.randint(0, 17)) for _ in range(2))
    return l_in + o_in, l_cached + o_cached, l_out + o_out, l_in, l_cached, l_out


def run(program, seed, cases):
    rng = random.Random(seed)
    asked = []
    for _ in range(cases):
        prices = [written(rng) if rng.random() < 0.6 else None for _ in range(NAMES)]
        asked.append((prices, some_tokens(rng)))
    text = "".join(" ".join([*(p[0] if p else "-" for p in prices), *map(str, tokens)]) + "\n" for prices, tokens in asked)
    lines = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == cases, f"{len(lines)} answers to {cases} questions"
    for line, (prices, tokens) in zip(lines, asked):
        wanted = [half_up(p[1] * UNIT) if p else None for p in prices]
        wanted.append(cost_of(wanted, tokens))
        got = [None if word == "-" else int(word) for word in line.split()]
        assert got == wanted, f"seed {seed}: {prices} {tokens}: got {got}, wanted {wanted}"


def main(program, seeds):
    for seed in seeds:
        run(program, seed, 2000)
    print(f"{2000 * len(seeds)} cases, as they should be")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [int(seed) for seed in sys.argv[2:]] or [1, 2, 3, 4]))
