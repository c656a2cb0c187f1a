"""Units that numbers are told in: what they measure, how they convert."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

MONEY = "money: "
SHARE = "share"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit by its base unit: value in base units = (value + offset) · factor.

    Attributes:
        kind: what it measures; only units of one kind convert. Each currency is a kind of its own.
        factor: exact.
        offset: not zero for temperatures alone.
    """

    kind: str
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def base(self, value: Fraction) -> Fraction:
        """A value of this unit in the base unit of its kind."""
        return (value + self.offset) * self.factor

    def of_base(self, value: Fraction) -> Fraction:
        """The reverse of `base`."""
        return value / self.factor - self.offset


# Kind, factor, names. Left out is what means two things, such as "pounds" and "degrees".
# Symbols are read as written, since "mm" is no "Mm"; names of four letters and more in any case.
_LINEAR = (
    ("length", "1", "m metre metres meter meters 米 公尺"),
    ("length", "1000", "km Km KM kilometre kilometres kilometer kilometers 千米 公里"),
    ("length", "1/10", "dm 分米"),
    ("length", "1/100", "cm centimetre centimetres centimeter centimeters 厘米 公分"),
    ("length", "1/1000", "mm millimetre millimetres millimeter millimeters 毫米"),
    ("length", "1/1000000", "µm μm micrometre micrometres micrometer micrometers 微米"),
    ("length", "1/1000000000", "nm nanometre nanometres nanometer nanometers 纳米"),
    ("length", "254/10000", "in inch inches 英寸"),
    ("length", "3048/10000", "ft foot feet 英尺"),
    ("length", "9144/10000", "yd yard yards"),
    ("length", "1609344/1000", "mi mile miles 英里"),
    ("mass", "1", "kg Kg KG kilogram kilograms kilogramme kilogrammes 千克 公斤"),
    ("mass", "1/1000", "g gram grams gramme grammes 克"),
    ("mass", "1/1000000", "mg milligram milligrams 毫克"),
    ("mass", "1/1000000000", "µg μg microgram micrograms 微克"),
    ("mass", "1000", "t tonne tonnes 吨"),
    ("mass", "45359237/100000000", "lb lbs 磅"),
    ("mass", "45359237/1600000000", "oz ounce ounces 盎司"),
    ("time", "1", "s sec secs second seconds 秒 秒钟"),
    ("time", "1/1000", "ms millisecond milliseconds 毫秒"),
    ("time", "1/1000000", "µs μs microsecond microseconds 微秒"),
    ("time", "60", "min mins minute minutes 分钟"),
    ("time", "3600", "h hr hrs hour hours 小时"),
    ("time", "86400", "d day days 天"),
    ("time", "604800", "week weeks 周"),
    ("area", "1", "m^2 m2 平方米"),
    ("area", "1000000", "km^2 km2 平方公里 平方千米"),
    ("area", "1/10000", "cm^2 cm2 平方厘米"),
    ("area", "10000", "ha hectare hectares 公顷"),
    ("volume", "1", "m^3 m3 立方米"),
    ("volume", "1/1000000", "cm^3 cm3 ml mL millilitre millilitres milliliter milliliters 毫升 立方厘米"),
    ("volume", "1/1000", "l L litre litres liter liters 升"),
    ("speed", "1", "m/s"),
    ("speed", "1000/3600", "km/h kph km/hr"),
    ("speed", "1609344/3600000", "mph mi/h"),
    ("acceleration", "1", "m/s^2 m/s2"),
    (SHARE, "1/100", "% percent 百分之"),
    (SHARE, "1/1000", "‰"),
    ("temperature", "1", "K kelvin"),
    (MONEY + "dollar", "1", "$ US$ USD dollar dollars 美元"),
    (MONEY + "euro", "1", "€ EUR euro euros 欧元"),
    (MONEY + "pound", "1", "£ GBP"),
    (MONEY + "yuan or yen", "1", "¥ CNY RMB JPY yuan yen 元 人民币 日元"),
    (MONEY + "rupee", "1", "₹ INR rupee rupees"),
    (MONEY + "cent", "1", "¢ cent cents"),
)
_SHIFTED = (
    ("temperature", "1", "273.15", "°C ℃ celsius 摄氏度"),
    ("temperature", "5/9", "459.67", "°F ℉ fahrenheit 华氏度"),
)
_TABLE = (*((kind, factor, "0", names) for kind, factor, names in _LINEAR), *_SHIFTED)
UNITS = {
    name: Unit(kind, Fraction(factor), Fraction(offset))
    for kind, factor, offset, names in _TABLE
    for name in names.split()
}
# What stands before the number.
PREFIXES = ("US$", "USD", "EUR", "GBP", "CNY", "RMB", "JPY", "INR", "$", "€", "£", "¥", "₹", "百分之")


def unit(name: str) -> Unit | None:
    """The unit of a name or symbol, None where it is not known."""
    return UNITS.get(name) or (UNITS.get(name.lower()) if len(name) > 3 else None)
