"""What makes `mcp` 2.x know the tasks extension?

The SDK has no tasks of its own, but lets its host claim the shape: this is such
a host, in as few lines as it takes. It needs 2.x.
"""

import asyncio
from typing import Any, Literal

from mcp import types
from mcp.client import ClientExtension, ResultClaim

IDENTIFIER = "io.modelcontextprotocol/tasks"
ENDED = ("completed", "failed", "cancelled")


class Created(types.Result):
    """A task instead of a result."""

    result_type: Literal["task"]
    task_id: str
    status: str
    status_message: str | None = None
    poll_interval_ms: int = 1000


class Task(types.Result):
    """A task as it stands, and its result if it has one."""

    result_type: Literal["complete"]
    status: str
    status_message: str | None = None
    result: types.CallToolResult | None = None
    error: dict[str, Any] | None = None


class Get(types.Request[dict[str, Any], Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class Tasks(ClientExtension):
    """Waits for the task that a call became; `statuses` tell how it went."""

    identifier = IDENTIFIER

    def __init__(self):
        self.statuses = []

    def claims(self):
        return [ResultClaim(result_type="task", model=Created, resolve=self.resolve)]

    async def resolve(self, created, context):
        task = created
        while task.status not in ENDED:
            self.statuses.append(f"{task.status}: {task.status_message}")
            await asyncio.sleep(created.poll_interval_ms / 1000)
            task = await context.session.send_request(Get(params={"taskId": created.task_id}), Task)
        self.statuses.append(f"{task.status}: {task.status_message}")
        if task.result is None:
            raise RuntimeError(f"the task {task.status}: {task.error or task.status_message}")
        return task.result
