"""The console in Debian's Chromium, on the real chain: a truck moves, a violation appears."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from greenhaul_sim.identity import fleet_identities

TRUCKS = 6
SEED = 11
# Around the old town of Nanyang, where every simulated street leads sooner or later.
TOWN = [[112.40, 32.90], [112.66, 32.90], [112.66, 33.10], [112.40, 33.10], [112.40, 32.90]]
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Debian's Chromium; no error may be logged, no foreign host asked."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="zh-CN")
        yield page
        browser.close()


@pytest.fixture
def fleet(chain: Any) -> Iterator[None]:
    """Bound trucks on the road, and a fence they are not allowed in."""
    for number, identity in enumerate(fleet_identities(TRUCKS, SEED, None)):
        vehicle = {"id": f"truck-{number}", "plate": f"豫RD1234{number}", "energy": "bev"}
        chain.api.post("/vehicles", vehicle)
        binding = {"source": f"808:{identity.phone.lstrip('0')}", "vehicle_id": vehicle["id"]}
        chain.api.post("/bindings", binding | {"valid_from": "2020-01-01T00:00:00Z"})
    chain.api.post(
        "/fences",
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [TOWN]},
            "properties": {
                "id": "town",
                "name": "城区",
                "valid_from": "2020-01-01T00:00:00Z",  # simulated time begins in the past
                "rules": [{"rule": "no_entry"}],
            },
        },
    )
    chain.api.post(
        "/users", {"name": "lin", "password": "a regulator's password", "role": "regulator"}
    )
    arguments = ["fleet", "--terminals", str(TRUCKS), "--seed", str(SEED), "--speed", "10"]
    process = subprocess.Popen(
        [sys.executable, "-m", "greenhaul_sim", *arguments, "--to", chain.terminals, "--for", "120"]
    )
    yield
    process.terminate()
    process.wait(60)


@pytest.mark.browser
@pytest.mark.usefixtures("fleet")
def test_a_truck_moves_and_a_violation_appears(chain: Any, page: Page) -> None:
    asked: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(chain.url)
    page.get_by_test_id("login-name").fill("lin")
    page.get_by_test_id("login-password").fill("a regulator's password")
    page.get_by_test_id("login-submit").click()

    expect(page.get_by_test_id("link-state")).to_have_attribute(
        "data-state", "live", timeout=30_000
    )
    expect(page.get_by_test_id("vehicle-row").first).to_contain_text("豫RD1234", timeout=30_000)
    page.wait_for_function(
        """() => {
            const now = window.greenhaulConsole.positions();
            const first = (window.firstSeen ??= {});
            return Object.entries(now).some(([key, at]) => {
                const was = (first[key] ??= { x: at.longitude_deg, y: at.latitude_deg });
                return was.x !== at.longitude_deg || was.y !== at.latitude_deg;
            });
        }""",
        timeout=60_000,
    )
    row = page.get_by_test_id("violation-row").first
    expect(row).to_contain_text("城区", timeout=90_000)
    row.click()
    expect(page.get_by_test_id("violation-card")).to_contain_text("豫RD1234")
    page.get_by_test_id("vehicle-row").first.click()
    expect(page.get_by_test_id("vehicle-card")).to_be_visible()
    picture = chain.folder / "console.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 20_000
    assert not failures
    assert all(url.startswith((chain.url, "blob:", "data:")) for url in asked), asked
