"""What stands for a transport of the event loop under a link."""


class Wire:
    """Sends nothing anywhere. What inherits it implements `write` and `get_extra_info`; `waiting`: not sent yet."""

    def __init__(self) -> None:
        self.closed = False
        self.waiting = b""

    def writelines(self, buffers: list[bytes | memoryview]) -> None:
        self.write(b"".join(buffers))

    def write(self, octets: bytes) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)
