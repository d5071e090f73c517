FORBIDDEN = ("functools.lru_cache", "functools.cache", "functools._lru_cache_wrapper")
