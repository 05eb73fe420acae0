"""The studio's latency: from a slider's event to new pixels on the page, in a real browser.

100 moves, once each after the frame of the one before, and once every 16 ms as a hand drags.  Of a
drag every move counts until the first frame that shows it or a later one.

    python tests/benchmarks/studio.py [PHOTO]
"""

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
from studio_server import CHROMIUM, served

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.studio.catalog import Engine

MOVES, WARM_UP = 100, 30
MOVE = """async ([moves, interval]) => {
    const slider = document.querySelector(".part[data-reference=wave] input");
    const changes = [], frames = [];
    let arrived = () => {};
    addEventListener("studio-change", ({ detail }) => changes.push(detail));
    addEventListener("studio-frame", ({ detail }) => { frames.push(detail); arrived(); });
    const until = (there) => new Promise((done) => {
        arrived = () => there() && done();
        arrived();
    });
    const shown = (at) => frames.find((frame) => frame.revision >= changes[at].revision);
    for (let move = 0; move < moves; move += 1) {
        slider.value = 5 + ((Number(slider.value) + 7) % 90);
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        if (interval) await new Promise((later) => setTimeout(later, interval));
        else await until(() => shown(move));
    }
    await until(() => shown(moves - 1));
    return changes.slice(0, moves).map((change, at) => {
        const frame = shown(at);
        return [frame.time - change.time, frame.kind, frame.size];
    });
}"""


def report(what: str, moves: list[tuple[float, str, str]]) -> None:
    """Print the median and the 95th percentile of seconds, and the sizes of the frames."""
    seconds = [milliseconds / 1000 for milliseconds, _, _ in moves]
    sizes = sorted({size for _, _, size in moves}, key=lambda size: int(size.split("x")[0]))
    print(
        f"{what}: median {median(seconds):.3f} s, 95 % {quantiles(seconds, n=20)[-1]:.3f} s, "
        f"most {max(seconds):.3f} s; frames {sizes[0]} to {sizes[-1]}"
    )


def main() -> None:
    """Measure both ways of moving."""
    photo = Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED_PHOTOS / "china.jpg"
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), Engine()) as studio:
        studio.studio.lay(photo)
        with sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{studio.address}#mix=starry:60,wave:40")
            page.locator("#painted[data-kind=best]").wait_for(timeout=120_000)
            page.wait_for_timeout(3000)  # thumbnails
            page.evaluate(MOVE, [WARM_UP, 0])
            print(f"threads of a frame: {studio.studio.frames.threads} at most")
            report("one move after the other", page.evaluate(MOVE, [MOVES, 0]))
            report("dragged, a move every 16 ms", page.evaluate(MOVE, [MOVES, 16]))
            browser.close()


if __name__ == "__main__":
    main()
