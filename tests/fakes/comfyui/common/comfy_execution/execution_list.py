"""The execution list of the async generations: waits for nodes that run as tasks."""

import asyncio

from comfy_execution.scheduling import Scheduler


class ExecutionList(Scheduler):
    def __init__(self, dynprompt, output_cache):
        super().__init__(dynprompt, output_cache)
        self.unblockedEvent = asyncio.Event()
        self._seen = (
            {}
        )  # (from, to) -> what the one node sees of the other, also when the cache keeps nothing
        self._readers = {}

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

    def linked(self, from_node_id, to_node_id):
        self._seen[from_node_id, to_node_id] = self.cached(from_node_id)
        self._readers.setdefault(from_node_id, []).append(to_node_id)

    def cache_update(self, node_id, value):
        for reader in self._readers.get(node_id, ()):
            self._seen[node_id, reader] = value

    def get_cache(self, from_node_id, to_node_id):
        return self._seen.get((from_node_id, to_node_id))
