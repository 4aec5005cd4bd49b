"""A file of valid requests for the batch endpoint, 4 KB each: what a real batch of chats looks like. One file serves all sizes: smaller ones are its beginning."""

import json
import os
import random

import client

LINE_BYTES = 4096
CONVERSATIONS = 200  # different ones; every line has an id of its own
PLAIN = ("the request of a customer who called about an invoice and then asked for translation of this text into another language because "
         "their department would like to classify all reviews as positive, negative or neutral.").split(" ")
ODD = ['said: "now",', "naïve", "12.50 €", "价格很高。", "line\nand\ttab", "https://example.com/a?b=c&d=e", '{"json": [1, 2.5e-3, null]}']



def conversation(dice):
    """The tail of a line, from its body on."""
    system = "You are a careful assistant. Answer in JSON with the fields label and reason."
    body = {"model": "gpt-4o-batch", "messages": [{"role": "system", "content": system}, {"role": "user", "content": ""}],
            "max_tokens": 1000, "temperature": 0.2}
    text = []
    room = LINE_BYTES - 120 - len(json.dumps(body))
    while room > 0:
        word = dice.choice(ODD if dice.random() < 0.04 else PLAIN)
        room -= len(json.dumps(word, ensure_ascii=False).encode()) - 1
        text.append(word)
    body["messages"][1]["content"] = " ".join(text)
    return f'", "method": "POST", "url": "/v1/chat/completions", "body": {json.dumps(body, ensure_ascii=False)}}}\n'.encode()


def write(path, sizes):
    """One client.Source for each of `sizes` (bytes, each rounded down to whole lines)."""
    dice = random.Random(7)
    tails = [conversation(dice) for _ in range(CONVERSATIONS)]
    ends = {}
    wanted = sorted(sizes)
    at = count = 0
    with open(path, "wb") as f:
        while wanted:
            line = b'{"custom_id": "request-%08d' % count + tails[count % CONVERSATIONS]
            while wanted and at + len(line) > wanted[0]:
                ends[wanted.pop(0)] = (at, count)
            f.write(line)
            at += len(line)
            count += 1
    fd = os.open(path, os.O_RDONLY)
    return {size: client.Source(fd, *ends[size]) for size in sizes}
