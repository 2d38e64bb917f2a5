"""Words: what people and machines read about a run, all of it made from `Results` or a `Snapshot`.

    to_text     the summary, as plain text or in colour
    sections    what the summary says, before anyone decides how it looks
    live        one line while the run goes on
    words       numbers as people read them

Nothing here knows how a run is made. `rich` is imported only where a colour terminal is drawn on.
"""
