"""What stands in a picture, read back from its SVG."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from gaugeblock.pictures.svg import Picture, text_width

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Box:
    text: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0.5 and down > 0.5


def parsed(picture: Picture) -> ET.Element:
    """The root element; raises if it is not well-formed XML."""
    return ET.fromstring(picture.svg)


def marked(picture: Picture, attribute: str) -> list[dict[str, str]]:
    """The data attributes, without "data-", of all elements that have this one."""
    marks = []
    for element in parsed(picture).iter():
        data = {k.removeprefix("data-"): v for k, v in element.attrib.items() if k.startswith("data-")}
        if attribute in data:
            marks.append(data)
    return marks


def texts(picture: Picture) -> Iterator[Box]:
    """The boxes of all texts, as wide as they are in the widest of the usual fonts."""
    for element in parsed(picture).iter(f"{SVG}text"):
        kinds = element.get("class", "").split()
        x, y, size = (float(element.attrib[name]) for name in ("x", "y", "font-size"))
        text = element.text or ""
        width = text_width(text, size, bold="bold" in kinds, mono="mono" in kinds)
        before = {"start": 0.0, "middle": width / 2, "end": width}[element.get("text-anchor", "start")]
        high = 0.45 * size  # of capital letters, from the middle
        if (turn := element.get("transform")) is None:
            yield Box(text, x - before, y - high, x - before + width, y + high)
        else:
            assert re.match(r"rotate\(-90 ", turn), turn
            yield Box(text, x - high, y + before - width, x + high, y + before)


def assert_readable(picture: Picture) -> None:
    """Well-formed, with a title; all texts inside the picture, and none on another."""
    root = parsed(picture)
    assert root.find(f"{SVG}title") is not None
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    boxes = list(texts(picture))
    for box in boxes:
        assert left <= box.left, box
        assert box.right <= left + width, box
        assert top <= box.top, box
        assert box.bottom <= top + height, box
    boxes.sort(key=lambda box: box.top)
    for i, one in enumerate(boxes):
        for other in takewhile(lambda box: box.top < one.bottom, boxes[i + 1 :]):  # noqa: B023
            assert not one.overlaps(other), (one, other)
