"""The browser fixture reports what it promises to report."""

from __future__ import annotations

from tests.browser.conftest import PHONE, Browser

PAGE = """<!doctype html><html lang="en"><head><title>t</title><link rel="icon" href="data:,">
<style>p{color:rgb(1,2,3)}@media(prefers-color-scheme:dark){p{color:rgb(4,5,6)}}</style></head>
<body><p>still</p><script>document.querySelector("p").textContent="moved"</script></body></html>"""


def test_scripts_colours_and_width_follow_the_options(browser: Browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    assert browser.open(page).text("p") == "moved"
    assert browser.messages() == [] and browser.requests() == [page.as_uri()]
    assert browser.open(page, scripts=False).text("p") == "still"
    browser.open(page, dark=True, size=PHONE)
    assert browser.run("return innerWidth") == PHONE[0]
    assert "4, 5, 6" in browser.one("p").value_of_css_property("color")


def test_errors_and_external_requests_are_recorded(browser: Browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE.replace("</body>", '<img src="https://example.com/x.png"></body>'))
    browser.open(page)
    assert "https://example.com/x.png" in browser.requests()
    assert any("ERR_NAME_NOT_RESOLVED" in message for message in browser.messages())
