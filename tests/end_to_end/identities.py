"""Plans whose sessions have identities of their own."""

from typing import Any

from trafficgen.plan import AddressRange, ClientPlan

DOC = AddressRange("192.0.2.0", "192.0.2.255", "*.dyn.test")


def session(**client: Any) -> dict[str, Any]:
    return {"client": ClientPlan(**client), "max_messages": 1}
