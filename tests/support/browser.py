"""Headless Chromium, driven over its own protocol as a person would: open a page, click, read."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, final
from urllib.request import urlopen

from tornado.websocket import WebSocketClientConnection, websocket_connect

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
)


@final
class Tab:
    """One page. `requests` are the addresses it asked for, `errors` what went wrong in it."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._loaded = 0
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._connection.write_message(json.dumps({"id": self._number, "method": method, "params": params}))
        while (message := await self._next()).get("id") != self._number:
            pass
        assert "error" not in message, message
        return message["result"]

    async def open(self, path: Path) -> None:
        await self._and_load(self.call("Page.navigate", url=path.as_uri()))

    async def read(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def click(self, selector: str) -> None:
        """A click with the mouse on the first element that is meant, which leads to another page."""
        place = f"document.querySelector({json.dumps(selector)})"
        at = await self.read(
            f"(() => {{ const e = {place}; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        mouse = {"x": at[0], "y": at[1], "button": "left", "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        await self._and_load(self.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse))

    async def _and_load(self, doing: Any) -> None:
        before = self._loaded
        await doing
        while self._loaded == before:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self._connection.read_message(), timeout=60)
        message: dict[str, Any] = json.loads(text)
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"][:100])
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(str(params["entry"]))
        return message


@asynccontextmanager
async def tab(folder: Path, width: int = 1280, height: int = 900) -> AsyncIterator[Tab]:
    """A tab of a browser whose profile is in `folder`."""
    profile = folder / "profile"
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            port, deadline = profile / "DevToolsActivePort", time.monotonic() + 60
            while not (port.exists() and port.read_text().count("\n")):
                assert time.monotonic() < deadline, "the browser did not start"
                await asyncio.sleep(0.1)
            with urlopen(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json") as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            connection = await websocket_connect(pages[0]["webSocketDebuggerUrl"], max_message_size=2**28)
            try:
                tab = Tab(connection)
                for domain in ("Page", "Network", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
            finally:
                connection.close()
        finally:
            browser.terminate()
