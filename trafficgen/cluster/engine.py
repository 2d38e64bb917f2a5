"""What a coordinator asks of whatever starts its calls on other hosts; Dask is one such engine (dask_engine)."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future


class Engine(Protocol):
    """Hosts that run functions of `host.ShardHost`. A call is made once: never again, and nowhere else."""

    @property
    def hosts(self) -> list[str]:
        """One for each shard, in an order that stays."""

    def ask(self, host: str, function: str, *given: Any) -> "Future[Any]":
        """What a method of `ShardHost` returns there, or raises; OSError when the host is gone or does not answer."""

    def close(self) -> None:
        """Let go of the hosts; those that the engine started are ended."""
