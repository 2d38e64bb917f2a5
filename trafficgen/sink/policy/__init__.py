"""How a destination behaves: response tables, rate limits, greylisting and faults, drawn from seeded streams."""
