"""PromptQueue, found in every generation's execution module."""

import copy
import heapq
import threading
from typing import List, NamedTuple


class PromptQueue:
    def __init__(self, server):
        self.server = server
        self.mutex = threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
        self.task_counter = 0
        self.queue = []
        self.currently_running = {}
        self.history = {}
        server.prompt_queue = self

    class ExecutionStatus(NamedTuple):
        status_str: str
        completed: bool
        messages: List[str]

    def put(self, item):
        with self.mutex:
            heapq.heappush(self.queue, item)
            self.not_empty.notify()

    def get(self, timeout=None):
        with self.not_empty:
            while not self.queue:
                if not self.not_empty.wait(timeout):
                    return None
            item = heapq.heappop(self.queue)
            item_id = self.task_counter
            self.task_counter += 1
            self.currently_running[item_id] = copy.deepcopy(item)
            return (item, item_id)

    def task_done(self, item_id, history_result, status=None, process_item=None):
        with self.mutex:
            item = self.currently_running.pop(item_id)
            if process_item is not None:
                item = process_item(item)
            entry = {"prompt": item, "status": status._asdict() if status is not None else None}
            entry.update(copy.deepcopy(history_result))
            self.history[item[1]] = entry
