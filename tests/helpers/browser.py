"""What the tests in a real browser share."""

import shutil
import time

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]  # for root in a container

CONTRASTS = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((one) => one / 255)
      .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour) && colour !== "transparent") return colour;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!text || !node.offsetParent || node.id === "toast" || node.disabled) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((p, q) => q - p);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${node.tagName} ${node.textContent.slice(0, 40)}`);
  }
  return bad;
})()"""


def until(page, condition, seconds=20):
    """Wait until a JavaScript expression is true; the page's policy forbids Playwright's own way, which is eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)
