"""How a destination behaves: response tables, limits with a memory, faults; all drawn from seeded streams."""
