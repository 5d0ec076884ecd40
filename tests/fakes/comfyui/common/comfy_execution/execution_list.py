"""The execution list of the async generations: waits for nodes that run as tasks."""

import asyncio

from comfy_execution.scheduling import Scheduler


class ExecutionList(Scheduler):
    def __init__(self, dynprompt, output_cache):
        super().__init__(dynprompt, output_cache)
        self.unblockedEvent = asyncio.Event()
        self._results = {}  # what ran in this prompt, also when the output cache keeps nothing

    def add_external_block(self, node_id):
        self.block_from_outside(node_id)

        def unblock():
            self.release_from_outside(node_id)
            self.unblockedEvent.set()

        return unblock

    async def stage_node_execution(self):
        while self.blocked_only_from_outside():
            await self.unblockedEvent.wait()
            self.unblockedEvent.clear()
        return self.pick()

    def cache_update(self, node_id, value):
        self._results[node_id] = value

    def get_cache(self, from_node_id, to_node_id):
        return self._results.get(from_node_id)
