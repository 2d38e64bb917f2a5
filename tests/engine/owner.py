"""Who has links in tests: all that have become free, in order."""

from trafficgen.engine.link import AnyLink


class Freed(list[AnyLink]):
    """Implements `trafficgen.engine.link.Owner`."""

    def on_free(self, link: AnyLink) -> None:
        self.append(link)
