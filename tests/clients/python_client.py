#!/usr/bin/env python3
"""What does the Python SDK see?

    python_client.py URL SCENARIO

The scenario and the answer are JSON; README.md lists what both may hold. Runs
with `mcp` 1.x and 2.x, whichever the interpreter that starts it has: 1.x only
speaks the revisions with sessions.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import logging
import sys
import warnings
from datetime import timedelta

from mcp import types

VERSION = importlib.metadata.version("mcp")
IS_ONE = VERSION.startswith("1.")
# How often a ticket is brought back before it is given up.
COLLECTS = 60


class Client:
    """One connection, alike for both SDKs, and what came over it."""

    def __init__(self, url, scenario):
        self.url, self.scenario = url, scenario
        self.seen = {
            "client": f"python-{VERSION}",
            "protocol": None,
            "server": None,
            "results": [],
            "progress": [],
            "asked": [],
            "notifications": [],
            "http": [],
        }
        self.answers = scenario.get("answers", {})
        self.peer = None
        self.tasks = None

    async def elicit(self, _context, params):
        self.seen["asked"].append({"method": "elicitation/create", "message": params.message})
        if self.answers.get("elicit") == "decline":
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content=self.answers.get("elicit", {}))

    async def sample(self, _context, _params):
        self.seen["asked"].append({"method": "sampling/createMessage", "message": None})
        return types.CreateMessageResult.model_validate(
            {
                "role": "assistant",
                "model": "test",
                "stopReason": "endTurn",
                "content": {"type": "text", "text": self.answers.get("sample", "sampled")},
            }
        )

    async def roots(self, _context):
        self.seen["asked"].append({"method": "roots/list", "message": None})
        return types.ListRootsResult.model_validate({"roots": self.answers.get("roots", [])})

    async def message(self, message):
        message = getattr(message, "root", message)
        if hasattr(message, "method") and hasattr(message, "model_dump"):
            self.seen["notifications"].append(plain(message))

    async def progress(self, progress, total, message):
        self.seen["progress"].append({"progress": progress, "total": total, "message": message})

    async def note(self, response):
        """An httpx hook: what each exchange came to."""
        headers = response.headers
        noted = {
            "method": response.request.method,
            "status": response.status_code,
            "type": (headers.get("content-type") or "").split(";")[0] or None,
        }
        if "last-event-id" in response.request.headers:
            noted["resumed"] = True
        self.seen["http"].append(noted)

    @contextlib.asynccontextmanager
    async def connected(self):
        """Connects, and yields the SDK's client or session."""
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        token = self.scenario.get("token")
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {token}"} if token else None)
        http.event_hooks = {"request": [], "response": [self.note]}
        callbacks = {
            "sampling_callback": self.sample,
            "elicitation_callback": self.elicit,
            "list_roots_callback": self.roots,
            "message_handler": self.message,
        }
        async with http:
            if IS_ONE:
                from mcp import ClientSession

                async with (
                    streamable_http_client(self.url, http_client=http) as (read, write, _),
                    ClientSession(read, write, **callbacks) as session,
                ):
                    hello = await session.initialize()
                    self.seen["protocol"] = str(hello.protocolVersion)
                    self.seen["server"] = hello.serverInfo.name
                    yield session
            else:
                from mcp.client import Client as Sdk

                transport = streamable_http_client(self.url, http_client=http)
                mode = self.scenario.get("mode", "auto")
                if self.scenario.get("extensions"):
                    from python_tasks import Tasks

                    self.tasks = Tasks()
                    callbacks["extensions"] = [self.tasks]
                async with Sdk(transport, mode=mode, **callbacks) as client:
                    self.seen["protocol"] = client.protocol_version
                    self.seen["server"] = client.server_info.name if client.server_info else None
                    yield client

    async def call(self, step):
        # `default` is what the SDK does by itself: a held call has to do with that.
        timeout = step.get("timeout_ms", 30_000)
        timeout = None if timeout == "default" else timeout / 1000
        work = self.peer.call_tool(
            step["tool"],
            step.get("args", {}),
            read_timeout_seconds=timedelta(seconds=timeout) if IS_ONE and timeout else timeout,
            progress_callback=self.progress if step.get("progress") else None,
            meta=step.get("meta"),
        )
        if "cancel_after_ms" not in step:
            return await work
        if IS_ONE:
            return await self.cancel_by_hand(work, step["cancel_after_ms"] / 1000)
        # 2.x sends the cancel itself when its caller stops waiting.
        return await asyncio.wait_for(work, step["cancel_after_ms"] / 1000)

    async def collect(self, step):
        """Makes the same call again until the answer is no ticket."""
        for tickets in range(COLLECTS + 1):
            answer = plain(await self.call(step))
            state = answer.get("_meta", {}).get("io.countersign/hold", {}).get("state")
            if state not in ("pending", "approved", "executing"):
                break
            await asyncio.sleep(step.get("pause_ms", 1000) / 1000)
        return {"tickets": tickets, "answer": answer}

    async def task(self, step):
        """The experimental tasks of 2025-11-25; 2.x has none of its own, but takes an extension."""
        if self.tasks:
            self.tasks.statuses = []
            answer = plain(await self.call(step))
            return {"statuses": self.tasks.statuses, "answer": answer}
        tasks = self.peer.experimental
        created = await tasks.call_tool_as_task(step["tool"], step.get("args", {}))
        statuses = [f"{created.task.status}: {created.task.statusMessage}"]
        async for task in tasks.poll_task(created.task.taskId):
            statuses.append(f"{task.status}: {task.statusMessage}")
        return {"statuses": statuses, "answer": plain(await tasks.get_task_result(created.task.taskId, types.CallToolResult))}

    async def cancel_by_hand(self, work, after_s):
        """1.x never cancels by itself: send what a host would send."""
        request_id = self.peer._request_id
        task = asyncio.create_task(work)
        await asyncio.sleep(after_s)
        await self.peer.send_notification(
            types.ClientNotification(
                types.CancelledNotification(
                    params=types.CancelledNotificationParams(requestId=request_id, reason="the scenario says so")
                )
            )
        )
        done, _ = await asyncio.wait({task}, timeout=1)
        if done:
            return task.result()
        task.cancel()
        raise TimeoutError("cancelled by the scenario")

    async def listen(self, step):
        wanted = step.get("filter", {})
        async with self.peer.listen(
            tools_list_changed=wanted.get("toolsListChanged", False),
            prompts_list_changed=wanted.get("promptsListChanged", False),
            resource_subscriptions=wanted.get("resourceSubscriptions", ()),
        ) as events:
            if "then" in step:
                await self.do(step["then"])
            event = await asyncio.wait_for(anext(aiter(events)), step.get("timeout_ms", 5000) / 1000)
            return {"event": type(event).__name__}

    async def do(self, step):
        """One step; what it came to is a dict or an SDK result."""
        kind, peer = step["do"], self.peer
        if kind == "list":
            return {"tools": [tool.name for tool in (await peer.list_tools()).tools]}
        if kind == "sleep":
            return await asyncio.sleep(step["ms"] / 1000)
        if kind == "complete":
            reference = (
                types.PromptReference if step["ref"]["type"] == "ref/prompt" else types.ResourceTemplateReference
            ).model_validate(step["ref"])
            return await peer.complete(reference, step["argument"])
        simple = {
            "tools": lambda: peer.list_tools(),
            "resources": lambda: peer.list_resources(),
            "templates": lambda: peer.list_resource_templates(),
            "read": lambda: peer.read_resource(step["uri"]),
            "prompts": lambda: peer.list_prompts(),
            "prompt": lambda: peer.get_prompt(step["name"], step.get("args")),
            "ping": lambda: peer.send_ping(),
            "level": lambda: peer.set_logging_level(step["level"]),
            "subscribe": lambda: peer.subscribe_resource(step["uri"]),
            "unsubscribe": lambda: peer.unsubscribe_resource(step["uri"]),
            "listen": lambda: self.listen(step),
            "call": lambda: self.call(step),
            "collect": lambda: self.collect(step),
            "task": lambda: self.task(step),
        }
        if kind not in simple:
            raise ValueError(f"no step `{kind}`")
        return await simple[kind]()

    async def run(self):
        async with self.connected() as self.peer:
            for step in self.scenario.get("steps", []):
                try:
                    self.seen["results"].append({"do": step["do"], "ok": plain(await self.do(step))})
                except Exception as error:  # whatever the SDK raises is what the agent would see
                    self.seen["results"].append({"do": step["do"], "error": failure(error)})


def plain(value):
    """An SDK result as the JSON that it came from."""
    if value is None:
        return {}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


def failure(error):
    """The code, message and data of an error, as far as it has them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    inner = getattr(error, "error", None)
    return {
        "code": getattr(inner, "code", None),
        "message": getattr(inner, "message", None) or str(error) or type(error).__name__,
        "data": getattr(inner, "data", None),
    }


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python_client.py URL SCENARIO")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    client = Client(sys.argv[1], json.loads(sys.argv[2]))
    try:
        asyncio.run(client.run())
    except BaseException as error:  # a failed connection is a result too
        client.seen["failed"] = failure(error)
    print(json.dumps(client.seen))
    sys.exit(1 if "failed" in client.seen else 0)


if __name__ == "__main__":
    main()
