"""report.html in a real browser: it fits, loads nothing, can be read in both schemes and by colour-blind people."""

import base64
import json
import re
import struct
import xml.etree.ElementTree as ElementTree

import numpy
import pytest

import browser as chromium

TOKENS = ("--tokens", 2000)
WIDTHS = (400, 1280)
SCHEMES = ("light", "dark")
HOSTILE = "<img src=x onerror=alert(1)> | `a` & \"b\""

# Machado, Oliveira and Fernandes 2009, A Physiologically-based Model for Simulation of Color Vision Deficiency, severity 1:
# linear RGB to linear RGB.
SIGHT = {
    "normal": numpy.eye(3),
    "protanopia": numpy.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": numpy.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
}

# Every piece of text with its colour and what is behind it: [text, [r, g, b, a], [[r, g, b, a] from the front to the back]].
TEXTS = """(() => {
  const color = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const full = (list) => list.length === 3 ? [...list, 1] : list;
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    const tag = element.tagName.toLowerCase();
    if (!node.textContent.trim() || tag === "title" || tag === "style") continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    const isDrawn = element instanceof SVGElement;
    const behind = [];
    const cell = isDrawn && element.classList.contains("cell") ? element.previousElementSibling : null;
    if (cell) {
      const fill = full(color(getComputedStyle(cell).fill));
      behind.push([fill[0], fill[1], fill[2], fill[3] * Number(getComputedStyle(cell).fillOpacity)]);
    }
    for (let above = element; above; above = above.parentElement) {
      if (above instanceof SVGElement) continue;
      behind.push(full(color(getComputedStyle(above).backgroundColor)));
    }
    found.push([node.textContent.trim().slice(0, 40), full(color(isDrawn ? style.fill : style.color)), behind]);
  }
  return found;
})()"""


def linear(rgb):
    rgb = numpy.asarray(rgb[:3], float) / 255
    return numpy.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(rgb, sight):
    seen = numpy.clip(SIGHT[sight] @ linear(rgb), 0, 1)
    return float(seen @ [0.2126, 0.7152, 0.0722])


def contrast(one, other, sight="normal"):
    """WCAG 2, 1.4.3."""
    high, low = sorted((luminance(one, sight), luminance(other, sight)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def flattened(layers):
    """What is seen of translucent layers, the front one first."""
    color = numpy.full(3, 255.0)
    for *rgb, alpha in reversed(layers):
        color = numpy.asarray(rgb, float) * alpha + color * (1 - alpha)
    return color


@pytest.fixture(scope="module")
def chrome():
    path = chromium.find()
    if not path:
        pytest.skip("there is no Chromium (Debian: apt-get install chromium; or set LLAMA_CHROMIUM)")
    browser = chromium.Browser(path)
    yield browser
    browser.close()


def planted(source, folder):
    """`source` with the key rows of layer 1 in another order."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = bytearray((source / "model.safetensors").read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8 : 8 + size])["model.layers.1.self_attn.k_proj.weight"]["data_offsets"]
    begin, end = begin + 8 + size, end + 8 + size
    half = (end - begin) // 2
    data[begin:end] = data[begin + half : end] + data[begin : begin + half]
    (folder / "model.safetensors").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def pages(programs, tiny, text, converted, tmp_path_factory):
    """Name → folder of a report: one that passes, one that fails and was bisected, one alone, several."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = folder / HOSTILE.replace("/", "")
    bad = planted(tiny, hostile)
    verify = lambda name, *arguments: programs.run(
        "llama-verify", *arguments, "--text", text, *TOKENS, "--report", folder / name, expected=(0, 1, 2))
    verify("pass", tiny, converted("fp8"))
    verify("fail", tiny, bad, "--bisect")
    verify("alone", tiny)
    verify("itself", tiny, tiny)
    verify("several", tiny, converted("fp8"), converted("int4"), bad)
    return {name: folder / name for name in ("pass", "fail", "alone", "itself", "several")}


NAMES = ("pass", "fail", "alone", "itself", "several")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_fits_and_loads_nothing(chrome, pages, name, width, scheme):
    asked = chrome.open(pages[name] / "report.html", width, scheme)
    assert asked == []
    assert chrome.evaluate("document.documentElement.scrollWidth") <= width
    assert chrome.evaluate("document.scripts.length") == 0
    assert chrome.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    # Nothing was made of a name but text.
    assert chrome.evaluate("document.images.length") == 0
    assert not [event for event in chrome.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    # The verdict is on the first screen.
    assert chrome.evaluate("document.querySelector('h1').getBoundingClientRect().bottom") < 300
    assert len(base64.b64decode(chrome.screenshot())) > 10_000


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_contrast(chrome, pages, figure, name, scheme):
    chrome.open(pages[name] / "report.html", 1280, scheme)
    texts = chrome.evaluate(TEXTS)
    assert len(texts) > 30
    for sight in SIGHT:
        worst = min((contrast(flattened([color, *behind]), flattened(behind), sight), words)
                    for words, color, behind in texts)
        figure(f"least contrast of text, {sight}", worst[0])
        assert worst[0] >= 4.5, worst


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_are_seen(chrome, pages, scheme):
    """Lines and marks: 3 to 1 against the card (WCAG 2, 1.4.11), for every kind of sight."""
    chrome.open(pages["fail"] / "report.html", 1280, scheme)
    card = chrome.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    card = [float(part) for part in re.findall(r"[\d.]+", card)]
    for selector, attribute in ((".line", "stroke"), (".limit", "stroke"), (".mark", "fill"), (".whisker", "stroke")):
        found = chrome.evaluate(f"getComputedStyle(document.querySelector('svg {selector}')).{attribute}")
        color = [float(part) for part in re.findall(r"[\d.]+", found)]
        for sight in SIGHT:
            assert contrast(color, card, sight) >= 3, (selector, sight)


def test_nothing_is_told_by_colour_alone(chrome, pages):
    chrome.open(pages["several"] / "report.html", 1280, "light")
    chips = chrome.evaluate("[...document.querySelectorAll('.chip')].map(chip => chip.textContent.trim())")
    signs = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}
    assert len(chips) == 3
    for chip in chips:
        sign, word = chip.split()
        assert signs[word] == sign


@pytest.mark.parametrize("name", NAMES)
def test_prints(chrome, pages, name):
    chrome.open(pages[name] / "report.html", 1280, "light")
    assert base64.b64decode(chrome.pdf()).startswith(b"%PDF-")


@pytest.mark.parametrize("name", NAMES)
def test_well_formed(pages, name):
    """With the void elements of its head closed, the page is XML."""
    page = (pages[name] / "report.html").read_text()
    page = re.sub(r"<(meta|br)\b([^>]*)>", r"<\1\2/>", page.split("\n", 1)[1])
    ElementTree.fromstring(page)


# What Jenkins' schema junit-10.xsd allows of what we write: attributes and children in order.
SCHEMA = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, ["testsuite"]),
    "testsuite": ({"name", "tests", "failures", "errors", "time", "skipped"}, ["properties", "testcase"]),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": ({"name", "classname", "time"}, ["skipped", "failure", "system-out"]),
    "failure": ({"type", "message"}, []),
    "skipped": ({"type", "message"}, []),
    "system-out": (set(), []),
}


@pytest.mark.parametrize("name", NAMES)
def test_junit(pages, name):
    def check(element):
        attributes, children = SCHEMA[element.tag]
        assert set(element.attrib) <= attributes, element.attrib
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places)
        for child in element:
            check(child)

    root = ElementTree.fromstring((pages[name] / "junit.xml").read_bytes())
    assert root.tag == "testsuites"
    check(root)
    cases = list(root.iter("testcase"))
    assert int(root.get("tests")) == len(cases)
    assert int(root.get("failures")) == len(list(root.iter("failure")))
    assert all(case.get("classname") and case.get("name") for case in cases)
    report = json.loads((pages[name] / "report.json").read_text())
    gates = [gate for one in report.get("candidates", [report]) for gate in one["gates"]]
    assert [case.get("name") for case in cases] == [gate["id"] for gate in gates]


@pytest.mark.parametrize("name", NAMES)
def test_markdown_fits_a_summary(pages, name):
    text = (pages[name] / "report.md").read_bytes()
    assert len(text) < 65_536
    assert b"<img" not in text
