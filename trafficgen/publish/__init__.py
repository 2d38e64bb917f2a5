"""Who looks on while a run goes: a page in a browser, a Prometheus server.

    live_page    the report page, drawn anew each second
    prometheus   metrics to scrape (needs the package prometheus_client)
    published    the thread that serves both
    isolated     calls observers so that none of them can end or spoil the run

An observer is called with the results so far about once a second. It listens on the loopback address alone and ends
with the process: it never keeps a run alive.
"""
