"""The caches of 2026: asked through coroutines, because providers outside of the process may answer."""

from comfy_execution import caches


class AsyncCache:
    """A cache with get and set as coroutines."""

    def __init__(self, local):
        self._local = local
        self.set_prompt = local.set_prompt
        self.all_node_ids = local.all_node_ids
        self.get_local = local.get
        self.set_local = local.set

    async def get(self, node_id):
        return self._local.get(node_id)

    async def set(self, node_id, value):
        self._local.set(node_id, value)


class CacheSet:
    def __init__(self, cache_type, cache_args):
        self.outputs = AsyncCache(caches.of_outputs(cache_type, cache_args))
        none = cache_type == caches.CacheType.NONE
        self.objects = AsyncCache(caches.NullCache() if none else caches.IdCache())
        self.all = [self.outputs, self.objects]
