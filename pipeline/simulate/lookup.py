"""Tasks that are looked up: an entry among many, an order among people, a record as JSON."""

# ruff: noqa: RUF001  # Chinese has punctuation of its own

from __future__ import annotations

import json
from itertools import pairwise
from random import Random
from typing import Any

from pipeline.simulate.made import Made, Said, scaled

FIRST = (
    "Ada", "Bo", "Chen", "Dora", "Emil", "Fay", "Gita", "Hugo", "Ines", "Jan", "Kofi", "Lea", "Mina", "Nils", "Olga",
    "Pia", "Quin", "Rosa", "Sven", "Tara", "Udo", "Vera", "Wim", "Yara", "Zoe",
)  # fmt: skip
LAST = ("Adler", "Berg", "Costa", "Diaz", "Eriksen", "Fischer", "Garcia", "Haas", "Ito", "Jensen", "Kim", "Lopez")
CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Porto", "Turin", "Accra", "Hanoi", "Perth", "Leeds", "Basel", "Osaka")
GOODS = ("chairs", "lamps", "desks", "shelves", "rugs", "clocks", "mirrors", "stools")
ENTRY = {
    "en": "Order {number}: {name}, {city}, {amount} {goods}, {euros} euros.",
    "zh": "订单 {number}：{name}，{city}，{amount} 件 {goods}，{euros} 元。",
}
# By how many places one has to look at: the wanted field and the fields that single the entry out.
QUESTIONS = {
    "en": {
        1: ("city", "To which city does order {number} go? Answer with the city only."),
        2: ("name", "Who ordered {goods} to {city} for exactly {euros} euros? Answer with the full name only."),
        3: ("number", "One customer in {city} paid {euros} euros for {amount} {goods}. Give that order number only."),
    },
    "zh": {
        1: ("city", "订单 {number} 去哪个城市？"),
        2: ("name", "{city} 的谁花 {euros} 元买了 {goods}？"),
        3: ("number", "{city}，{amount} 件 {goods}，共 {euros} 元：哪个订单号？"),
    },
}
IN_PROMPT = 0.1  # share of the lists that stand in the prompt itself
KEEPER = {"en": "You answer questions about these orders.", "zh": "你根据以下订单回答问题，只给出答案。"}
TALLER = {
    "en": ("{} is taller than {}.", "{1} is shorter than {0}.", "Compared with {1}, {0} is the taller one."),
    "zh": ("{} 比 {} 高。", "{1} 比 {0} 矮。"),
}
WHO = {
    "en": ("Who is the {}?", ("tallest", "second tallest", "third tallest"), "Reply with the letter."),
    "zh": ("谁{}？", ("最高", "第二高", "第三高"), "只回答字母。"),
}
GIVE = {
    "en": 'Give this as a JSON object {{"orders": [...]}}, each order with the keys {}:',
    "zh": '写成 JSON 对象 {{"orders": [...]}}，每个订单的键是 {}：',
}
TYPES = {"name": "string", "city": "string", "goods": "string"}


def extraction(draw: Random, demand: float, language: str) -> Made:
    """One entry of a list, which stands in the prompt or before it."""
    count, hops = scaled(draw, demand, 3, 60), scaled(draw, demand, 1, 3)
    entries = [entry(draw, number) for number in draw.sample(range(10_000, 99_999), count)]
    wanted, (field, question) = draw.choice(entries), QUESTIONS[language][hops]
    listed = "\n".join(ENTRY[language].format(**each) for each in entries)
    asked, load = question.format(**wanted), {"records": count, "hops": hops}
    grader = {"kind": "exact", "answer": str(wanted[field])}
    said = Said(str(wanted[field])), Said(other(draw, str(wanted[field]), field))
    if draw.random() < IN_PROMPT:
        return Made({"prompt": f"{listed}\n\n{asked}"}, grader, *said, load)
    before = {"role": "system", "content": f"{KEEPER[language]}\n{listed}"}
    return Made({"messages": [before, {"role": "user", "content": asked}]}, grader, *said, load)


def entry(draw: Random, number: int) -> dict[str, Any]:
    """An order."""
    return {
        "number": number,
        "name": f"{_one(draw, FIRST)} {_one(draw, LAST)}",
        "city": _one(draw, CITIES),
        "amount": 2 + int(58 * draw.random()),
        "goods": _one(draw, GOODS),
        "euros": 100 + int(8_900 * draw.random()),
    }


def _one(draw: Random, values: tuple[str, ...]) -> str:
    # There are many entries, and `Random.choice` takes several times as long.
    return values[int(draw.random() * len(values))]


def other(draw: Random, value: str, field: str) -> str:
    """A value of that field that is not the given one."""
    while (found := str(entry(draw, draw.randrange(10_000, 99_999))[field])) == value:
        pass
    return found


def ordering(draw: Random, demand: float, language: str) -> Made:
    """Who stands where, from comparisons in any order."""
    count = scaled(draw, demand, 4, 14)
    people = draw.sample(FIRST, count)
    clauses = [draw.choice(TALLER[language]).format(*pair) for pair in pairwise(people)]
    draw.shuffle(clauses)
    (question, places, reply), rank = WHO[language], draw.randrange(3)
    right = people[rank]
    names = [right, *draw.sample([each for each in people if each != right], 3)]
    draw.shuffle(names)
    options = dict(zip("ABCD", names, strict=True))
    letter, wrong = next(key for key in options if options[key] == right), draw.choice("ABCD")
    wrong = wrong if wrong != letter else "ABCDA"["ABCD".index(letter) + 1]
    listed = "\n".join(f"{key}. {name}" for key, name in options.items())
    prompt = f"{' '.join(clauses)}\n{question.format(places[rank])}\n{listed}\n{reply}"
    grader = {"kind": "choice", "answer": letter, "options": list(options)}
    said = draw.choice(("{}", "({})", "Answer: {}"))
    return Made({"prompt": prompt}, grader, Said(said.format(letter)), Said(said.format(wrong)), {"clauses": count})


def record(draw: Random, demand: float, language: str) -> Made:
    """Sentences as a JSON object."""
    orders = [entry(draw, number) for number in draw.sample(range(10_000, 99_999), scaled(draw, demand, 1, 8))]
    keys = draw.sample(list(orders[0]), scaled(draw, demand, 2, 6))
    listed = "\n".join(ENTRY[language].format(**each) for each in orders)
    value = {"orders": [{key: each[key] for key in keys} for each in orders]}
    ask = GIVE[language].format(", ".join(keys))
    properties = {key: {"type": TYPES.get(key, "integer")} for key in keys}
    item = {"type": "object", "required": keys, "properties": properties}
    schema = {"type": "object", "required": ["orders"], "properties": {"orders": {"type": "array", "items": item}}}
    spoiled = [dict(each) for each in value["orders"]]
    key = draw.choice(keys)
    changed = other(draw, str(spoiled[-1][key]), key)
    spoiled[-1][key] = changed if key in TYPES else int(changed)
    return Made(
        {"prompt": f"{ask}\n{listed}", "response_format": {"type": "json_object"}},
        {"kind": "schema", "schema": schema, "equals": value},
        Said(json.dumps(value)), Said(json.dumps({"orders": spoiled})),
        {"orders": len(orders), "keys": len(keys)},
    )  # fmt: skip
