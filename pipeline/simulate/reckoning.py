"""Tasks that are reckoned: expressions, stories in several steps."""

# ruff: noqa: RUF001  # Chinese has punctuation of its own

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from pipeline.simulate.made import Made, Said, scaled

MOST_OFF = 9  # a wrong number is this far from the right one, at most, in its own digits

EXPRESSIONS = {
    "en": ("What is {}?", "Work out {}.", "Compute {} and give the result.", "{} = ?"),
    "zh": ("{} 等于多少？", "请计算 {}。", "算一算：{}，结果是多少？"),
}
RESULTS = {"en": ("The answer is {}.", "{}", "Answer: {}"), "zh": ("答案：{}", "{}")}
PLACES = {
    "en": ("depot in Oslo", "mill by the river", "shop on Main Street", "farm near Cork", "school kitchen", "bakery"),
    "zh": ("上海的仓库", "城里的商店", "河边的工厂", "学校的厨房", "村里的面包店"),
}
GOODS = {
    "en": ("crates", "sacks", "barrels", "boxes", "bottles", "loaves", "baskets", "candles"),
    "zh": ("箱子", "袋子", "瓶子", "盒子", "篮子", "蜡烛"),
}
STORY = {
    "en": (
        "A {place} starts the day with {count} {goods}.",
        {
            "more": ("Then {} more arrive.", "A truck brings {}.", "{} are added in the afternoon."),
            "less": ("After that {} are sold.", "{} are sent away.", "A customer takes {} of them."),
            "double": ("Overnight a delivery doubles what is there.", "The stock is then doubled."),
            "half": ("Half of what is left goes to a second site.", "Then half of them are given away."),
        },
        "How many {goods} are there in the end?",
    ),
    "zh": (
        "{place}早上有{count}个{goods}。",
        {
            "more": ("后来又运来{}个。", "下午增加了{}个。"),
            "less": ("接着卖出{}个。", "有人拿走了{}个。"),
            "double": ("第二天数量翻了一倍。",),
            "half": ("然后送走了一半。",),
        },
        "最后有多少个{goods}？",
    ),
}


def arithmetic(draw: Random, demand: float, language: str) -> Made:
    """An expression of several terms."""
    operands, digits = scaled(draw, demand, 2, 12), scaled(draw, demand, 2, 6)
    text, value = "", 0
    for at in range(operands):
        number = draw.randrange(10 ** (digits - 1), 10**digits)
        sign = -1 if at and draw.random() < 0.5 else 1
        factor = draw.randrange(2, 10) if draw.random() < demand / 2 else 1
        text += (" - " if sign < 0 else " + ") * bool(at) + f"{number}" + (f" * {factor}" if factor > 1 else "")
        value += sign * number * factor
    asked = draw.choice(EXPRESSIONS[language]).format(text)
    return numeric(draw, asked, value, language, {"operands": operands, "digits": digits})


def steps(draw: Random, demand: float, language: str) -> Made:
    """A story in which a stock changes step by step."""
    begin, happenings, ask = STORY[language]
    count, place, goods = draw.randrange(20, 400), draw.choice(PLACES[language]), draw.choice(GOODS[language])
    number = scaled(draw, demand, 2, 14)
    sentences = [begin.format(place=place, count=count, goods=goods)]
    for _ in range(number):
        event = draw.choice(("more", "less", "more", "less", "half" if count % 2 == 0 else "double"))
        change = draw.randrange(2, max(count // 2, 4))
        sentences.append(draw.choice(happenings[event]).format(change))
        count = {"more": count + change, "less": count - change, "double": 2 * count, "half": count // 2}[event]
    asked = ("" if language == "zh" else " ").join([*sentences, ask.format(goods=goods)])
    return numeric(draw, asked, count, language, {"steps": number})


def numeric(draw: Random, prompt: str, value: int, language: str, load: Mapping[str, float]) -> Made:
    """A task whose answer is a whole number."""
    said = draw.choice(RESULTS[language])
    off = draw.randrange(1, MOST_OFF + 1) * 10 ** draw.randrange(len(str(abs(value)))) * draw.choice((-1, 1))
    asked = {"prompt": prompt}
    grader = {"kind": "number", "answer": value}
    return Made(asked, grader, Said(said.format(value)), Said(said.format(value + off)), load)
