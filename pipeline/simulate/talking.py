"""Tasks that are talked through: tools to call, a list that changes over many turns."""

# ruff: noqa: RUF001  # Chinese has punctuation of its own

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple

from pipeline.simulate.lookup import CITIES, FIRST
from pipeline.simulate.made import Made, Said, scaled
from pipeline.simulate.reckoning import numeric

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROOMS = ("kitchen", "hall", "office", "cellar", "attic", "garage")
THINGS = ("milk", "bread", "tea", "rice", "soap", "salt", "paper", "honey")
VALUES: dict[str, tuple[Any, ...]] = {
    "city": CITIES, "day": DAYS, "person": FIRST, "room": ROOMS, "thing": THINGS, "amount": tuple(range(2, 90)),
    "minutes": tuple(range(5, 240, 5)), "degrees": tuple(range(12, 27)), "people": tuple(range(2, 11)),
}  # fmt: skip


class Tool(NamedTuple):
    """A tool: what it does, how one asks for it in English and in Chinese, and which arguments it takes."""

    does: str
    en: str
    zh: str
    takes: tuple[str, ...]


TOOLS = {
    "get_weather": Tool("Weather of a city on a day.", "what is the weather in {city} on {day}",
                        "查一下 {city} 在 {day} 的天气", ("city", "day")),
    "book_table": Tool("Book a table.", "book a table for {people} in {city} on {day}",
                       "在 {city} 订一张 {people} 人的桌子，时间 {day}", ("people", "city", "day")),
    "set_timer": Tool("Start a timer.", "set a timer for {minutes} minutes",
                      "设一个 {minutes} 分钟的计时器", ("minutes",)),
    "set_heating": Tool("Set a room's temperature in degrees.", "heat the {room} to {degrees} degrees",
                        "把 {room} 的温度调到 {degrees} 度", ("room", "degrees")),
    "order_thing": Tool("Order something for a day.", "order {amount} packs of {thing} for {day}",
                        "订购 {amount} 包 {thing}，{day} 送到", ("thing", "amount", "day")),
    "call_person": Tool("Call a person.", "call {person}", "给 {person} 打电话", ("person",)),
    "invite_person": Tool("Invite a person to a city.", "invite {person} to {city} on {day}",
                          "邀请 {person} 在 {day} 到 {city}", ("person", "city", "day")),
    "switch_light": Tool("Switch the light of a room.", "switch the light in the {room}",
                         "开关 {room} 的灯", ("room",)),
    "find_train": Tool("Find a train to a city.", "find a train to {city} on {day}",
                       "找 {day} 去 {city} 的火车", ("city", "day")),
    "send_money": Tool("Send euros to a person.", "send {amount} euros to {person}",
                       "给 {person} 转 {amount} 欧元", ("person", "amount")),
    "add_to_list": Tool("Put something on the shopping list.", "put {thing} on the list",
                        "把 {thing} 加到清单", ("thing",)),
    "measure_room": Tool("Read a room's sensor.", "read the sensor of the {room}",
                         "读取 {room} 的传感器", ("room",)),
}  # fmt: skip
NUMERIC = ("amount", "minutes", "degrees", "people")
OPENING = {"en": ("Please {}.", "Could you {}?", "I need you to {}."), "zh": ("请{}。", "麻烦你{}。")}
JOINED = {"en": ", and then {}", "zh": "，然后{}"}
RESUMED = 0.08  # share of the requests for tools that follow an earlier one
FRUIT = ("apples", "pears", "plums", "figs", "limes", "dates")
CHANGES = {
    "en": ("Put {} {} on the list.", "Take {} {} off the list.", ("Done.", "OK.")),
    "zh": ("清单加上 {} 个 {}。", "清单减去 {} 个 {}。", ("好的。", "完成。")),
}
COUNTS = {
    "en": ("How many {} are on the list now?", "So what is the number of {} by now?"),
    "zh": ("现在清单上有多少个 {}？", "清单上 {} 的数量是多少？"),
}


def tools(draw: Random, demand: float, language: str) -> Made:
    """Calls of some of the tools on offer, maybe after an earlier call."""
    offered = draw.sample(list(TOOLS), scaled(draw, demand, 1, len(TOOLS)))
    names = draw.sample(offered, min(scaled(draw, demand, 1, 4), len(offered)))
    calls = [(name, {key: draw.choice(VALUES[key]) for key in TOOLS[name].takes}) for name in names]
    wishes = [getattr(TOOLS[name], language).format(**values) for name, values in calls]
    wish = wishes[0] + "".join(JOINED[language].format(each) for each in wishes[1:])
    before = earlier(draw, offered[0])
    messages = [*before, {"role": "user", "content": draw.choice(OPENING[language]).format(wish)}]
    spoiled = list(calls)
    name, values = spoiled[-1]
    key = draw.choice(list(values))
    spoiled[-1] = name, values | {key: draw.choice([each for each in VALUES[key] if each != values[key]])}
    expected = [{"name": name, "arguments": values} for name, values in calls]
    return Made(
        {"messages": messages, "tools": [definition(name) for name in offered]},
        {"kind": "tools", "calls": expected},
        Said(calls=tuple(calls)), Said(calls=tuple(spoiled)),
        {"tools": len(offered), "calls": len(calls), "arguments": sum(len(values) for _, values in calls),
         "turns": 1 + len(before) // 2},
    )  # fmt: skip


def definition(name: str) -> dict[str, Any]:
    """A tool as a request defines it."""
    keys = TOOLS[name].takes
    properties = {key: {"type": "integer" if key in NUMERIC else "string"} for key in keys}
    parameters = {"type": "object", "properties": properties, "required": list(keys)}
    return {"type": "function", "function": {"name": name, "description": TOOLS[name].does, "parameters": parameters}}


def earlier(draw: Random, name: str) -> list[dict[str, Any]]:
    """An exchange that went before: none, or a call with the reasoning that has to be sent back."""
    if draw.random() >= RESUMED:
        return []
    values = {key: draw.choice(VALUES[key]) for key in TOOLS[name].takes}
    function = {"name": name, "arguments": json.dumps(values)}
    call = {"id": "call_simulated_0", "type": "function", "function": function}
    return [
        {"role": "user", "content": f"First of all, {TOOLS[name].en.format(**values)}."},
        {"role": "assistant", "content": "", "reasoning_content": "Simulated reasoning.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "done"},
        {"role": "assistant", "content": "Done."},
    ]


def dialogue(draw: Random, demand: float, language: str) -> Made:
    """How many of something are on a list that was changed turn by turn."""
    turns = scaled(draw, demand, 1, 16)
    fruit = draw.sample(FRUIT, 2 if demand < 0.5 else 4)
    held = dict.fromkeys(fruit, 0)
    messages: list[dict[str, Any]] = []
    put, take, replies = CHANGES[language]
    for _ in range(turns):
        kind, change = draw.choice(fruit), draw.randrange(2, 40)
        taken = held[kind] > change and draw.random() < 0.5
        held[kind] += -change if taken else change
        wish = (take if taken else put).format(change, kind)
        messages += [{"role": "user", "content": wish}, {"role": "assistant", "content": draw.choice(replies)}]
    kind = max(held, key=lambda each: held[each])
    made = numeric(draw, "", held[kind], language, {"turns": turns, "fruit": len(fruit)})
    ask = draw.choice(COUNTS[language]).format(kind)
    asked = {"messages": [*messages, {"role": "user", "content": ask}]}
    return Made(asked, made.grader, made.right, made.wrong, made.load)
