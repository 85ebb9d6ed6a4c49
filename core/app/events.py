"""Server-sent events: a log of events for each job, and streams that clients read, from any event on."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse

from .limits import RequestRefused

KEPT = 512  # events of one log
LATEST_ONLY = ("progress", "preview")
"""Events of which a log keeps the last one only."""
HEARTBEAT = 15.0  # seconds


class EventLog:
    """The events of a job, in order; any thread may add to it.

    Args:
        first: Number of the first event.
    """

    def __init__(self, first: int = 1):
        self._lock = threading.Lock()
        self._events: list[tuple[int, str, str]] = []
        self._next, self._closed = first, False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def publish(self, name: str, data: Mapping[str, Any], last: bool = False) -> None:
        """Add an event.

        Args:
            name: Its name.
            data: Its data, which JSON can hold.
            last: Whether no other event follows.
        """
        text = json.dumps(data, allow_nan=False, default=str)
        with self._lock:
            if name in LATEST_ONLY:
                self._events = [event for event in self._events if event[1] != name]
            self._events = [*self._events, (self._next, name, text)][-KEPT:]
            self._next += 1
            self._closed |= last
            waiting = list(self._waiting)
        for loop, event in waiting:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(event.set)

    def after(self, number: int) -> tuple[list[tuple[int, str, str]], bool]:
        """The kept events after a number, and whether the last one is among those that were added."""
        with self._lock:
            return [event for event in self._events if event[0] > number], self._closed

    async def follow(self, number: int, seconds: float) -> AsyncIterator[bytes]:
        """The events after a number as they are added, as the bytes of a stream.

        Args:
            number: Number of the last event that the client has.
            seconds: Time after which the stream ends.
        """
        place = asyncio.get_running_loop(), asyncio.Event()
        end = time.monotonic() + seconds
        with self._lock:
            self._waiting.add(place)
        try:
            yield b"retry: 2000\n\n"
            while True:
                place[1].clear()
                events, closed = self.after(number)
                for number, name, text in events:
                    yield format_event(name, text, number)
                left = end - time.monotonic()
                if closed or left <= 0:
                    return
                try:
                    await asyncio.wait_for(place[1].wait(), min(HEARTBEAT, left))
                except asyncio.TimeoutError:
                    yield b": alive\n\n"
        finally:
            with self._lock:
                self._waiting.discard(place)


class StreamCounter:
    """Counts open streams, so that there is a bound.

    Args:
        most: Largest number of streams.
    """

    def __init__(self, most: int):
        self.most, self.open = most, 0

    def respond(self, stream: AsyncIterator[bytes]) -> EventStreamResponse:
        """The response that sends a stream.

        Raises:
            RequestRefused: Too many streams are open.
        """
        if self.open >= self.most:
            raise RequestRefused(429, f"{self.most} event streams are open already: close some pages")
        self.open += 1
        return EventStreamResponse(self, stream)


class EventStreamResponse(StreamingResponse):
    """A stream of events, which is counted until it ends.

    Args:
        counter: Counts it.
        stream: Its bytes.
    """

    def __init__(self, counter: StreamCounter, stream: AsyncIterator[bytes]):
        super().__init__(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self.counter = counter

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the stream until it ends or the client is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.counter.open -= 1


def format_event(name: str, text: str, number: int) -> bytes:
    """The bytes of an event; JSON has no line ends, so that one line of data is enough."""
    return f"id: {number}\nevent: {name}\ndata: {text}\n\n".encode()
